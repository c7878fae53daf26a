"""A draft: a database that is made anew from the raw zone, beside the one in use."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from lfp_pipeline.engine import Engine
from lfp_pipeline.ingest.result import IngestResult
from lfp_pipeline.model.delivery import Delivery, Kind, TextFormat
from lfp_pipeline.model.ledger_entry import LedgerEntry, Status
from lfp_pipeline.raw_zone.desired_state import state_of
from lfp_pipeline.reading.options import Rereading, reread
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.ledger import statuses


@contextmanager
def shadow_engine(engine: Engine) -> Iterator[Engine]:
    """An engine with an empty draft, which is gone after the block, unless it was moved away."""
    with engine.warehouse.shadow() as warehouse:
        yield Engine(engine.settings, warehouse)


def rereadings(
    known: Mapping[str, LedgerEntry], deliveries: Sequence[Delivery], settings: Settings
) -> dict[str, Rereading]:
    """Find out how deliveries that a ledger has merged are read again as they were, by id."""
    ways: dict[tuple[str | None, str | None, TextFormat | None], Rereading] = {}
    found = {}
    for one in deliveries:
        account = known.get(one.delivery_id)
        if account is None or one.kind is Kind.DELETION:
            continue
        is_merged = account.status is Status.MERGED
        if is_merged or account.read_conditions is not None:
            text_format = one.text_format if is_merged else None
            key = account.read_with, account.read_conditions, text_format
            if key not in ways:
                ways[key] = reread(*key, settings)
            found[one.delivery_id] = ways[key]
    return found


def catch_up(
    shadow: Engine,
    deliveries: Sequence[Delivery],
    log: logging.Logger,
    ways: Mapping[str, Rereading],
) -> None:
    """Have a draft follow the raw zone in these deliveries, as far as it does not yet.

    Args:
        shadow: at the draft.
        deliveries: in the raw zone.
        log: for progress.
        ways: how some of them are read, by id; the others with the settings of now.
    """
    with shadow.warehouse.session("looking what is in", log) as connection:
        status_of = statuses(connection)
    left = [
        one for one in deliveries if not state_of(one, status_of.get(one.delivery_id)).is_reconciled
    ]
    log.info("To take in anew: %d of %d deliveries", len(left), len(deliveries))
    for settings, group in _by_settings(left, ways, shadow.settings):
        for outcome in Engine(settings, shadow.warehouse).ingest_all([], group, log):
            if isinstance(outcome, IngestResult):
                log.info("%s: %s", outcome.delivery.delivery_id, outcome.account.status)


def _by_settings(
    deliveries: Sequence[Delivery], ways: Mapping[str, Rereading], present: Settings
) -> Sequence[tuple[Settings, list[Delivery]]]:
    groups: dict[int, tuple[Settings, list[Delivery]]] = {}
    for one in deliveries:
        way = ways.get(one.delivery_id)
        settings = way.settings if way else present
        groups.setdefault(id(settings), (settings, []))[1].append(one)
    return list(groups.values())


def replayable_deliveries(engine: Engine) -> list[Delivery]:
    """All deliveries that can be taken in or, though they may be pruned, out; oldest first.

    Raises:
        LandingError: a record cannot be read.
    """
    deliveries = engine.raw_zone.all_deliveries()
    return [delivery for delivery in deliveries if state_of(delivery, None).is_replayable]
