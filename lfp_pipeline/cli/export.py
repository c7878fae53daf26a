"""`lfp export`: writes the tables as files."""

from collections.abc import Sequence

import click

from lfp_pipeline.cli.operate import OperationCall, operation
from lfp_pipeline.cli.output import examples

_FORMATS = ["parquet", "csv", "duckdb"]


@click.command(epilog=examples("lfp export", "lfp export --format csv"))
@click.option(
    "--format",
    "formats",
    type=click.Choice(_FORMATS),
    multiple=True,
    default=["parquet", "csv"],
    show_default=True,
    help="Format of the files; may be repeated. `duckdb` is one database with all tables.",
)
@operation("Exporting the tables")
def command(*, formats: Sequence[str], call: OperationCall) -> None:
    """Write the tables into the folder data/exports, and replace the last export.

    Parquet and CSV files have products and name_counts. The database (`--format duckdb`) has all
    tables, the ledger included, and DuckDB 1.5 or newer can read it.
    """
    from lfp_pipeline.operations.export import export_tables

    call.run("export_tables", "export", export_tables, {"formats": list(formats)})
