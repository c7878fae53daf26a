"""Builds a shadow database: one that is made from the raw zone, beside the present database."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from lfp_pipeline.engine import Engine
from lfp_pipeline.ingest.result import IngestResult
from lfp_pipeline.model.delivery import Delivery, Kind, TextFormat
from lfp_pipeline.model.ledger_entry import LedgerEntry, Status
from lfp_pipeline.reading.options import Rereading, reread
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.ledger import statuses


@contextmanager
def shadow_engine(engine: Engine) -> Iterator[Engine]:
    """Yield an engine with an empty shadow database, which is removed afterwards unless moved."""
    with engine.warehouse.shadow() as warehouse:
        yield Engine(engine.settings, warehouse)


def rereadings(
    known: Mapping[str, LedgerEntry], deliveries: Sequence[Delivery], settings: Settings
) -> dict[str, Rereading]:
    """Return how to read deliveries as they were read when they were merged, by delivery id."""
    ways: dict[tuple[str | None, str | None, TextFormat | None], Rereading] = {}
    found = {}
    for delivery in deliveries:
        entry = known.get(delivery.delivery_id)
        if entry is None or delivery.kind is Kind.DELETION:
            continue
        is_merged = entry.status is Status.MERGED
        if is_merged or entry.read_conditions is not None:
            text_format = delivery.text_format if is_merged else None
            key = entry.read_with, entry.read_conditions, text_format
            if key not in ways:
                ways[key] = reread(*key, settings)
            found[delivery.delivery_id] = ways[key]
    return found


def catch_up(
    shadow: Engine,
    deliveries: Sequence[Delivery],
    log: logging.Logger,
    ways: Mapping[str, Rereading],
) -> None:
    """Bring deliveries into their desired states in a shadow database.

    Deliveries that `ways` lacks are read with the present settings.
    """
    with shadow.warehouse.session("reading the ledger", log) as connection:
        status_of = statuses(connection)
    state_of = shadow.raw_zone.as_of_now().desired.state_of
    remaining = [
        delivery
        for delivery in deliveries
        if not state_of(delivery, status_of.get(delivery.delivery_id)).is_reconciled
    ]
    done = 0
    for settings, group in _by_settings(remaining, ways, shadow.settings):
        for outcome in Engine(settings, shadow.warehouse).ingest_all([], group, log):
            done += 1
            if isinstance(outcome, IngestResult):
                result = f"{outcome.delivery.label}: {outcome.account.status}"
                log.info("Rebuilt %d of %d: %s", done, len(remaining), result)


def _by_settings(
    deliveries: Sequence[Delivery], ways: Mapping[str, Rereading], present: Settings
) -> Sequence[tuple[Settings, list[Delivery]]]:
    groups: dict[int, tuple[Settings, list[Delivery]]] = {}
    for delivery in deliveries:
        way = ways.get(delivery.delivery_id)
        settings = way.settings if way else present
        groups.setdefault(id(settings), (settings, []))[1].append(delivery)
    return list(groups.values())


def replayable_deliveries(engine: Engine) -> list[Delivery]:
    """Return the deliveries that another database can merge or revert, oldest first."""
    zone = engine.raw_zone.as_of_now()
    state_of = zone.desired.state_of
    return [
        delivery for delivery in zone.all_deliveries() if state_of(delivery, None).is_replayable
    ]
