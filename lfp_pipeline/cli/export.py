"""`lfp export`: writes the tables as files."""

from collections.abc import Sequence

import click

from lfp_pipeline.cli.operate import OperationCall, operation
from lfp_pipeline.cli.output import examples

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
@operation("Exporting the tables")
def command(*, formats: Sequence[str], call: OperationCall) -> None:
    """Write products and name_counts into the folder data/exports, and replace the last export."""
    from lfp_pipeline.operations.export import export_tables

    call.run("export_tables", "export", export_tables, {"formats": list(formats)})
