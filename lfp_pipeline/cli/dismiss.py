"""`lfp dismiss`: a file, or its rejected rows, need no more attention."""

from typing import TYPE_CHECKING

import click

from lfp_pipeline.cli.operate import OperationCall, delivery_argument, operation
from lfp_pipeline.cli.output import examples

if TYPE_CHECKING:
    from lfp_pipeline.raw_zone.landed import Landed


def _is_open(landed: "Landed") -> bool:
    return not landed.reverted and landed.noted_status != "merged"


@click.command(
    epilog=examples("lfp dismiss broken.csv", "lfp dismiss broken.csv#20261120T0819 --dry-run")
)
@delivery_argument(_is_open)
@click.option(
    "--latest",
    is_flag=True,
    help="Of several deliveries of a file, the newest; one that is not merged comes first.",
)
@operation("Dismissing {delivery}")
def command(delivery: str, *, latest: bool, call: OperationCall) -> None:
    """Remove a refused or failed file, or rejected rows, from what needs attention.

    No run tries the refused or failed delivery again, and a rebuild leaves it out; `lfp reinstate`
    tries it. Of a merged file, the rejected rows are dismissed, and its other rows stay. Another
    version of the file is ingested as usual.

    FILE is the name of a file in the inbox. DELIVERY is the id of a delivery, or its beginning.
    """
    from lfp_pipeline.operations.dismiss import dismiss_delivery

    found = call.find(delivery, latest=latest, among=_is_open)
    options = {"delivery_id": found.delivery_id}
    call.run("dismiss_delivery", "dismiss", dismiss_delivery, options)
