"""`lfp verify`: checks the invariants of the data."""

import click

from lfp_pipeline.cli.operate import OperationCall, operation
from lfp_pipeline.cli.output import examples


@click.command(epilog=examples("lfp verify", "lfp verify --full"))
@click.option("--full", is_flag=True, help="Also rebuild the database beside, and compare.")
@operation("Verifying the tables and the raw zone")
def command(*, full: bool, call: OperationCall) -> None:
    """Check the tables, every raw file against its checksum, and the published copy.

    Nothing is repaired. Each problem is a line that says what to do; the exit code is then 1.
    """
    from lfp_pipeline.operations.verify import verify

    call.run("verify", "check_invariants", verify, {"full": full})
