"""A draft: a database that is made anew from the raw zone, beside the one in use."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from lfp_pipeline.engine import Engine
from lfp_pipeline.holds import own_folder
from lfp_pipeline.ingested import Ingested
from lfp_pipeline.landing.delivery import Delivery
from lfp_pipeline.landing.intents import is_pruned, is_reverted
from lfp_pipeline.settling import is_settled
from lfp_pipeline.warehouse.ledger import statuses

_FOLDER = ".rebuild"


@contextmanager
def drafted(engine: Engine) -> Iterator[Engine]:
    """An engine with an empty draft, which is gone after the block, unless it was moved away."""
    path = engine.warehouse.path
    with own_folder(path.parent, _FOLDER) as folder:
        yield Engine(
            engine.settings, replace(engine.warehouse, path=folder / path.name, draft=True)
        )


def follow(draft: Engine, deliveries: Sequence[Delivery], log: logging.Logger) -> None:
    """Have a draft follow the raw zone in these deliveries, as far as it does not yet."""
    with draft.warehouse.opened("looking what is in", log) as connection:
        status_of = statuses(connection)
    left = [one for one in deliveries if not is_settled(one, status_of.get(one.delivery_id))]
    log.info("To take in anew: %d of %d deliveries", len(left), len(deliveries))
    for outcome in draft.ingest_all([], left, log):
        if isinstance(outcome, Ingested):
            log.info("%s: %s", outcome.delivery.delivery_id, outcome.account.status)


def deliveries_in_reach(engine: Engine) -> list[Delivery]:
    """All deliveries that can be taken in or, though they may be pruned, out; oldest first.

    Raises:
        LandingError: a record cannot be read.
    """
    return [one for one in engine.raw_zone.all_deliveries() if is_in_reach(one)]


def is_in_reach(delivery: Delivery) -> bool:
    """Whether a delivery can be taken in or out, as is wanted."""
    return is_reverted(delivery.path) or not is_pruned(delivery.path)
