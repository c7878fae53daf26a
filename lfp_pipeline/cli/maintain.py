"""`lfp maintain`: maintains the storage of the tables."""

import click

from lfp_pipeline.cli.operate import OperationCall, operation
from lfp_pipeline.cli.output import examples


@click.command(epilog=examples("lfp maintain --dry-run", "lfp maintain"))
@operation("Maintaining the tables")
def command(*, call: OperationCall) -> None:
    """Write small files of the tables again as large ones, and remove what nobody reads.

    On several hosts, each merge adds files to the lake. This also removes snapshots that are older
    than LFP_LAKE_RETENTION_HOURS. Runs that merge wait meanwhile; readers do not. With a database
    in a file there is little to do.
    """
    from lfp_pipeline.operations.maintain import maintain_tables

    call.run("maintain_tables", "maintain", maintain_tables, {})
