"""One delivery on its way from the raw zone into the tables: read, merged or refused, told."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from lfp_pipeline.errors import DeliveryRefusedError, LfpError, WarehouseBusyError
from lfp_pipeline.landing.delivery import Delivery
from lfp_pipeline.landing.outcomes import note_outcome
from lfp_pipeline.progress import heartbeat
from lfp_pipeline.reading.reader import Reading, read_delivery
from lfp_pipeline.reading.workspace import WorkspaceLimits
from lfp_pipeline.settings import Settings, divided_size
from lfp_pipeline.warehouse.account import Account, Status
from lfp_pipeline.warehouse.duckdb_file import Warehouse
from lfp_pipeline.warehouse.laws import product_count
from lfp_pipeline.warehouse.merge import merge, note_unmerged

_SAMPLE_PRODUCTS = """
SELECT sku, name, description FROM winners WHERE row_number <= 1000 ORDER BY row_number LIMIT 5
"""

_SAMPLE_REJECTS = """
SELECT row_number, byte_start, byte_end, reason, detail, raw
FROM rejects ORDER BY row_number LIMIT 5
"""


@dataclass(frozen=True)
class Ingested:
    """What became of a delivery, for people.

    Attributes:
        products: rows in `products` afterwards.
        seconds: from the landed file to the commit, waiting for the lock included.
        seconds_reading: of these, reading.
        busy: whether it failed only because the database was in other hands.
        mended: whether the file could not be read as it is, and had to be mended first.
        ignored_columns: names in the header that are not taken in.
        sample_products: some of its rows: sku, name, description.
        sample_rejects: some rejects: row number, start and end byte, reason, detail, bytes.
    """

    delivery: Delivery
    account: Account
    products: int = 0
    seconds: float = 0.0
    seconds_reading: float = 0.0
    mended: bool = False
    busy: bool = False
    ignored_columns: Sequence[str] = ()
    sample_products: Sequence[tuple[str, str, str]] = ()
    sample_rejects: Sequence[tuple[int, int, int, str, str, bytes]] = ()


@dataclass(frozen=True)
class NotLanded:
    """A source that could not be brought into the raw zone."""

    partition_key: str
    error: str


def ingest(
    delivery: Delivery,
    settings: Settings,
    warehouse: Warehouse,
    log: logging.Logger,
    *,
    share: int = 1,
) -> Ingested:
    """Read and merge a delivery; whatever goes wrong with it ends in its account.

    Args:
        delivery: in the raw zone.
        settings: limits, rules, waiting times.
        warehouse: to merge into.
        log: for progress and tracebacks.
        share: with how many others it shares this run's threads and memory.
    """
    try:
        ingested = _read_and_merge(delivery, settings, warehouse, log, share)
    except DeliveryRefusedError as error:
        account = _note(delivery, Status.REFUSED, error, warehouse, log)
        ingested = Ingested(delivery, account)
    except WarehouseBusyError as error:  # There is no writing that into the ledger.
        account = Account(delivery.delivery_id, Status.FAILED, error=str(error))
        ingested = Ingested(delivery, account, busy=True)
    except Exception as error:
        log.exception("%s failed", delivery.delivery_id)
        ingested = Ingested(delivery, _note(delivery, Status.FAILED, error, warehouse, log))
    database_id = warehouse.published_id()
    if ingested.account.status is not Status.FAILED and database_id is not None:
        try:
            note_outcome(delivery.path, ingested.account.status, database_id)
        except OSError as error:  # The ledger knows. The delivery is offered once more.
            log.warning("The outcome of %s could not be noted: %s", delivery.path, error)
    return ingested


def _read_and_merge(
    delivery: Delivery, settings: Settings, warehouse: Warehouse, log: logging.Logger, share: int
) -> Ingested:
    started = time.perf_counter()
    limits = WorkspaceLimits(
        threads=max(1, settings.threads // share),
        memory_limit=divided_size(settings.memory_limit, share),
    )
    with read_delivery(delivery, settings, limits, log) as reading:
        purpose = f"merging {delivery.delivery_id}"
        telling = heartbeat(
            log,
            lambda seconds: f"{purpose}: {reading.rows_read:,} rows, {seconds:.0f} s so far",
        )
        with warehouse.attached(reading.connection, purpose, log), telling:
            account = _merge_or_refuse(reading, delivery, settings.max_reject_share)
            return Ingested(
                delivery=delivery,
                account=account,
                products=product_count(reading.connection),
                seconds=time.perf_counter() - started,
                seconds_reading=reading.seconds,
                mended=reading.mended,
                ignored_columns=reading.ignored_columns,
                sample_products=reading.connection.execute(_SAMPLE_PRODUCTS).fetchall(),
                sample_rejects=reading.connection.execute(_SAMPLE_REJECTS).fetchall(),
            )


def _merge_or_refuse(reading: Reading, delivery: Delivery, limit: float) -> Account:
    if reading.reject_share <= limit:
        return merge(reading, delivery)
    error = (
        f"{reading.rows_rejected:,} of {reading.rows_read:,} rows are rejected "
        f"({reading.reject_share:.1%}); more than {limit:.1%} refuses the whole file (setting "
        "LFP_MAX_REJECT_SHARE). The rejects and their reasons are in rejected_rows."
    )
    return note_unmerged(reading.connection, delivery, Status.REFUSED, error, with_rejects=True)


def _note(
    delivery: Delivery,
    status: Status,
    error: Exception,
    warehouse: Warehouse,
    log: logging.Logger,
) -> Account:
    """Write into the ledger why a delivery was not merged, if the ledger can be had."""
    text = str(error) if isinstance(error, LfpError) else f"{type(error).__name__}: {error}"
    try:
        with warehouse.opened("noting a failure", log) as connection:
            return note_unmerged(connection, delivery, status, text)
    except (LfpError, duckdb.Error, OSError) as ledger_error:
        log.warning("The failure could not be noted in the ledger: %s", ledger_error)
        return Account(delivery.delivery_id, status, error=text)
