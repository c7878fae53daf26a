"""`lfp reinstate`: merges a reverted delivery again."""

from typing import TYPE_CHECKING

import click

from lfp_pipeline.cli.operate import OperationCall, delivery_argument, operation
from lfp_pipeline.cli.output import examples

if TYPE_CHECKING:
    from lfp_pipeline.raw_zone.landed import Landed


def _is_reverted(landed: "Landed") -> bool:
    return landed.reverted


@click.command(
    epilog=examples("lfp reinstate prices.csv", "lfp reinstate prices.csv#20261120T0819 --dry-run")
)
@delivery_argument(_is_reverted)
@click.option("--latest", is_flag=True, help="Of several reverted ones of a file, the newest.")
@click.option(
    "--use-present-settings",
    is_flag=True,
    help="Read the delivery with the present settings, whatever it was merged with.",
)
@operation("Reinstating {delivery}")
def command(
    delivery: str, *, latest: bool, use_present_settings: bool, call: OperationCall
) -> None:
    """Merge a reverted delivery again, as if it had just arrived.

    FILE is the name of a file in the inbox, with one reverted delivery. DELIVERY is the id of a
    delivery, or its beginning.
    """
    from lfp_pipeline.operations.revert import reinstate_delivery

    found = call.find(delivery, latest=latest, among=_is_reverted)
    options = {"delivery_id": found.delivery_id, "use_present_settings": use_present_settings}
    call.run("revert_delivery", "revert", reinstate_delivery, options, reinstate=True)
