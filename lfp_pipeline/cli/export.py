"""`lfp export`: writes the tables as files."""

from collections.abc import Sequence

import click

from lfp_pipeline.cli.operate import dry_run, operate, verbose_option
from lfp_pipeline.cli.output import dry_run_option, examples, json_option

_FORMATS = ["parquet", "csv"]


@click.command(epilog=examples("lfp export", "lfp export --format csv"))
@click.option(
    "--format",
    "formats",
    type=click.Choice(_FORMATS),
    multiple=True,
    default=_FORMATS,
    show_default=True,
    help="Format of the files; may be given twice.",
)
@dry_run_option
@json_option
@verbose_option
def command(*, formats: Sequence[str], is_dry_run: bool, as_json: bool, verbose: bool) -> None:
    """Write products and name_counts into the folder data/exports, and replace the last export."""
    from lfp_pipeline.operations.export import export_tables

    options = {"formats": list(formats)}
    if is_dry_run:
        dry_run(export_tables, options, as_json=as_json)
    else:
        operate("export_tables", "export", options, as_json=as_json, verbose=verbose)
