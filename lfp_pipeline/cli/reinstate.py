"""`lfp reinstate`: merges a reverted delivery again, or takes a dismissal back."""

from typing import TYPE_CHECKING

import click

from lfp_pipeline.cli.completion import complete_among
from lfp_pipeline.cli.operate import OperationCall, delivery_argument, operation
from lfp_pipeline.cli.output import examples

if TYPE_CHECKING:
    from lfp_pipeline.raw_zone.landed import Landed
    from lfp_pipeline.raw_zone.raw_zone import RawZone


def _can_be_reinstated(zone: "RawZone", landed: "Landed") -> bool:
    return landed.reverted or zone.desired.dismissed_rejects(landed.raw_name) is not None


@click.command(
    epilog=examples("lfp reinstate prices.csv", "lfp reinstate prices.csv#20261120T0819 --dry-run")
)
@delivery_argument(complete_among(_can_be_reinstated))
@click.option("--latest", is_flag=True, help="Of several such ones of a file, the newest.")
@click.option(
    "--use-present-settings",
    is_flag=True,
    help="Read the delivery with the present settings, whatever it was merged with.",
)
@operation("Reinstating {delivery}")
def command(
    delivery: str, *, latest: bool, use_present_settings: bool, call: OperationCall
) -> None:
    """Merge a reverted or dismissed delivery again, as if it had just arrived.

    Of a merged delivery whose rejected rows are dismissed, the dismissal is taken back.

    FILE is the name of a file in the inbox, with one such delivery. DELIVERY is the id of a
    delivery, or its beginning.
    """
    from lfp_pipeline.operations.revert import reinstate_delivery, require_to_reinstate

    found = call.find(delivery, latest=latest, among=_can_be_reinstated, check=require_to_reinstate)
    options = {"delivery_id": found.delivery_id, "use_present_settings": use_present_settings}
    call.run("revert_delivery", "revert", reinstate_delivery, options, reinstate=True)
