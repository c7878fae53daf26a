"""Checks the invariants of the live data, and every raw file against its record (job `verify`).

The tables are checked under the writer lock; the raw files are hashed without it. `full` also
checks invariant I0: the database is rebuilt from the raw zone, beside, and compared.
"""

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence

import duckdb

from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.common.progress import TransferProgress
from lfp_pipeline.common.text import format_size, pluralize, preview
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import RawFileError
from lfp_pipeline.model.delivery import Kind, is_delivery_id, label_of
from lfp_pipeline.model.ledger_entry import LedgerEntry, Status
from lfp_pipeline.model.partition_key import is_purge
from lfp_pipeline.operations import Report
from lfp_pipeline.operations.inventory import Inventory
from lfp_pipeline.operations.shadow_build import catch_up, rereadings, shadow_engine
from lfp_pipeline.raw_zone.adoption import unrecorded
from lfp_pipeline.raw_zone.byte_store import LAND_AGAIN
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.reading.options import Rereading
from lfp_pipeline.warehouse.database_swap import differing_rows, take_snapshot
from lfp_pipeline.warehouse.invariants import violations
from lfp_pipeline.warehouse.ledger import all_entries
from lfp_pipeline.warehouse.schema import VERSION, schema_version

_NOTING_SECONDS = 2.0
"""Longest time from a commit to its status note, unless the process is killed in between."""

_LAND_AGAIN = f"Land their files again, with the times that they had: {LAND_AGAIN}"

_ADOPT = "Run `lfp cluster init`, which adopts them, then `lfp ingest`."

_PRUNE = " Or run `lfp prune`: the tables do not need it."

_PURGE_AGAIN = (
    "Restore them from a copy; or run `lfp rebuild` with --allow-data-loss, and purge again."
)

_NOT_COMPARED = (
    "The tables were not compared with a rebuild. Fix these problems, then verify again."
)

_UNLIKE = (
    "The tables were edited; or another version of the program, or settings that were not "
    "recorded, read files otherwise. Run `lfp rebuild`."
)


def verify(
    engine: Engine, log: logging.Logger, *, full: bool = False, dry_run: bool = False
) -> Report:
    """Check the tables and the raw zone, and report a line for each problem. Nothing is repaired.

    Args:
        full: also rebuild the database beside and compare. This takes as long, and as much disk,
            as a rebuild.

    Raises:
        LfpError: the database is busy, or cannot be read; or the server of the raw files does not
            answer.
    """
    if dry_run:
        return _plan(engine, full=full)
    if not engine.warehouse.exists:
        return _without_database(engine)
    return _apply(engine, log, full=full)


def _plan(engine: Engine, *, full: bool) -> Report:
    zone = engine.raw_zone.as_of_now()
    recorded, is_pruned = zone.survey()[0], zone.desired.is_pruned
    kept = [delivery for delivery in recorded if not is_pruned(delivery.raw_name)]
    size = sum(delivery.size_bytes for delivery in kept)
    summary = (
        f"Would check all tables of {engine.warehouse.location} "
        f"({format_size(engine.warehouse.size_bytes)}), and hash {len(kept):,} raw files of "
        f"{format_size(size)}."
    )
    if full:
        summary += " Would also rebuild the database from them beside it, and compare."
    return Report(summary, {"raw_files": len(kept), "size_bytes": size})


def _apply(engine: Engine, log: logging.Logger, *, full: bool) -> Report:
    started = utc_now()
    with engine.warehouse.session("verifying", log) as connection:
        problems = _violations(connection)
        inventory = Inventory.of(engine, connection)
    problems += _missing_after_rebuild(engine, log)
    damage = [*inventory.unreadable, *_missing_records(inventory)]
    damage += _damaged_files(engine.raw_zone, inventory, log)
    problems += damage
    if lost := unrecorded(engine.raw_zone):
        problems.append(_of_deliveries("raw files that have lost their record", lost, _ADOPT))
    problems += _wrong_notes(engine, inventory, log)
    problems += _wrong_index(engine)
    problems += _wrong_published_copy(engine)
    if full and damage:
        problems.append(_NOT_COMPARED)
    elif full:
        problems += _differences_to_rebuild(engine, log)
    pending = len(inventory.kept) - len(inventory.reconciled)
    size = sum(delivery.size_bytes for delivery in inventory.kept)
    raw_files = f"{pluralize(len(inventory.kept), 'raw file')} of {format_size(size)}, their notes"
    summary = (
        f"{pluralize(len(problems), 'problem')}. Checked: all tables, {raw_files}"
        f"{', and a rebuild' if full else ''}. Pending: {pluralize(pending, 'delivery')}."
    )
    engine.published.note_operation("verify", started, summary, log)
    figures = {
        "problems": len(problems),
        "raw_files": len(inventory.kept),
        "size_bytes": size,
        "pending": pending,
    }
    return Report(summary, figures, tuple(problems))


