"""Collects the status of a data folder.

Nothing waits, and no writer is blocked: the tables are read from the published copy.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from lfp_pipeline.common.text import pluralize
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import (
    LandingError,
    LfpError,
    SettingsError,
    WarehouseBusyError,
    user_message,
)
from lfp_pipeline.hosts.liveness import Kind
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import APPLIED, Status
from lfp_pipeline.model.partition_key import file_name, is_derived
from lfp_pipeline.operations.attention import deliveries_to_fix, rejects_to_fix
from lfp_pipeline.operations.read_tables import Row, Tables, open_tables
from lfp_pipeline.operations.standing_warnings import standing_warnings
from lfp_pipeline.sources.inbox import InboxFile, Listing, Skipped
from lfp_pipeline.warehouse.file_results import STALE
from lfp_pipeline.warehouse.writer_lock import LockHolder

_LOG = logging.getLogger(__name__)

_LATEST_SHOWN = 10

_SIZES = """
SELECT (SELECT count(*) FROM products) AS products,
    (SELECT count(*) FROM name_counts) AS names,
    (SELECT count(*) FROM deliveries) AS deliveries,
    (SELECT count(*) FROM rejected_rows) AS rejected_rows
"""

# The ledger is in the order in which deliveries ended, except that a rebuild copies the entries of
# pruned deliveries behind its own. A delivery that is not merged has no time; it ended after all
# entries before it. Sorting two columns instead of all takes a third of the time.
_LATEST = f"""
WITH latest AS (
    SELECT rowid AS number, coalesce(merged_at, max(merged_at) OVER (ORDER BY rowid)) AS ended_at
    FROM deliveries
    ORDER BY ended_at DESC NULLS LAST, number DESC
    LIMIT {_LATEST_SHOWN}
)
SELECT deliveries.* FROM deliveries JOIN latest ON deliveries.rowid = latest.number
ORDER BY ended_at DESC NULLS LAST, number DESC
"""


@dataclass(frozen=True)
class TableStatus:
    """The tables at one time.

    Attributes:
        source: the database that they were read from, in words.
        as_of: the time, in seconds since the epoch.
        sizes: numbers of rows, by table.
        rejects_to_fix: number of rejected rows that need attention.
        latest: ledger rows of the deliveries that ended last, newest first.
        stale: ledger rows of deliveries that landed last, are older than others, and have only
            stale rows.
        needs_attention: ledger rows of failed and refused deliveries that need attention.
    """

    source: str
    as_of: float
    sizes: Mapping[str, int]
    rejects_to_fix: int
    latest: Sequence[Row]
    stale: Sequence[Row]
    needs_attention: Sequence[Row]


@dataclass(frozen=True)
class StatusReport:
    """The status of a data folder.

    Attributes:
        lake: the place of the tables and of their catalog, of several hosts.
        now: time of the report, in seconds since the epoch.
        pending: files in the inbox that are not merged.
        still_writing: names of files in the inbox that are still being written.
        skipped: entries of the inbox that are no files, or cannot be read.
        ignored: names of temporary and side files and folders in the inbox, folders first.
        pending_deliveries: landed deliveries that are not merged.
        runs: id, job and start time (in seconds since the epoch) of each live run.
        writer: the holder of the writer lock.
        waiting: the processes that wait for the writer lock.
        tables: the tables; None if there are none, or if they cannot be read.
        tables_are_busy: whether there is no copy, and a process writes the database.
        unpublished: ids and statuses of deliveries that ended after `tables.as_of`.
        files: names of files, by delivery id, where the partition key does not show the name.
        not_retried: ids of failed deliveries that nothing retries: their bytes are not kept.
        is_stale: whether the tables have changed since they were published.
        warnings: warnings about deliveries and inbox files that still hold.
        feed_errors: error messages, by feed.
        disk: bytes used, by what uses them.
        problems: what is broken, or cannot be read.
        ui_command: the command that starts the sensors.
    """

    data_dir: Path
    lake: str | None
    now: float
    pending: Sequence[InboxFile]
    still_writing: Sequence[str]
    skipped: Sequence[Skipped]
    ignored: Sequence[str]
    pending_deliveries: Sequence[Delivery]
    runs: Sequence[tuple[str, str, float]]
    writer: LockHolder | None
    waiting: Sequence[LockHolder]
    tables: TableStatus | None
    tables_are_busy: bool
    unpublished: Sequence[tuple[str, str]]
    files: Mapping[str, str]
    not_retried: frozenset[str]
    is_stale: bool
    warnings: Sequence[str]
    feed_errors: Mapping[str, str]
    disk: Mapping[str, int]
    free_bytes: int
    problems: Sequence[str]
    ui_command: str


def collect_status(engine: Engine) -> StatusReport:
    """Return the status. The database is opened only if there is no published copy."""
    with engine.raw_zone.index.snapshot():
        return _collect(engine)


def _collect(engine: Engine) -> StatusReport:
    problems: list[str] = []
    listing = _inbox(engine, problems)
    landed_files = list(zip(listing.ready, engine.backlog.reconciled(listing.ready), strict=True))
    pending = [file for file, landed in landed_files if landed is None]
    inbox = engine.catalog.set_apart(listing, pending)
    lock = engine.warehouse.lock
    tables, tables_are_busy = None, False
    try:
        tables = _tables(engine, None if problems else listing, problems)
    except WarehouseBusyError:
        tables_are_busy = True
    pending_deliveries = engine.pending_deliveries(_LOG, offered=inbox.ready)
    is_stale = engine.published.is_stale
    index = engine.raw_zone.index
    stale, latest = (tables.stale, tables.latest) if tables else ((), ())
    notes = index.noted_since(int(tables.as_of * 1e9)) if tables and is_stale else []
    unpublished = [(note.delivery_id, note.status) for note in notes]
    applied = {id_ for id_, status in unpublished if status in APPLIED}
    if tables and applied:
        rows = [row for row in tables.needs_attention if row["delivery_id"] not in applied]
        tables = replace(tables, needs_attention=rows)
    published = engine.published
    disk = {
        "database": engine.warehouse.size_bytes,
        **({"published copy": published.size_bytes} if published.is_apart else {}),
        "raw zone": index.disk_bytes(),
    }
    problems += _problems(engine, pending_deliveries)
    return StatusReport(
        data_dir=engine.settings.data_dir,
        lake=engine.warehouse.location if engine.settings.catalog else None,
        now=time.time(),
        pending=inbox.ready,
        still_writing=inbox.still_writing,
        skipped=inbox.skipped,
        ignored=inbox.ignored,
        pending_deliveries=pending_deliveries,
        runs=[
            (mark.name, mark.text, mark.since_ns / 1e9) for mark in engine.liveness.live(Kind.RUN)
        ],
        writer=lock.holder,
        waiting=lock.waiting,
        tables=tables,
        tables_are_busy=tables_are_busy,
        unpublished=unpublished,
        files=_files(engine, tables, pending_deliveries, [id_ for id_, _ in unpublished]),
        not_retried=_not_retried(engine, tables.needs_attention if tables else ()),
        is_stale=is_stale,
        warnings=list(standing_warnings(engine, stale, latest, landed_files)),
        feed_errors=_feed_errors(engine, problems),
        disk=disk,
        free_bytes=engine.free_bytes,
        problems=problems,
        ui_command=engine.settings.ui_command,
    )


def _problems(engine: Engine, pending_deliveries: Sequence[Delivery]) -> Iterator[str]:
    """Yield what is wrong with the database and the raw index."""
    known_ids = {None, engine.warehouse.cached_id()}
    if pending_deliveries and engine.published.last.database_id not in known_ids:
        number = pluralize(len(pending_deliveries), "delivery")
        yield (
            f"The database is missing or was rebuilt, and {number} that landed before are not "
            "merged. Run `lfp ingest`. Readers keep the last published copy."
        )
    if problem := engine.raw_zone.index.problem:
        yield problem
    if engine.warehouse.is_corrupt:
        yield f"{engine.warehouse.location} is no database. Run `lfp rebuild`."


def _not_retried(engine: Engine, rows: Sequence[Row]) -> frozenset[str]:
    failed = {row["delivery_id"] for row in rows if row["status"] == Status.FAILED}
    return frozenset(id_ for id_ in failed if not engine.raw_zone.keeps(id_))


def _inbox(engine: Engine, problems: list[str]) -> Listing:
    try:
        return engine.catalog.list_inbox()
    except LfpError as error:
        problems.append(str(error))
        return Listing((), ())


def _files(
    engine: Engine, tables: TableStatus | None, pending: Sequence[Delivery], unpublished: list[str]
) -> dict[str, str]:
    rows = (*tables.latest, *tables.needs_attention) if tables else ()
    sources = {row["delivery_id"]: row["source"] for row in rows}
    sources |= {delivery.delivery_id: delivery.source for delivery in pending}
    for delivery_id in unpublished:
        if is_derived(_key(delivery_id)) and delivery_id not in sources:
            with suppress(LandingError):  # Its record cannot be read.
                sources[delivery_id] = engine.raw_zone.find(delivery_id).source
    return {
        id_: file_name(_key(id_), source)
        for id_, source in sources.items()
        if is_derived(_key(id_))
    }


def _key(delivery_id: str) -> str:
    return delivery_id.partition("#")[0]


def _tables(engine: Engine, inbox: Listing | None, problems: list[str]) -> TableStatus | None:
    """Return the tables, if there are any; raise a WarehouseBusyError while they are written."""
    if not (engine.published.exists or engine.warehouse.exists):
        return None
    try:
        with open_tables(engine) as tables:
            return _read(engine, tables, inbox)
    except WarehouseBusyError:
        raise
    except (LfpError, duckdb.Error) as error:
        problems.append(user_message(error))
    return None


def _read(engine: Engine, tables: Tables, inbox: Listing | None) -> TableStatus:
    (sizes,) = tables.rows(_SIZES)
    return TableStatus(
        source=tables.source,
        as_of=tables.as_of,
        sizes=sizes,
        rejects_to_fix=sum(
            row["rejects"] for row in rejects_to_fix(engine, tables.connection, inbox)
        ),
        latest=tables.rows(_LATEST),
        stale=tables.rows(STALE),
        needs_attention=deliveries_to_fix(engine, tables.connection, inbox),
    )


def _feed_errors(engine: Engine, problems: list[str]) -> dict[str, str]:
    try:
        feeds, wrong = engine.catalog.feeds()
    except SettingsError as error:
        problems.append(str(error))
        return {}
    problems += wrong
    polled = ((feed.key, feed.memory.polls.error) for feed in feeds)
    return {key: error for key, error in polled if error}
