"""How things stand with a data folder.

Nothing is waited for, and nobody is held up: the tables are read in their published copy.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from lfp_pipeline.common.process_marks import live_marks
from lfp_pipeline.common.text import pluralize
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LfpError, SettingsError
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.operations.standing_warnings import STALE, standing_warnings
from lfp_pipeline.sources.inbox import InboxFile, Listing, Skipped
from lfp_pipeline.warehouse.writer_lock import LockHolder

_LOG = logging.getLogger(__name__)

_LAST = 10

_SIZES = """
SELECT (SELECT count(*) FROM products) AS products,
    (SELECT count(*) FROM name_counts) AS names,
    (SELECT count(*) FROM deliveries) AS deliveries,
    (SELECT count(*) FROM rejected_rows) AS rejected_rows
"""

# The ledger's rows stand in the order in which their deliveries ended; but what a rebuild takes
# over of pruned ones stands behind its own. What is not merged has no time: it ended after all that
# stand before it. Two columns are sorted, not all: that takes a third of the time.
_LATEST = f"""
WITH latest AS (
    SELECT rowid AS number, coalesce(merged_at, max(merged_at) OVER (ORDER BY rowid)) AS ended_at
    FROM deliveries
    ORDER BY ended_at DESC NULLS LAST, number DESC
    LIMIT {_LAST}
)
SELECT deliveries.* FROM deliveries JOIN latest ON deliveries.rowid = latest.number
ORDER BY ended_at DESC NULLS LAST, number DESC
"""

# A file that was refused is mended by a newer version of it; what has failed is wanting.
_GIVEN_UP = """
SELECT * FROM deliveries WHERE status <> 'reverted'
QUALIFY status = 'failed' OR status = 'refused' AND row_number() OVER (
    PARTITION BY partition_key ORDER BY delivered_at DESC, delivery_id DESC
) = 1
ORDER BY partition_key, delivered_at
"""

Row = Mapping[str, Any]
"""A row of the ledger, by column."""


@dataclass(frozen=True)
class TableStatus:
    """What the tables say.

    Attributes:
        source: where they were read.
        as_of: when they were so, in seconds since the epoch.
        sizes: rows, by table.
        latest: the deliveries that ended last, the last one first.
        stale: the deliveries that landed out of turn, with stale rows only.
        given_up: what has failed, and was refused and has no newer version.
    """

    source: str
    as_of: float
    sizes: Mapping[str, int]
    latest: Sequence[Row]
    stale: Sequence[Row]
    given_up: Sequence[Row]


@dataclass(frozen=True)
class StatusReport:
    """How things stand.

    Attributes:
        data_dir: the data folder.
        moment: when that was, in seconds since the epoch.
        pending: files in the inbox that are not in yet.
        still_writing: names of files that are still being written.
        skipped: entries of the inbox that are no files, or cannot be looked at.
        ignored: names of temporary and side files and folders in the inbox, folders first.
        pending_deliveries: deliveries that landed and are not in yet.
        runs: what each living run does, and since when.
        writer: who has the writer lock.
        waiting: who waits for it.
        tables: what they say; None: they cannot be had, or are not there.
        unpublished: ids and statuses of deliveries that came to their end after `tables` were so.
        left_alone: the ids of what has failed, and nothing tries again: its bytes are not kept.
        is_stale: whether the tables have changed since they were published.
        warnings: what people should know of the times of deliveries, as far as it still holds; of
            unfinished uploads that were completed last; and of older versions in the inbox.
        feed_errors: what is wrong, by feed.
        disk: bytes, by what takes them.
        free_bytes: left on the disk.
        problems: what is broken, or could not be looked at.
    """

    data_dir: Path
    moment: float
    pending: Sequence[InboxFile]
    still_writing: Sequence[str]
    skipped: Sequence[Skipped]
    ignored: Sequence[str]
    pending_deliveries: Sequence[Delivery]
    runs: Sequence[tuple[str, str, float]]
    writer: LockHolder | None
    waiting: Sequence[LockHolder]
    tables: TableStatus | None
    unpublished: Sequence[tuple[str, str]]
    left_alone: frozenset[str]
    is_stale: bool
    warnings: Sequence[str]
    feed_errors: Mapping[str, str]
    disk: Mapping[str, int]
    free_bytes: int
    problems: Sequence[str]


def collect_status(engine: Engine) -> StatusReport:
    """Look how things stand, without opening the database where it is published."""
    with engine.raw_zone.index.of_one_moment():
        return _state_of(engine)


def _state_of(engine: Engine) -> StatusReport:
    settings = engine.settings
    problems: list[str] = []
    listing = _inbox(engine, problems)
    told = list(zip(listing.ready, engine.ended(listing.ready), strict=True))
    inbox = engine.set_apart(listing, [file for file, ended in told if ended is None])
    lock = engine.warehouse.lock
    tables = _tables(engine, problems)
    landed = engine.pending_deliveries(_LOG, offered=inbox.ready)
    if landed and engine.published.last.database_id not in {
        None,
        engine.warehouse.cached_id(),
    }:
        problems.append(
            f"The database is gone, or was made anew, and {pluralize(len(landed), 'delivery')} "
            "that had landed are not in: run ingest_inbox. Readers keep the copy from before."
        )
    index = engine.raw_zone.index
    raw_bytes = index.disk_bytes()
    if index.problem:
        problems.append(index.problem)
    if engine.warehouse.is_corrupt:
        problems.append(f"{engine.warehouse.location} is no database: run rebuild_products.")
    return StatusReport(
        data_dir=settings.data_dir,
        moment=time.time(),
        pending=inbox.ready,
        still_writing=inbox.still_writing,
        skipped=inbox.skipped,
        ignored=inbox.ignored,
        pending_deliveries=landed,
        runs=list(_runs(settings.run_marks_dir)),
        writer=lock.holder,
        waiting=lock.waiting,
        tables=tables,
        unpublished=(
            index.ended_since(int(tables.as_of * 1e9))
            if tables and engine.published.is_stale
            else ()
        ),
        left_alone=frozenset(
            row["delivery_id"]
            for row in (tables.given_up if tables else ())
            if row["status"] == Status.FAILED and not engine.raw_zone.keeps(row["delivery_id"])
        ),
        is_stale=engine.published.is_stale,
        warnings=list(
            standing_warnings(
                engine, tables.stale if tables else (), tables.latest if tables else (), told
            )
        ),
        feed_errors=_feed_errors(engine, problems),
        disk={
            "database": engine.warehouse.size_bytes,
            "published copy": engine.published.size_bytes,
            "raw zone": raw_bytes,
        },
        free_bytes=engine.free_bytes,
        problems=problems,
    )


def _inbox(engine: Engine, problems: list[str]) -> Listing:
    try:
        return engine.list_inbox()
    except LfpError as error:
        problems.append(str(error))
        return Listing((), ())


def _runs(marks: Path) -> Iterator[tuple[str, str, float]]:
    for mark in live_marks(marks, "*.run"):
        try:
            yield mark.stem, mark.read_text(), mark.stat().st_mtime
        except FileNotFoundError:  # It has just ended.
            continue


def _tables(engine: Engine, problems: list[str]) -> TableStatus | None:
    published, database = engine.published, engine.warehouse
    try:
        if published.exists:
            with published.session() as connection:
                return _read(connection, "the published copy", published.last.copied_at)
        if database.exists:
            with database.read_session() as connection:
                return _read(connection, "the database", time.time())
    except duckdb.Error as error:
        problems.append(f"The tables cannot be read now: {error}")
    return None


def _read(connection: duckdb.DuckDBPyConnection, source: str, as_of: float) -> TableStatus:
    (sizes,) = _rows(connection, _SIZES)
    latest, stale, given_up = (_rows(connection, sql) for sql in (_LATEST, STALE, _GIVEN_UP))
    return TableStatus(source, as_of, sizes, latest, stale, given_up)


def _rows(connection: duckdb.DuckDBPyConnection, sql: str) -> list[Row]:
    found = connection.execute(sql)
    columns = [name for name, *_ in found.description or ()]
    return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]


def _feed_errors(engine: Engine, problems: list[str]) -> dict[str, str]:
    try:
        feeds, wrong = engine.feeds()
    except SettingsError as error:
        problems.append(str(error))
        return {}
    problems += wrong
    polled = ((feed.key, feed.memory.polls.error) for feed in feeds)
    return {key: error for key, error in polled if error}