def _without_database(engine: Engine) -> Report:
    zone = engine.raw_zone.as_of_now()
    deliveries, last_status = zone.survey()[0], zone.notes.last_status
    done = sum(last_status(delivery.raw_name) is not None for delivery in deliveries)
    if not done:
        return Report("There is no database yet: nothing was merged.", {})
    problem = (
        f"There is no database any more; {pluralize(done, 'delivery')} had been processed. Run "
        "`lfp ingest`."
    )
    return Report("There is no database.", {"problems": 1}, (problem,))


def _missing_after_rebuild(engine: Engine, log: logging.Logger) -> Iterator[str]:
    with engine.warehouse.lock.held("verifying", log):
        missing = engine.published.missing_deliveries(log)
    if missing:
        what = "Deliveries that landed before the database was rebuilt, and are not merged"
        yield f"{what}: {missing:,}. Run `lfp ingest`."


def _violations(connection: duckdb.DuckDBPyConnection) -> list[str]:
    return [
        _line(found.invariant.description, found.number, found.some, found.invariant.remedy)
        for found in violations(connection)
    ]


def _missing_records(inventory: Inventory) -> Iterator[str]:
    """Yield what the raw zone lacks of the deliveries in the tables."""
    gone = inventory.merged - inventory.recorded
    purges = {delivery_id for delivery_id in gone if is_purge(delivery_id)}
    what = "merged deliveries without a record in the raw zone"
    if files := gone - purges:
        yield _of_deliveries(what, files, _LAND_AGAIN)
    if purges:
        yield _of_deliveries(what, purges, _PURGE_AGAIN)
    if other := inventory.of_another_kind:
        what = "deliveries whose records have another kind than the ledger, products or deletion"
        yield _of_deliveries(what, other, "Restore their records from a copy.")
    kept = {delivery.delivery_id for delivery in inventory.kept}
    if pruned := (inventory.needed & inventory.recorded) - kept:
        what = "pruned deliveries that the tables need, and a rebuild would lose"
        yield _of_deliveries(what, pruned, _LAND_AGAIN)


def _damaged_files(raw_zone: RawZone, inventory: Inventory, log: logging.Logger) -> Iterator[str]:
    """Yield the raw files that are gone or changed. A reverted purge needs no file any more."""
    progress = TransferProgress(log, "Hashing the raw files", "raw files", "hashing")
    done, size = 0, sum(delivery.size_bytes for delivery in inventory.kept)
    prunable = {
        delivery.delivery_id
        for delivery in inventory.reconciled
        if delivery.kind is Kind.PRODUCTS and delivery.delivery_id not in inventory.needed
    }
    for delivery in inventory.kept:
        try:
            with raw_zone.verified(delivery, full=True):
                pass
        except RawFileError as error:
            name, desired = delivery.raw_name, raw_zone.desired
            is_reverted_purge = delivery.kind is Kind.DELETION and desired.is_reverted(name)
            if not is_reverted_purge and not desired.is_pruned(name):  # It may be pruned since.
                is_prunable = error.is_lost and delivery.delivery_id in prunable
                yield f"{error}{_PRUNE if is_prunable else ''}"
        done += delivery.size_bytes
        progress(done, size)


def _wrong_notes(engine: Engine, inventory: Inventory, log: logging.Logger) -> Iterator[str]:
    """Yield the status notes that are wrong, and remain so for the longest time of a commit."""
    wrong = inventory.wrongly_noted
    if wrong:
        time.sleep(_NOTING_SECONDS)
        with engine.warehouse.session("verifying", log) as connection:
            wrong &= Inventory.of(engine, connection).wrongly_noted
    if wrong:
        what = "deliveries whose status notes differ from the ledger"
        yield _of_deliveries(what, wrong, "Run `lfp ingest`; if they remain, `lfp rebuild`.")


