"""`lfp dismiss`: a file, or its rejected rows, need no more attention."""

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

import click

from lfp_pipeline.cli.completion import complete_files
from lfp_pipeline.cli.messages import message_log
from lfp_pipeline.cli.operate import OperationCall, delivery_argument, operation
from lfp_pipeline.cli.output import examples

if TYPE_CHECKING:
    from lfp_pipeline.model.delivery import Delivery
    from lfp_pipeline.raw_zone.landed import Landed
    from lfp_pipeline.raw_zone.raw_zone import RawZone
    from lfp_pipeline.settings import Settings


def _keys_to_dismiss(settings: "Settings") -> Iterable[str]:
    from lfp_pipeline.engine import Engine
    from lfp_pipeline.operations.attention import ids_to_dismiss

    engine = Engine(settings)
    copy, database = engine.published, engine.warehouse
    # A shell does not wait until the database is free.
    with database.read_session() if copy.is_stale else copy.session() as connection:
        return {id_.partition("#")[0] for id_ in ids_to_dismiss(engine, connection)}


@click.command(
    epilog=examples("lfp dismiss broken.csv", "lfp dismiss broken.csv#20261120T0819 --dry-run")
)
@delivery_argument(complete_files(_keys_to_dismiss))
@click.option(
    "--latest",
    is_flag=True,
    help="Of several deliveries of a file that need attention, the newest.",
)
@operation("Dismissing {delivery}")
def command(delivery: str, *, latest: bool, call: OperationCall) -> None:
    """Remove a refused or failed file, or rejected rows, from what needs attention.

    No run tries the refused or failed delivery again, and a rebuild leaves it out. Of a merged
    file, the rejected rows are dismissed, as long as the same rows are rejected, and its other rows
    stay. `lfp reinstate` takes either back. Another version of the file is ingested as usual.

    FILE is the name of a file in the inbox: its delivery that failed or was refused, or else its
    newest one with rejected rows to fix. DELIVERY is the id of a delivery, or its beginning.
    """
    from lfp_pipeline.operations.attention import ids_to_dismiss
    from lfp_pipeline.operations.dismiss import dismiss_delivery, require_to_dismiss

    engine, log = call.engine, message_log()

    @cache
    def ids() -> frozenset[str]:
        with engine.warehouse.session("finding what needs attention", log) as connection:
            return ids_to_dismiss(engine, connection)

    def needs_attention(_: "RawZone", landed: "Landed") -> bool:
        return landed.delivery_id in ids()

    def check(_: "RawZone", found: "Delivery") -> None:
        require_to_dismiss(engine, found, log)

    found = call.find(delivery, latest=latest, among=needs_attention, check=check)
    options = {"delivery_id": found.delivery_id}
    call.run("dismiss_delivery", "dismiss", dismiss_delivery, options)
