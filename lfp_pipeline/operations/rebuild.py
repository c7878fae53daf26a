"""Rebuilds the database from the raw zone, beside the old one (job `rebuild_products`).

Each merged delivery is read with the settings that it was merged with. If the program has changed,
the ledger entries and the products must be the same as before.

Other processes go on meanwhile. The shadow database catches up with their deliveries under the
writer lock; then a rename puts it in the place of the old database. It keeps the old id, so that
status notes in the raw zone remain valid.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import duckdb

from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.common.text import format_size, pluralize
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LfpError, WarehouseCorruptError
from lfp_pipeline.ingest.ingest import conclude
from lfp_pipeline.ingest.result import IngestResult
from lfp_pipeline.model.delivery import Delivery, label_of, stamp
from lfp_pipeline.model.ledger_entry import LedgerEntry, Status
from lfp_pipeline.operations import Report
from lfp_pipeline.operations.losses import GONE, Comparison, losses, pruned_and_needed
from lfp_pipeline.operations.shadow_build import (
    catch_up,
    replayable_deliveries,
    rereadings,
    shadow_engine,
)
from lfp_pipeline.reading.options import Rereading
from lfp_pipeline.warehouse.backend import Backend
from lfp_pipeline.warehouse.database_swap import (
    WarehouseSnapshot,
    copy_history,
    read_history,
    take_snapshot,
)
from lfp_pipeline.warehouse.invariants import needed_deliveries
from lfp_pipeline.warehouse.ledger import all_entries, delete_entries, record_operation, statuses
from lfp_pipeline.warehouse.schema import database_id


@dataclass(frozen=True)
class _Plan:
    """The deliveries to read, oldest first, and the ids of those that the present tables need."""

    deliveries: Sequence[Delivery]
    needed: frozenset[str]

    def report(self, engine: Engine) -> Report:
        """Return the report of a dry run."""
        size = sum(delivery.size_bytes for delivery in self.deliveries)
        zone = engine.raw_zone.as_of_now()
        read = {
            delivery.raw_name: delivery
            for delivery in self.deliveries
            if zone.desired.state_of(delivery, None).needs_bytes
        }
        problems = [f"{zone.store.describe(name)} is gone." for name in zone.store.missing(read)]
        missing = self.needed - {delivery.delivery_id for delivery in self.deliveries}
        problems += [f"{label_of(delivery_id)}: {GONE}" for delivery_id in sorted(missing)]
        number = len(self.deliveries)
        room = "" if engine.settings.catalog else f"; {format_size(engine.free_bytes)} are free"
        summary = (
            f"Would read {pluralize(number, 'delivery')} of {format_size(size)} into a new "
            f"database beside {engine.warehouse.location} "
            f"({format_size(engine.warehouse.size_bytes)}{room}), and replace the old database. "
            "Run `lfp verify` first to check the raw files."
        )
        summary += " Needs --allow-data-loss." if problems else ""
        return Report(summary, {"deliveries": number, "size_bytes": size}, tuple(problems))


def rebuild_products(
    engine: Engine,
    log: logging.Logger,
    *,
    dry_run: bool = False,
    allow_data_loss: bool = False,
    use_present_settings: bool = False,
    like: Backend | None = None,
) -> Report:
    """Rebuild the database from the raw zone; the tables are the same afterwards.

    If the process is killed, the old database remains. If the old database could not be read,
    there may be none, and the next `lfp ingest` makes it.

    Args:
        allow_data_loss: rebuild even if merged deliveries cannot be read any more.
        use_present_settings: read all deliveries with the present settings, whatever they were
            merged with.
        like: another database, of a copy of the raw zone. Its history and its settings count, and
            the tables must be like its own.

    Raises:
        OperationRefusedError: the new database would lack something, or have it otherwise. The old
            database remains.
        LfpError: the new database could not be made. The old database remains.
    """
    if dry_run:
        return _plan(engine, log).report(engine)
    return _apply(
        engine,
        like or engine.warehouse,
        log,
        allow_data_loss=allow_data_loss,
        use_present_settings=use_present_settings,
    )


def _plan(engine: Engine, log: logging.Logger) -> _Plan:
    needed = None
    if engine.warehouse.exists:
        session = engine.warehouse.session("planning a rebuild", log)
        with _tolerating_corruption(engine.warehouse, log), session as connection:
            needed = needed_deliveries(connection)
    if needed is None:  # These may be needed.
        needed = frozenset(pruned_and_needed(engine))
    return _Plan(replayable_deliveries(engine), needed)


def _apply(
    engine: Engine,
    former: Backend,
    log: logging.Logger,
    *,
    allow_data_loss: bool,
    use_present_settings: bool,
) -> Report:
    started = utc_now()
    database = engine.warehouse
    entries: Mapping[str, LedgerEntry] = {}
    if former.exists:  # If it is busy, fail now, and not after an hour of reading.
        session = former.session("rebuilding", log)
        with _tolerating_corruption(former, log), session as connection:
            entries = all_entries(connection)

    def follow(entries: Mapping[str, LedgerEntry]) -> Mapping[str, Rereading]:
        deliveries = replayable_deliveries(engine)
        recorded = rereadings(entries, deliveries, engine.settings)
        catch_up(shadow, deliveries, log, {} if use_present_settings else recorded)
        return recorded

    with shadow_engine(engine) as shadow:
        follow(entries)
        with database.lock.held("rebuilding", log):
            old = _read_old(database, former, log)
            recorded = follow(old.entries if old else {})  # Deliveries that came meanwhile.
            with shadow.warehouse.session("rebuilding", log) as connection:
                _require_all_reverted(engine, connection)
                _delete_unread_entries(engine, connection, old)
                new = take_snapshot(connection)
                comparison = Comparison(old, new, dict(losses(engine, old, new)))
                if not allow_data_loss:
                    comparison.require_no_loss()
                if not use_present_settings:
                    comparison.require_same_reading(connection, former, recorded)
                report = comparison.report
                if old is not None:
                    same = not comparison.lost
                    copy_history(connection, former, unmerged=comparison.unmerged, same=same)
                record_operation(connection, "rebuild_products", started, report.summary)
                shadow.warehouse.flush(connection)
            if old is None:
                database.move_aside(f"broken-{stamp(started)}", log)
            database.swap_in(shadow.warehouse)
            with database.locked_session(log) as connection:  # This caches the id, too.
                id_ = database_id(connection)
    _conclude(engine, new.entries, id_, log)
    return replace(report, changed=None)


def _read_old(database: Backend, former: Backend, log: logging.Logger) -> WarehouseSnapshot | None:
    """Return the contents of the former database, or None if there is none that can be read.

    The write-ahead log of the database to be replaced is empty afterwards.
    """
    if database.exists:
        session = database.locked_session(log)
        with _tolerating_corruption(database, log), session as connection:
            database.flush(connection)
            if former is database:
                read_history(connection)
                return take_snapshot(connection)
    if former is database:
        return None
    with former.session("comparing", log) as connection:
        read_history(connection)
        return take_snapshot(connection)


def _require_all_reverted(engine: Engine, connection: duckdb.DuckDBPyConnection) -> None:
    """Raise if the shadow database could not revert a delivery: its replacements may be pruned."""
    status_of = statuses(connection)
    state_of = engine.raw_zone.as_of_now().desired.state_of
    for delivery in replayable_deliveries(engine):
        if state_of(delivery, status_of.get(delivery.delivery_id)).awaits_reversal:
            msg = (
                f"{delivery.label} was reverted meanwhile, and the new database could not "
                "revert it. Nothing was changed. Run `lfp rebuild` again."
            )
            raise LfpError(msg)


def _delete_unread_entries(
    engine: Engine, connection: duckdb.DuckDBPyConnection, old: WarehouseSnapshot | None
) -> None:
    """Delete the entries of failed deliveries that were refused before, or pruned meanwhile."""
    old_entries = old.entries if old else {}
    refused = {id_ for id_, entry in old_entries.items() if entry.status is Status.REFUSED}
    unread = [
        delivery_id
        for delivery_id, entry in all_entries(connection).items()
        if entry.status is Status.FAILED
        and (delivery_id in refused or not engine.raw_zone.keeps(delivery_id))
    ]
    delete_entries(connection, unread)


@contextmanager
def _tolerating_corruption(database: Backend, log: logging.Logger) -> Iterator[None]:
    """Leave the block if the present database is damaged, and log the reason."""
    try:
        yield
    except (WarehouseCorruptError, duckdb.Error) as error:
        if isinstance(error, duckdb.Error) and not database.means_damage(error):
            raise
        first_line, _, _ = str(error.__cause__ or error).partition("\n")
        log.warning("The present database cannot be read: %s", first_line)


def _conclude(
    engine: Engine, entries: Mapping[str, LedgerEntry], id_: str, log: logging.Logger
) -> None:
    """Conclude the deliveries whose status notes differ from the entries of the new database."""
    notes = engine.raw_zone.as_of_now().notes
    unnoted = [
        IngestResult(delivery, entries[delivery.delivery_id], database_id=id_)
        for delivery in replayable_deliveries(engine)
        if delivery.delivery_id in entries
        and notes.status_in(delivery.raw_name, id_) != entries[delivery.delivery_id].status
    ]
    conclude(unnoted, engine.raw_zone, engine.settings, engine.warehouse, log)