def _wrong_index(engine: Engine) -> Iterator[str]:
    """Yield what is wrong in the raw index: a damaged disk or another program has changed it."""
    index = engine.raw_zone.index
    if wrong := index.differences():
        what = f"deliveries that {index.path} has otherwise than the raw zone"
        yield _of_deliveries(what, wrong, "Remove that file; it is rebuilt when needed.")


def _wrong_published_copy(engine: Engine) -> Iterator[str]:
    """Yield what is wrong in the published copy, whatever its age.

    A copy with an older schema is not checked: it is replaced soon, since the tables have changed.
    """
    copy = engine.published
    if not (copy.exists and copy.is_apart):
        return
    remedy = f"Remove {copy.location}, and run `lfp publish`."
    try:
        with copy.session() as connection:
            is_older = schema_version(connection) < VERSION
            for found in () if is_older else violations(connection):
                what = f"in the published copy, {found.invariant.description}"
                yield _line(what, found.number, found.some, remedy)
    except duckdb.Error as error:
        first_line, _, _ = str(error).partition("\n")
        yield f"The published copy cannot be read: {first_line}. {remedy}"


def _differences_to_rebuild(engine: Engine, log: logging.Logger) -> Iterator[str]:
    """Yield how the tables differ from a rebuild of the reconciled deliveries."""
    with shadow_engine(engine) as shadow:
        with engine.warehouse.session("reading the ledger", log) as connection:
            replayable = Inventory.of(engine, connection).replayable
            entries = all_entries(connection)
        catch_up(shadow, replayable, log, rereadings(entries, replayable, engine.settings))
        with engine.warehouse.session("verifying", log) as connection:
            inventory = Inventory.of(engine, connection)
            if pending := inventory.pending_reversals:
                what = "pending reversals, so that no rebuild can be compared"
                remedy = "Run `lfp ingest`, then verify again."
                yield _of_deliveries(what, pending, remedy)
                return
            # Deliveries may have come or changed meanwhile.
            replayable, entries = inventory.replayable, all_entries(connection)
            recorded = rereadings(entries, replayable, engine.settings)
            catch_up(shadow, replayable, log, recorded)
            yield from _compared(connection, shadow, inventory, entries, recorded, log)


def _compared(
    connection: duckdb.DuckDBPyConnection,
    shadow: Engine,
    inventory: Inventory,
    entries: Mapping[str, LedgerEntry],
    recorded: Mapping[str, Rereading],
    log: logging.Logger,
) -> Iterator[str]:
    """Yield how the attached tables differ from those of a shadow database."""
    with shadow.warehouse.session("verifying", log) as rebuilding:
        reread = all_entries(rebuilding)
        rebuilt = take_snapshot(rebuilding).digests
        shadow.warehouse.flush(rebuilding)
    wanted = {delivery.delivery_id for delivery in inventory.replayable}
    failed = [
        f"{label_of(delivery_id)}: {entry.error}"
        for delivery_id, entry in reread.items()
        if entry.status is Status.FAILED and delivery_id in wanted
    ]
    if failed:
        yield from failed
        yield _NOT_COMPARED
        return
    if unlike := _unlike_their_entries(entries, reread, recorded):
        what = "deliveries whose ledger entry differs from reading them again"
        yield _of_deliveries(what, unlike, _UNLIKE)
    for table, digest in take_snapshot(connection).digests.items():
        if digest != rebuilt[table]:
            number, some = differing_rows(connection, table, shadow.warehouse)
            what = f"rows of {table} that differ from a rebuild"
            yield _line(what, number, some, _UNLIKE)


def _unlike_their_entries(
    entries: Mapping[str, LedgerEntry],
    reread: Mapping[str, LedgerEntry],
    recorded: Mapping[str, Rereading],
) -> list[str]:
    """Return the ids of merged deliveries whose ledger entries differ from another reading."""
    return [
        delivery_id
        for delivery_id, rereading in sorted(recorded.items())
        if (then := entries[delivery_id]).status is Status.MERGED
        and (
            not then.is_read_as(reread[delivery_id])
            or (
                then.read_conditions is not None
                and rereading.differences
                and not rereading.only_programs
            )
        )
    ]


def _of_deliveries(what: str, ids: Collection[str], remedy: str) -> str:
    return _line(what, len(ids), sorted(ids), remedy)


def _line(what: str, number: int, some: Sequence[str], remedy: str) -> str:
    names = [label_of(name) if is_delivery_id(name) else name for name in some]
    return f"{what[0].upper()}{what[1:]}: {number:,} ({preview(names, number)}). {remedy}"
