"""`verify`: whether all laws hold in the live data, and every raw file is what landed.

Asked of the tables behind the writer lock; the raw files are hashed without it. `thorough` also
asks law 0: the database is made anew from the raw zone, beside, and compared.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.common.progress import TransferProgress
from lfp_pipeline.common.text import format_size, pluralize, preview
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import RawFileError
from lfp_pipeline.model.delivery import Delivery, Kind
from lfp_pipeline.model.ledger_entry import LedgerEntry, Status
from lfp_pipeline.model.partition_key import is_purge
from lfp_pipeline.operations.report import Report
from lfp_pipeline.operations.shadow_build import catch_up, rereadings, shadow_engine
from lfp_pipeline.raw_zone.desired_state import is_pruned, is_reverted, state_of
from lfp_pipeline.raw_zone.integrity import verify_raw_file
from lfp_pipeline.raw_zone.status_notes import last_recorded_status, read_status
from lfp_pipeline.reading.options import Rereading
from lfp_pipeline.warehouse.database_swap import contents, differences
from lfp_pipeline.warehouse.invariants import needed_deliveries, violations
from lfp_pipeline.warehouse.ledger import all_accounts, statuses
from lfp_pipeline.warehouse.operation_log import note_operation
from lfp_pipeline.warehouse.schema import VERSION, schema_version

_KINDS = "SELECT delivery_id, kind FROM warehouse.deliveries"

_NOTING_SECONDS = 2.0
"""Whoever has committed notes the outcome within that time, unless he was killed."""

_LAND_AGAIN = (
    "Land their files again (drop them anew, with the times that they had), then run ingest_inbox."
)

_ANEW = "Run ingest_inbox, which takes them in."

_PRUNE = " Or have prune_raw forget it: the tables do not need it."

_PURGE_AGAIN = (
    "Put them back from a copy; or run rebuild_products with accept_losses, and purge again."
)

_NOT_COMPARED = (
    "So no rebuild could be compared with the tables. Mend that first, then verify again."
)

_UNLIKE = (
    "Somebody has edited the tables; or files are read otherwise now, by another version of the "
    "program or with settings that were not recorded. Run rebuild_products."
)


@dataclass(frozen=True)
class _Inventory:
    """What the ledger and the raw zone say.

    Attributes:
        merged: the ids of the deliveries that are in, as the ledger has it.
        needed: the ids of the deliveries that the present products and deletions came with.
        recorded: the ids of all deliveries in the raw zone.
        unreadable: what is wrong with records.
        of_another_kind: the ids of deliveries whose records have another kind than the ledger.
        kept: the deliveries in the raw zone that are not pruned, oldest first.
        settled: of these, what is in or out, as people want it; the rest is pending.
        in_reach: what is settled, and can be taken in or out of another database. What was refused
            is in no table, and may be refused no longer.
        doomed: the ids of those that are in and to be out, which is pending.
        wrongly_noted: the ids of these whose outcome note does not say what the ledger does.
    """

    merged: frozenset[str]
    needed: frozenset[str]
    recorded: frozenset[str]
    unreadable: Sequence[str]
    of_another_kind: frozenset[str]
    kept: Sequence[Delivery]
    settled: Sequence[Delivery]
    in_reach: Sequence[Delivery]
    doomed: frozenset[str]
    wrongly_noted: frozenset[str]

    @classmethod
    def of(cls, engine: Engine, connection: duckdb.DuckDBPyConnection) -> "_Inventory":
        """As they are behind the lock, where the ledger stays as it is."""
        status_of = statuses(connection)
        kind_of = dict(connection.execute(_KINDS).fetchall())
        merged = frozenset(id_ for id_, status in status_of.items() if status is Status.MERGED)
        recorded, unreadable = engine.raw_zone.survey()
        state = {one: state_of(one, status_of.get(one.delivery_id)) for one in recorded}
        kept = [one for one in recorded if state[one].bytes_kept]
        settled = [one for one in kept if state[one].is_reconciled]
        database_id = engine.warehouse.cached_id()
        noted = {one.delivery_id: read_status(one.path, database_id) for one in recorded}
        notable: dict[str, Status | None]
        notable = {one.delivery_id: status_of[one.delivery_id] for one in settled}
        # Of what is pruned, nobody misses a note; but there may be one, and it may be wrong.
        notable |= {
            id_: status_of.get(id_)
            for id_ in noted.keys() - {one.delivery_id for one in kept}
            if noted[id_] is not None
        }
        return cls(
            merged=merged,
            needed=needed_deliveries(connection),
            recorded=frozenset(one.delivery_id for one in recorded),
            unreadable=unreadable,
            of_another_kind=frozenset(
                one.delivery_id
                for one in recorded
                if kind_of.get(one.delivery_id, one.kind) != one.kind
            ),
            kept=kept,
            settled=settled,
            in_reach=[
                one
                for one in recorded
                if state[one].is_replayable
                and state[one].is_reconciled
                and state[one].recorded is not Status.REFUSED
            ],
            doomed=merged & {one.delivery_id for one in kept if not state[one].needs_bytes},
            wrongly_noted=frozenset(
                id_ for id_, status in noted.items() if status != notable.get(id_)
            ),
        )


def verify(
    engine: Engine, log: logging.Logger, *, thorough: bool = False, dry_run: bool = False
) -> Report:
    """Look whether all is as it should be. Nothing is put right.

    Args:
        engine: whose.
        log: for progress.
        thorough: also make the database anew and compare: takes as long, and as much room, as a
            rebuild.
        dry_run: only tell what it would look at.

    Returns:
        With a problem for everything that is wrong, and what to do about it.

    Raises:
        LfpError: the database cannot be had or read.
    """
    if dry_run:
        return _plan(engine, thorough=thorough)
    if not engine.warehouse.path.exists():
        return _without_database(engine)
    started = utc_now()
    with engine.warehouse.session("verifying", log) as connection:
        problems = _breaches(connection)
        books = _Inventory.of(engine, connection)
    problems += _behind(engine, log)
    unsound = [*books.unreadable, *_missing(books), *_damaged(books, log)]
    problems += unsound
    problems += _wrongly_noted(engine, books, log)
    problems += _misindexed(engine)
    problems += _published(engine)
    if thorough and unsound:
        problems.append(_NOT_COMPARED)
    elif thorough:
        problems += _unlike_a_rebuild(engine, log)
    pending = len(books.kept) - len(books.settled)
    size = sum(one.size_bytes for one in books.kept)
    raw_files = f"{pluralize(len(books.kept), 'raw file')} of {format_size(size)}, their notes"
    summary = (
        f"{pluralize(len(problems), 'problem')}. Looked at: all tables, {raw_files}"
        f"{', and a rebuild' if thorough else ''}. Pending: {pluralize(pending, 'delivery')}."
    )
    note_operation(engine.warehouse, "verify", started, summary, log)
    figures = {
        "problems": len(problems),
        "raw_files": len(books.kept),
        "size_bytes": size,
        "pending": pending,
    }
    return Report(summary, figures, tuple(problems))


def _without_database(engine: Engine) -> Report:
    once_in = sum(last_recorded_status(one.path) is not None for one in engine.raw_zone.survey()[0])
    if not once_in:
        return Report("There is no database yet: nothing was taken in.", {})
    problem = f"There is no database any more; {pluralize(once_in, 'delivery')} had ended. {_ANEW}"
    return Report("There is no database.", {"problems": 1}, (problem,))


def _behind(engine: Engine, log: logging.Logger) -> Iterator[str]:
    with engine.warehouse.lock.held("verifying", log):
        missing_deliveries = engine.published.missing_deliveries(log)
    if missing_deliveries:
        what = "deliveries that had landed before the database was made anew, and are not in yet"
        yield f"{what.capitalize()}: {missing_deliveries:,}. {_ANEW}"


def _breaches(connection: duckdb.DuckDBPyConnection) -> list[str]:
    return [
        _line(one.invariant.description, one.number, one.some, one.invariant.remedy)
        for one in violations(connection)
    ]


def _missing(books: _Inventory) -> Iterator[str]:
    """What the raw zone lacks of what is in the tables."""
    gone = books.merged - books.recorded
    purges = {one for one in gone if is_purge(one)}
    what = "merged deliveries without a record in the raw zone"
    if files := gone - purges:
        yield _line(what, len(files), sorted(files), _LAND_AGAIN)
    if purges:
        yield _line(what, len(purges), sorted(purges), _PURGE_AGAIN)
    if other := books.of_another_kind:
        what = "deliveries whose records have another kind than the ledger, products or deletion"
        yield _line(what, len(other), sorted(other), "Put their records back from a copy.")
    kept = {one.delivery_id for one in books.kept}
    if pruned := (books.needed & books.recorded) - kept:
        what = "pruned deliveries of which products has rows, which a rebuild would lose"
        yield _line(what, len(pruned), sorted(pruned), _LAND_AGAIN)


def _damaged(books: _Inventory, log: logging.Logger) -> Iterator[str]:
    """What has happened to raw files. A purge that is reverted has done all that it will do."""
    progress = TransferProgress(log, "Hashing the raw files")
    done, size = 0, sum(one.size_bytes for one in books.kept)
    prunable = {one.delivery_id for one in books.settled if one.kind is Kind.PRODUCTS}
    prunable -= books.needed
    for one in books.kept:
        try:
            verify_raw_file(one, full=True)
        except RawFileError as error:
            undone = one.kind is Kind.DELETION and is_reverted(one.path)
            if not undone and not is_pruned(one.path):  # Nor was it, a moment ago.
                yield f"{error}{_PRUNE if one.delivery_id in prunable else ''}"
        done += one.size_bytes
        progress(done, size)


def _wrongly_noted(engine: Engine, books: _Inventory, log: logging.Logger) -> Iterator[str]:
    """Which notes are wrong, and stay so."""
    wrong = books.wrongly_noted
    if wrong:
        time.sleep(_NOTING_SECONDS)
        with engine.warehouse.session("verifying", log) as connection:
            wrong &= _Inventory.of(engine, connection).wrongly_noted
    if wrong:
        what = "deliveries whose .outcome in the raw zone does not say what the ledger does"
        remedy = "Remove these .outcome files, if they are there, and run ingest_inbox."
        yield _line(what, len(wrong), sorted(wrong), remedy)


def _misindexed(engine: Engine) -> Iterator[str]:
    """What the raw index tells wrongly, as nobody but a damaged disk or a stranger makes it."""
    index = engine.raw_zone.index
    if wrong := index.differences():
        what = f"deliveries of which {index.path} does not tell what the raw zone does"
        yield _line(what, len(wrong), wrong, "Remove that file: the next who asks makes it anew.")


def _published(engine: Engine) -> Iterator[str]:
    """What is wrong with the published copy, whatever its age.

    A copy with an older schema is not asked: the tables have changed since, so it is replaced soon.
    """
    copy = engine.published
    if not copy.path.exists():
        return
    remedy = f"Remove {copy.path}, and run publish_tables."
    try:
        with copy.session() as connection:
            is_older = schema_version(connection) < VERSION
            for one in () if is_older else violations(connection):
                what = f"in the published copy, {one.invariant.description}"
                yield _line(what, one.number, one.some, remedy)
    except duckdb.Error as error:
        first_line, _, _ = str(error).partition("\n")
        yield f"The published copy cannot be read: {first_line}. {remedy}"


def _unlike_a_rebuild(engine: Engine, log: logging.Logger) -> Iterator[str]:
    """In what the tables are not what the raw zone makes of them, as far as it is taken in."""
    with shadow_engine(engine) as shadow:
        with engine.warehouse.session("looking what is in", log) as connection:
            in_reach = _Inventory.of(engine, connection).in_reach
            known = all_accounts(connection)
        catch_up(shadow, in_reach, log, rereadings(known, in_reach, engine.settings))
        with engine.warehouse.session("verifying", log) as connection:
            books = _Inventory.of(engine, connection)
            if books.doomed:
                what = "reversals that are pending, so that no rebuild can be compared"
                remedy = "Run ingest_inbox, which carries them out, then verify again."
                yield _line(what, len(books.doomed), sorted(books.doomed), remedy)
                return
            wanted = {one.delivery_id for one in books.in_reach}
            known = all_accounts(connection)
            ways = rereadings(known, books.in_reach, engine.settings)
            catch_up(shadow, books.in_reach, log, ways)  # What has come or changed meanwhile.
            with shadow.warehouse.session("verifying", log) as rebuilding:
                reread = all_accounts(rebuilding)
                failed = [
                    one
                    for one in reread.values()
                    if one.status is Status.FAILED and one.delivery_id in wanted
                ]
                rebuilt = contents(rebuilding).digests
                rebuilding.execute("CHECKPOINT warehouse")
            if failed:
                yield from (f"{one.delivery_id}: {one.error}" for one in failed)
                yield _NOT_COMPARED
                return
            if unlike := _unlike_their_accounts(known, reread, ways):
                what = "deliveries whose account in the ledger is not what reading them again gives"
                yield _line(what, len(unlike), unlike, _UNLIKE)
            for table, digest in contents(connection).digests.items():
                if digest != rebuilt[table]:
                    number, some = differences(connection, table, shadow.warehouse.path)
                    what = f"rows of {table} that a rebuild makes otherwise"
                    yield _line(what, number, some, _UNLIKE)


def _unlike_their_accounts(
    known: Mapping[str, LedgerEntry],
    reread: Mapping[str, LedgerEntry],
    ways: Mapping[str, Rereading],
) -> list[str]:
    """The merged deliveries whose rows in the ledger do not match a reading as it was then."""
    return [
        delivery_id
        for delivery_id, way in sorted(ways.items())
        if (then := known[delivery_id]).status is Status.MERGED
        and (
            not then.is_read_as(reread[delivery_id])
            or (then.read_conditions is not None and way.differences and not way.only_programs)
        )
    ]


def _line(what: str, number: int, some: Sequence[str], remedy: str) -> str:
    return f"{what[0].upper()}{what[1:]}: {number:,} ({preview(some, number)}). {remedy}"


def _plan(engine: Engine, *, thorough: bool) -> Report:
    kept = [one for one in engine.raw_zone.survey()[0] if not is_pruned(one.path)]
    size = sum(one.size_bytes for one in kept)
    summary = (
        f"Would look at all tables of {engine.warehouse.path}, which has "
        f"{format_size(engine.warehouse.size_bytes)}, and hash {len(kept):,} raw files of "
        f"{format_size(size)}."
    )
    if thorough:
        summary += " Then it would make the database anew from them beside it, and compare."
    return Report(summary, {"raw_files": len(kept), "size_bytes": size})
