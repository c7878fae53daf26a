"""`rebuild_products`: the database is made anew from the raw zone, beside the old one.

What the present ledger has as merged is read with the settings that it was merged with. Another
version of the program may read it otherwise: then its account and its products must come out the
same.

Others go on meanwhile. What they bring in is brought in once more at the end, behind the lock; then
the new database takes the place of the old one, by a rename. It keeps its id: the outcomes that are
noted in the raw zone stay true.
"""

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import duckdb

from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.common.text import format_size, pluralize, preview
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LfpError, OperationRefusedError, WarehouseCorruptError, hint_for
from lfp_pipeline.ingest.ingest import conclude
from lfp_pipeline.ingest.result import IngestResult
from lfp_pipeline.model.delivery import stamp
from lfp_pipeline.model.ledger_entry import LedgerEntry, Status
from lfp_pipeline.model.partition_key import is_purge
from lfp_pipeline.operations.report import Report
from lfp_pipeline.operations.shadow_build import (
    catch_up,
    replayable_deliveries,
    rereadings,
    shadow_engine,
)
from lfp_pipeline.raw_zone.desired_state import is_reverted, pruned_while_needed, state_of
from lfp_pipeline.raw_zone.status_notes import read_status
from lfp_pipeline.reading.options import Rereading
from lfp_pipeline.warehouse.backend import Backend
from lfp_pipeline.warehouse.database_swap import (
    WarehouseSnapshot,
    copy_history,
    read_differently,
    read_history,
    take_snapshot,
)
from lfp_pipeline.warehouse.invariants import needed_deliveries
from lfp_pipeline.warehouse.ledger import all_entries, delete_entries, statuses
from lfp_pipeline.warehouse.operation_log import record_operation
from lfp_pipeline.warehouse.schema import database_id

_SHOWN = 10

_LAND_AGAIN = "Land its file again, and it counts again."

_LOST_BESIDE = (
    "It is pruned, and may have had what was lost with another delivery when the database was made "
    f"anew. {_LAND_AGAIN}"
)

_GONE = "it is pruned, or its record is gone, and the tables need it."


def rebuild_products(
    engine: Engine,
    log: logging.Logger,
    *,
    dry_run: bool = False,
    accept_losses: bool = False,
    use_present_settings: bool = False,
) -> Report:
    """Make the database anew from the raw zone; the same tables come out.

    Killed in the middle, the old database stands; or, where it could not be read, there is none,
    and the next ingest_inbox makes it.

    Args:
        engine: whose.
        log: for progress.
        dry_run: only tell what it would do.
        accept_losses: also where deliveries that were in cannot be read any more.
        use_present_settings: read all with these settings, also what was merged with others.

    Raises:
        OperationRefusedError: the new database would lack something, or have it otherwise. The old
            one stands.
        LfpError: it could not be made. The old one stands.
    """
    if dry_run:
        return _plan(engine, log)
    started = utc_now()
    database = engine.warehouse
    known: Mapping[str, LedgerEntry] = {}
    if database.exists:  # Who has it open is told now, and not after an hour.
        with _tolerating_corruption(), database.session("rebuilding", log) as connection:
            known = all_entries(connection)

    def follow_then(known: Mapping[str, LedgerEntry]) -> Mapping[str, Rereading]:
        deliveries = replayable_deliveries(engine)
        ways = rereadings(known, deliveries, engine.settings)
        catch_up(shadow, deliveries, log, {} if use_present_settings else ways)
        return ways

    with shadow_engine(engine) as shadow:
        follow_then(known)
        with database.lock.held("rebuilding", log):
            old = _contents_of_old(engine, log)
            ways = follow_then(old.entries if old else {})  # What has come or changed meanwhile.
            with shadow.warehouse.session("rebuilding", log) as connection:
                _see_that_all_is_out(engine, connection)
                _forget_unread(engine, connection, old)
                new = take_snapshot(connection)
                lost = dict(_losses(engine, old, new))
                if lost and not accept_losses:
                    raise OperationRefusedError(_refusal(lost))
                if old is not None and not use_present_settings:
                    otherwise = _read_otherwise(connection, database, old, new, ways)
                    if changed := {one: why for one, why in otherwise if one not in lost}:
                        raise OperationRefusedError(_refusal_to_change(changed))
                pruned = _merged_once(old, new) - set(lost)
                report = _report(old, new, lost, pruned)
                if old is not None:
                    copy_history(
                        connection,
                        database,
                        unmerged=_given_up(lost, pruned, new),
                        same=not lost,
                    )
                record_operation(connection, "rebuild_products", started, report.summary)
                connection.execute("CHECKPOINT warehouse")
            if old is None:
                database.move_aside(f"broken-{stamp(started)}", log)
            database.swap_in(shadow.warehouse)
            with database.locked_session(log) as connection:
                id_ = database_id(connection)  # This caches the id again, too.
    _conclude(engine, new.entries, id_, log)
    return report


