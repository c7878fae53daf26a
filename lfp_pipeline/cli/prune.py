"""`lfp prune`: deletes the bytes of old deliveries."""

import click

from lfp_pipeline.cli.operate import OperationCall, operation, yes_option
from lfp_pipeline.cli.output import confirm, examples
from lfp_pipeline.cli.param_types import Number


@click.command(epilog=examples("lfp prune --dry-run", "lfp prune --older-than 30"))
@click.option(
    "--older-than",
    type=Number(0, 36_500),
    metavar="DAYS",
    default=90,
    show_default=True,
    help="Least number of days since the landing.",
)
@click.option(
    "--include-needed",
    is_flag=True,
    help="Also prune deliveries that a rebuild of the present tables needs.",
)
@yes_option
@operation("Pruning the raw zone")
def command(*, older_than: float, include_needed: bool, yes: bool, call: OperationCall) -> None:
    """Delete the bytes of old deliveries that the tables no longer need; their records stay."""
    from lfp_pipeline.operations.prune import prune_raw

    if include_needed and not call.is_dry_run:
        confirm("Delete bytes that a rebuild needs?", yes=yes)
    options = {"older_than_days": older_than, "include_needed": include_needed}
    call.run("prune_raw", "prune", prune_raw, options)
