"""Deliveries on their way from the raw zone into the tables: read, merged or refused, told."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import duckdb

from lfp_pipeline.errors import DeliveryRefusedError, LfpError, WarehouseBusyError
from lfp_pipeline.landing.delivery import Delivery
from lfp_pipeline.landing.outcomes import note_outcome
from lfp_pipeline.progress import heartbeat
from lfp_pipeline.reading.arrivals import arrive_alone, arrive_with_others
from lfp_pipeline.reading.plain_text import PlainText, plain_text
from lfp_pipeline.reading.reader import Reading, forget_reading, read_delivery
from lfp_pipeline.reading.workspace import Workspace, WorkspaceLimits, open_workspace
from lfp_pipeline.settings import Settings, divided_size, size_in_bytes
from lfp_pipeline.warehouse import direct_load
from lfp_pipeline.warehouse.account import Account, Status
from lfp_pipeline.warehouse.duckdb_file import Warehouse
from lfp_pipeline.warehouse.laws import product_count
from lfp_pipeline.warehouse.merge import Arrived, merge, note_unmerged


@dataclass(frozen=True)
class Ingested:
    """What became of a delivery, for people.

    Attributes:
        account: its account in the ledger.
        reading: what was read of it; None: it could not be read, or needed not.
        products: rows in `products` afterwards.
        seconds: from the landed file to the commit, waiting for the lock and the others of its
            batch included.
        batch: how many deliveries were merged together with it, itself included.
        busy: whether it failed only because the database was in other hands.
    """

    delivery: Delivery
    account: Account
    reading: Reading | None = None
    products: int = 0
    seconds: float = 0.0
    batch: int = 1
    busy: bool = False


@dataclass(frozen=True)
class NotLanded:
    """A source that could not be brought into the raw zone."""

    partition_key: str
    error: str


def ingest(
    deliveries: Sequence[Delivery],
    settings: Settings,
    warehouse: Warehouse,
    log: logging.Logger,
    *,
    share: int = 1,
) -> list[Ingested]:
    """Read deliveries and merge them together; whatever goes wrong with one ends in its account.

    Where something goes wrong that is not a delivery's own fault, they are merged one by one.

    Args:
        deliveries: in the raw zone, at least one.
        settings: limits, rules, waiting times.
        warehouse: to merge into.
        log: for progress and tracebacks.
        share: with how many others they share this run's threads and memory.
    """
    once = {one.delivery_id: one for one in deliveries}.values()
    batch = sorted(once, key=lambda one: (one.delivered_at, one.delivery_id))
    try:
        ingested = _read_and_merge(batch, settings, warehouse, log, share)
    except WarehouseBusyError as error:  # There is no writing that into the ledger.
        ingested = [
            Ingested(one, Account(one.delivery_id, Status.FAILED, error=str(error)), busy=True)
            for one in batch
        ]
    except Exception as error:
        if len(batch) > 1:
            log.warning("Merged one by one, because together they failed: %s", error)
            return [
                found
                for one in batch
                for found in ingest([one], settings, warehouse, log, share=share)
            ]
        log.exception("%s failed", batch[0].delivery_id)
        ingested = [Ingested(batch[0], _note_failure(batch[0], error, warehouse, log))]
    _note_outcomes(ingested, warehouse.published_id(), log)
    return ingested


def _read_and_merge(
    batch: Sequence[Delivery],
    settings: Settings,
    warehouse: Warehouse,
    log: logging.Logger,
    share: int,
) -> list[Ingested]:
    started = time.perf_counter()
    limits = WorkspaceLimits(
        threads=max(1, settings.threads // share),
        memory_limit=divided_size(settings.memory_limit, share),
    )
    folders = [settings.data_dir, settings.raw_dir, settings.database_path.resolve().parent]
    with open_workspace(folders, settings.work_dir, limits) as workspace:
        text = _large_text(batch, workspace, settings, warehouse)
        done = _load_directly(batch[0], text, workspace, settings, warehouse, log) if text else None
        if done is None:
            arrived = [
                _arrive(number, batch, text, workspace, settings, log)
                for number in range(len(batch))
            ]
            with _attached(warehouse, workspace, batch, log):
                done = _merge(arrived, workspace, loaded=False)
    seconds = time.perf_counter() - started
    return [replace(ingested, seconds=seconds) for ingested in done]


def _large_text(
    batch: Sequence[Delivery], workspace: Workspace, settings: Settings, warehouse: Warehouse
) -> PlainText | None:
    """The text of a delivery that is to be loaded directly, if that is how things are."""
    delivery, *others = batch
    if others or delivery.size_bytes < direct_load.LEAST_BYTES:
        return None
    try:
        text = plain_text(delivery.path, workspace.folder, settings.max_unpacked_bytes)
    except DeliveryRefusedError:  # So it is when its turn comes.
        return None
    size, memory = text.path.stat().st_size, size_in_bytes(settings.memory_limit)
    return text if direct_load.is_worth_it(size, warehouse.size_bytes, memory) else None


def _load_directly(
    delivery: Delivery,
    text: PlainText,
    workspace: Workspace,
    settings: Settings,
    warehouse: Warehouse,
    log: logging.Logger,
) -> list[Ingested] | None:
    """Load a file directly and merge it; None: it is to be read with more care, or meanwhile."""
    connection = workspace.connection
    # Somebody else is at it? Then a file that fits into memory is better read meanwhile than after.
    small = text.path.stat().st_size < size_in_bytes(settings.memory_limit) // 4
    if small:
        warehouse = replace(warehouse, writer_wait_seconds=0)
    try:
        with _attached(warehouse, workspace, [delivery], log):
            if small and product_count(connection):
                return None
            reading = direct_load.load_directly(connection, delivery, text, settings, log)
            if reading is None:
                return None
            arrive_alone(connection, taken=True)
            return _merge([Arrived(delivery, reading)], workspace, loaded=True)
    except DeliveryRefusedError:  # So it is when its turn comes.
        return None
    except WarehouseBusyError:
        if small:
            return None
        raise


def _arrive(
    number: int,
    batch: Sequence[Delivery],
    text: PlainText | None,
    workspace: Workspace,
    settings: Settings,
    log: logging.Logger,
) -> Arrived:
    """Read one delivery of a batch, and add it to the arrivals."""
    delivery, connection = batch[number], workspace.connection
    reading, refusal = None, None
    with workspace.folder_for(number) as folder:
        try:
            text = text or plain_text(delivery.path, folder, settings.max_unpacked_bytes)
            reading = read_delivery(delivery, text, connection, folder, settings, log)
            refusal = _too_many_rejects(reading, settings.max_reject_share)
        except DeliveryRefusedError as error:
            forget_reading(connection)
            refusal = str(error)
    if len(batch) == 1:
        arrive_alone(connection, taken=refusal is None)
    else:
        arrive_with_others(connection, number, taken=refusal is None)
    return Arrived(delivery, reading, refusal)


@contextmanager
def _attached(
    warehouse: Warehouse, workspace: Workspace, batch: Sequence[Delivery], log: logging.Logger
) -> Iterator[None]:
    """Attach the warehouse to merge a batch, telling others and the log so."""
    more = f" and {len(batch) - 1} more" if len(batch) > 1 else ""
    purpose = f"merging {batch[0].delivery_id}{more}"
    telling = heartbeat(log, lambda seconds: f"{purpose}: {seconds:.0f} s so far")
    with warehouse.attached(workspace.connection, purpose, log), telling:
        yield


def _merge(arrived: Sequence[Arrived], workspace: Workspace, *, loaded: bool) -> list[Ingested]:
    accounts = merge(workspace.connection, arrived, loaded=loaded)
    products = product_count(workspace.connection)
    return [
        Ingested(one.delivery, account, one.reading, products, batch=len(arrived))
        for one, account in zip(arrived, accounts, strict=True)
    ]


def _too_many_rejects(reading: Reading, limit: float) -> str | None:
    if reading.reject_share <= limit:
        return None
    return (
        f"{reading.rows_rejected:,} of {reading.rows_read:,} rows are rejected "
        f"({reading.reject_share:.1%}); more than {limit:.1%} refuses the whole file (setting "
        "LFP_MAX_REJECT_SHARE). The rejects and their reasons are in rejected_rows."
    )


def _note_failure(
    delivery: Delivery, error: Exception, warehouse: Warehouse, log: logging.Logger
) -> Account:
    """Write into the ledger why a delivery was not merged, if the ledger can be had."""
    text = str(error) if isinstance(error, LfpError) else f"{type(error).__name__}: {error}"
    try:
        with warehouse.opened("noting a failure", log) as connection:
            return note_unmerged(connection, delivery, Status.FAILED, text)
    except (LfpError, duckdb.Error, OSError) as ledger_error:
        log.warning("The failure could not be noted in the ledger: %s", ledger_error)
        return Account(delivery.delivery_id, Status.FAILED, error=text)


def _note_outcomes(
    ingested: Sequence[Ingested], database_id: str | None, log: logging.Logger
) -> None:
    """Note the outcomes for those who may not open the warehouse."""
    for one in ingested:
        if one.account.status is not Status.FAILED and database_id is not None:
            try:
                note_outcome(one.delivery.path, one.account.status, database_id)
            except OSError as error:  # The ledger knows. The delivery is offered once more.
                log.warning("The outcome of %s could not be noted: %s", one.delivery.path, error)