def _see_that_all_is_out(engine: Engine, connection: duckdb.DuckDBPyConnection) -> None:
    """What was reverted after the draft had taken it in may have needed what was pruned since."""
    status_of = statuses(connection)
    for one in replayable_deliveries(engine):
        if is_reverted(one.path) and status_of.get(one.delivery_id) is not Status.REVERTED:
            msg = (
                f"{one.delivery_id} was reverted meanwhile, and could not be taken out of the new "
                "database, so nothing is changed. Run rebuild_products again."
            )
            raise LfpError(msg)


def _forget_unread(
    engine: Engine, connection: duckdb.DuckDBPyConnection, old: WarehouseSnapshot | None
) -> None:
    """Forget what could not be read, and is not wanted: pruned meanwhile, or refused before."""
    refused = {
        delivery_id
        for delivery_id, account in (old.entries if old else {}).items()
        if account.status is Status.REFUSED
    }
    delete_entries(
        connection,
        [
            delivery_id
            for delivery_id, account in all_entries(connection).items()
            if account.status is Status.FAILED
            and (delivery_id in refused or not engine.raw_zone.keeps(delivery_id))
        ],
    )


@contextmanager
def _tolerating_corruption(log: logging.Logger | None = None) -> Iterator[None]:
    """Go on after the block where the present database cannot be read; that is told to the log."""
    try:
        yield
    except (WarehouseCorruptError, duckdb.Error) as error:
        if hint_for(error):  # Not the database is at fault.
            raise
        if log is not None:
            first_line, _, _ = str(error.__cause__ or error).partition("\n")
            log.warning("The present database cannot be read: %s", first_line)


def _contents_of_old(engine: Engine, log: logging.Logger) -> WarehouseSnapshot | None:
    """What the present database holds, which has no write-ahead log then; None: nobody can tell."""
    if not engine.warehouse.exists:
        return None
    with _tolerating_corruption(log), engine.warehouse.locked_session(log) as connection:
        connection.execute("CHECKPOINT warehouse")
        read_history(connection)
        return take_snapshot(connection)
    return None


def _refusal(lost: Mapping[str, str]) -> str:
    lines = [f"{delivery_id}: {why}" for delivery_id, why in lost.items()]
    return (
        f"The new database would lack {pluralize(len(lost), 'delivery')}, whole or in part, so "
        "nothing is changed. Mend what is wrong, or accept it, by the configuration\n"
        "ops: {rebuild: {config: {accept_losses: true}}}\n" + "\n".join(lines[:_SHOWN])
    )


def _refusal_to_change(changed: Mapping[str, str]) -> str:
    lines = [f"{delivery_id}: {why}" for delivery_id, why in changed.items()]
    return (
        f"The new database would have {pluralize(len(changed), 'delivery')} other than they were "
        "merged, so nothing is changed. Put back what has changed; or have all deliveries read "
        "with the settings of now, by the configuration\n"
        "ops: {rebuild: {config: {use_present_settings: true}}}\n" + "\n".join(lines[:_SHOWN])
    )


def _read_otherwise(
    connection: duckdb.DuckDBPyConnection,
    old_database: Backend,
    old: WarehouseSnapshot,
    new: WarehouseSnapshot,
    ways: Mapping[str, Rereading],
) -> Iterator[tuple[str, str]]:
    """Which deliveries are in both databases, and other in the new one; and why they may be.

    Where only the programs have changed, or nobody can tell, their results are compared.
    """
    suspects = []
    for delivery_id, way in ways.items():
        then, now = old.entries[delivery_id], new.entries.get(delivery_id)
        if now is None or not then.status is now.status is Status.MERGED:
            continue
        if then.read_with == now.read_with:
            continue
        is_unknown = then.read_conditions is None
        if (is_unknown or way.only_programs) and then.is_read_as(now):
            suspects.append(delivery_id)
        else:
            yield delivery_id, "; ".join(way.differences)
    if suspects and old.digests["products"] != new.digests["products"]:
        for delivery_id in read_differently(connection, old_database, suspects):
            yield delivery_id, "; ".join(ways[delivery_id].differences)


def _merged_once(old: WarehouseSnapshot | None, new: WarehouseSnapshot) -> set[str]:
    """What was merged, and is nothing that the new database knows."""
    accounts = old.entries if old else {}
    merged = {id_ for id_, account in accounts.items() if account.status is Status.MERGED}
    return merged - set(new.entries)


def _given_up(
    lost: Mapping[str, str], pruned: Collection[str], new: WarehouseSnapshot
) -> dict[str, str]:
    """What the new database knows from the old one only, and what is told of it, if all is lost."""
    gone = {one: f"Lost when the database was made anew: {why}" for one, why in lost.items()}
    given_up = dict.fromkeys(pruned, _LOST_BESIDE) if lost else {}
    given_up |= {one: f"{why} {_LAND_AGAIN}" for one, why in gone.items()}
    return {one: why for one, why in given_up.items() if one not in new.entries}


