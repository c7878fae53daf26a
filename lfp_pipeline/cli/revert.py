"""`lfp revert`: undoes a delivery."""

from typing import TYPE_CHECKING

import click

from lfp_pipeline.cli.completion import complete_among
from lfp_pipeline.cli.operate import OperationCall, delivery_argument, operation
from lfp_pipeline.cli.output import examples

if TYPE_CHECKING:
    from lfp_pipeline.raw_zone.landed import Landed
    from lfp_pipeline.raw_zone.raw_zone import RawZone


def _is_merged(_: "RawZone", landed: "Landed") -> bool:
    return not landed.reverted and landed.noted_status == "merged"


@click.command(
    epilog=examples(
        "lfp revert prices.csv --latest --dry-run", "lfp revert prices.csv#20261120T0819"
    )
)
@delivery_argument(complete_among(_is_merged))
@click.option("--latest", is_flag=True, help="Of several merged ones of a file, the newest.")
@click.option(
    "--ignore-pruned-history",
    is_flag=True,
    help="Revert even if older deliveries that may have replacement rows are pruned.",
)
@click.option(
    "--use-present-settings",
    is_flag=True,
    help="Read older deliveries with the present settings, whatever they were merged with.",
)
@operation("Reverting {delivery}")
def command(
    delivery: str,
    *,
    latest: bool,
    ignore_pruned_history: bool,
    use_present_settings: bool,
    call: OperationCall,
) -> None:
    """Undo a delivery, as if it had never come.

    For each of its skus, the next newest row of the other deliveries takes effect. The delivery
    remains reverted until it is reinstated.

    FILE is the name of a file in the inbox. DELIVERY is the id of a delivery, or its beginning.
    """
    from lfp_pipeline.operations.revert import require_not_reverted, revert_delivery

    found = call.find(delivery, latest=latest, among=_is_merged, check=require_not_reverted)
    options = {
        "delivery_id": found.delivery_id,
        "ignore_pruned_history": ignore_pruned_history,
        "use_present_settings": use_present_settings,
    }
    call.run("revert_delivery", "revert", revert_delivery, options)
