"""`lfp cluster import` and `lfp cluster export`: move all data to several hosts, and back."""

from pathlib import Path

import click

from lfp_pipeline.cli.output import examples, say

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command("import", epilog=examples("lfp cluster import /srv/shop/data"))
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--database",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A copy of the folder's database, by `lfp export --format duckdb`, if DuckDB 2 made that.",
)
def import_command(folder: Path, database: Path | None) -> None:
    """Build the lake from a data FOLDER.

    All tables are compared with the database of the folder, which stays as it is. Repeating an
    import that failed completes it.
    """
    say(f"Importing {folder}")
    from lfp_pipeline.cli.messages import message_log
    from lfp_pipeline.cli.operate import engine_of_project
    from lfp_pipeline.operations.move_data import folder_engine, move_data
    from lfp_pipeline.warehouse.choice import warehouse_in

    source = folder_engine(folder, read_only=True)
    copy = None if database is None else warehouse_in(database, source.settings)
    report = move_data(source, engine_of_project(), message_log(), database=copy)
    click.echo(report.summary)


@click.command("export", epilog=examples("lfp cluster export /srv/new/data"))
@click.argument("folder", type=_FOLDER)
def export_command(folder: Path) -> None:
    """Build a data FOLDER from the lake.

    It has a database in a file. All tables are compared with the lake.
    """
    say(f"Exporting to {folder}")
    from lfp_pipeline.cli.messages import message_log
    from lfp_pipeline.cli.operate import engine_of_project
    from lfp_pipeline.operations.move_data import folder_engine, move_data

    report = move_data(engine_of_project(), folder_engine(folder), message_log())
    click.echo(report.summary)