def _losses(
    engine: Engine, old: WarehouseSnapshot | None, new: WarehouseSnapshot
) -> Iterator[tuple[str, str]]:
    """What was in, or may have been, and is not in the new database, and why."""
    missing = {
        delivery_id
        for delivery_id, account in (old or new).entries.items()
        if account.status is (Status.MERGED if old else Status.FAILED)
    } - {
        delivery_id
        for delivery_id, account in new.entries.items()
        if account.status in {Status.MERGED, Status.REVERTED}
    }
    for delivery_id in sorted(missing):
        if (account := new.entries.get(delivery_id)) is not None:
            yield delivery_id, account.error or account.status
        elif old is not None and delivery_id in old.needed:
            yield delivery_id, _GONE
    for delivery_id, before in (old.entries if old else {}).items():
        now = new.entries.get(delivery_id)
        if now is not None and now.status is before.status is Status.MERGED:
            more = now.rows.rejected - before.rows.rejected
            if more > 0:
                rejects = pluralize(more, "more row")
                yield delivery_id, f"with the settings of now, {rejects} would be rejected."
    if old is None:
        for delivery_id in _needed_and_pruned(engine):
            yield delivery_id, "it is pruned, and the tables needed it, or may have."


def _report(
    old: WarehouseSnapshot | None,
    new: WarehouseSnapshot,
    lost: Mapping[str, str],
    pruned: Collection[str],
) -> Report:
    figures = {"deliveries": len(new.entries), "products": new.products}
    deliveries, products = (
        pluralize(len(new.entries), "delivery"),
        pluralize(new.products, "product"),
    )
    summary = f"Made anew from {deliveries}: {products}. "
    if lost:
        named = preview(sorted(lost), limit=_SHOWN)
        summary += f"Lost, whole or in part: {pluralize(len(lost), 'delivery')}: {named}. "
        summary += "Land their files again; or put the settings back, and make it anew again."
        if purges := [one for one in lost if is_purge(one)]:
            summary += f" Purge again what was deleted by {preview(purges)}."
        if pruned:
            beside = pluralize(len(pruned), "pruned delivery")
            summary += f" They may have hidden what {beside} had; land these again, too: "
            summary += f"{preview(sorted(pruned), limit=_SHOWN)}."
    elif old is None:
        summary += "There was no database before that could be read, so all deliveries were read "
        summary += "with the settings of now."
    elif old.digests == new.digests:
        summary += "Products and counts are exactly as they were."
    else:
        summary += (
            f"Before, there were {old.products:,}, not all the same: deliveries had not been taken "
            "in, or the settings were others, or somebody had changed the tables."
        )
    return Report(summary, figures)


def _conclude(
    engine: Engine, known: Mapping[str, LedgerEntry], id_: str, log: logging.Logger
) -> None:
    """Conclude what came to an end, or to another one, in the new database, which has that id."""
    unnoted = [
        IngestResult(one, known[one.delivery_id], database_id=id_)
        for one in replayable_deliveries(engine)
        if one.delivery_id in known and read_status(one.path, id_) != known[one.delivery_id].status
    ]
    conclude(unnoted, engine.settings, engine.warehouse, log)


def _plan(engine: Engine, log: logging.Logger) -> Report:
    deliveries = replayable_deliveries(engine)
    size = sum(one.size_bytes for one in deliveries)
    problems = [
        f"{one.path} is gone."
        for one in deliveries
        if not one.path.exists() and state_of(one, None).needs_bytes
    ]
    kept = {one.delivery_id for one in deliveries}
    problems += [f"{delivery_id}: {_GONE}" for delivery_id in sorted(_needed(engine, log) - kept)]
    summary = (
        f"Would read {pluralize(len(deliveries), 'delivery')} of {format_size(size)} into a new "
        f"database beside {engine.warehouse.location}, which has "
        f"{format_size(engine.warehouse.size_bytes)}; "
        f"{format_size(engine.free_bytes)} are free there. (Whether all of them are what landed, "
        "verify tells.) Then it would take its place"
    )
    summary += ", if losses are accepted." if problems else "."
    figures = {"deliveries": len(deliveries), "size_bytes": size}
    return Report(summary, figures, tuple(problems))


def _needed(engine: Engine, log: logging.Logger) -> frozenset[str]:
    """The deliveries that the present tables need, or may have needed, if nobody can read them."""
    if engine.warehouse.exists:
        purpose = "looking what a rebuild needs"
        with _tolerating_corruption(log), engine.warehouse.session(purpose, log) as connection:
            return needed_deliveries(connection)
    return frozenset(_needed_and_pruned(engine))


def _needed_and_pruned(engine: Engine) -> Iterator[str]:
    """What is pruned and was needed then, as its notes tell."""
    for pruned in engine.raw_zone.all_deliveries():
        if pruned_while_needed(pruned.path) and not is_reverted(pruned.path):
            yield pruned.delivery_id
