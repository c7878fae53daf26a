"""Yields the warnings that hold now: a few of each kind, and the number of the others.

A warning no longer holds if its delivery is reverted or refused, or if a later version replaces it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TypeVar

from lfp_pipeline.common.text import short_name
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LandingError
from lfp_pipeline.ingest.delivery_warnings import (
    completion,
    dated_ahead,
    older_version,
    wholly_stale,
)
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import LedgerEntry, RowCounts, Status
from lfp_pipeline.operations.read_tables import Row
from lfp_pipeline.raw_zone.landed import Landed
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.sources.inbox import InboxFile

_SHOWN = 10

_Candidate = TypeVar("_Candidate")


def standing_warnings(
    engine: Engine,
    stale: Sequence[Row],
    latest: Sequence[Row],
    in_the_inbox: Iterable[tuple[InboxFile, Landed | None]],
) -> Iterator[str]:
    """Yield warnings about the deliveries of a data folder.

    Args:
        stale: rows of the ledger, as `file_results.STALE` finds them.
        latest: ledger rows of the deliveries that ended last; only these are checked for
            unfinished uploads.
        in_the_inbox: files of the inbox, and the delivery of each, if it has landed.
    """
    zone, inbox = engine.raw_zone, engine.settings.inbox_place
    yield from _first(zone.index.dated_ahead(), partial(_of_time, zone))
    yield from _first(stale, partial(_of_row, zone, partial(wholly_stale, inbox=inbox)))
    yield from _first(latest, partial(_of_row, zone, completion))
    older = (
        (file, landed)
        for file, landed in in_the_inbox
        if landed and landed.has_newer and landed.noted_status == Status.MERGED
    )
    yield from _first(older, lambda pair: _of_older_version(engine, *pair))


def _first(
    candidates: Iterable[_Candidate], warning_of: Callable[[_Candidate], str | None]
) -> Iterator[str]:
    """Yield the first warnings, and the number of candidates after them."""
    remaining = iter(candidates)
    yield from islice(filter(None, map(warning_of, remaining)), _SHOWN)
    if more := sum(1 for _ in remaining):
        yield f"And {more:,} more like these."


def _of_time(zone: RawZone, delivery_id: str) -> str | None:
    with suppress(LandingError):  # Its record cannot be read.
        delivery = zone.find(delivery_id)
        if warning := dated_ahead(delivery):
            return f"{_label(delivery)}: {warning}"
    return None


def _of_row(
    zone: RawZone, warning_of: Callable[[Delivery, LedgerEntry, RawZone], str | None], row: Row
) -> str | None:
    entry = LedgerEntry(row["delivery_id"], Status(row["status"]), rows=RowCounts.of_row(row))
    with suppress(LandingError):  # Its record is gone.
        delivery = zone.find(entry.delivery_id)
        if warning := warning_of(delivery, entry, zone):
            return f"{_label(delivery)}: {warning}"
    return None


def _label(delivery: Delivery) -> str:
    return short_name(delivery.label)


def _of_older_version(engine: Engine, file: InboxFile, landed: Landed) -> str | None:
    with suppress(LandingError):  # A record cannot be read.
        delivery = engine.raw_zone.find(landed.delivery_id)
        if newer := engine.raw_zone.newer_than(delivery):
            advice = older_version(delivery, newer, engine.settings.inbox_place)
            return f"{file.name} in the inbox is an older version. {advice}"
    return None
