"""The events that show results in the UI: materialized and failed partitions, tables and checks.

All jobs report by these functions, so that every page shows the present state. `showing_tables`
works under the writer lock. The last run to change the tables is therefore also the last to show
their counts, whatever the order in which runs end.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

# Dagster 1.13 exports neither the target of a check nor the intention to materialize a partition.
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData as CheckTarget,
)
from dagster._core.events import AssetMaterializationPlannedData
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from lfp_pipeline.common.text import preview
from lfp_pipeline.dagster_support.checks import CHECKS, NAME_COUNTS, PRODUCTS, check_tables
from lfp_pipeline.dagster_support.metadata import (
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    Metadata,
    counts_metadata,
    delivery_metadata,
    failure_metadata,
    result_metadata,
)
from lfp_pipeline.dagster_support.partitions import add_partitions
from lfp_pipeline.dagster_support.resources import ProductsDatabase
from lfp_pipeline.dagster_support.results import is_ok
from lfp_pipeline.dagster_support.runs import fail_dead_runs, failed_run_of
from lfp_pipeline.dagster_support.shown_until import save_shown, shown_note, unshown
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LandingError, LfpError
from lfp_pipeline.hosts.notes import Note
from lfp_pipeline.ingest.result import IngestResult, LandingFailure
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.warehouse.file_results import deliveries_in_force
from lfp_pipeline.warehouse.invariants import product_count
from lfp_pipeline.warehouse.ledger import entry_of

Context = dg.AssetExecutionContext | dg.OpExecutionContext

_ROW_COUNT = "dagster/row_count"

_NONE: Mapping[str, str] = {}

_MOST_MISSING = 100
"""Limit of the partitions that a run shows for others: it has the writer lock meanwhile."""

_IN_LEDGER = {Status.MERGED, Status.REVERTED, Status.REFUSED}

_BLOCKING = {spec.name for spec in CHECKS if spec.blocking}


def materialization_event(
    asset: str, delivery: Delivery, metadata: Metadata
) -> dg.AssetMaterialization:
    """Return the event that shows a partition as materialized, for use outside of an asset."""
    return dg.AssetMaterialization(
        asset,
        partition=delivery.partition_key,
        metadata=metadata,
        tags={DATA_VERSION_TAG: delivery.sha256, DATA_VERSION_IS_USER_PROVIDED_TAG: "true"},
    )


def show_landed(context: Context, delivery: Delivery) -> None:
    """Show the partition of `raw_products` that a delivery belongs to as materialized."""
    context.log_event(materialization_event("raw_products", delivery, delivery_metadata(delivery)))


def show_result(context: Context, outcome: IngestResult | LandingFailure) -> None:
    """Show the partition of `products` that a result belongs to as materialized, or as failed."""
    if isinstance(outcome, IngestResult) and is_ok(outcome):
        metadata = result_metadata(outcome)
        context.log_event(materialization_event("products", outcome.delivery, metadata))
    else:
        _show_failure(context, outcome, _row_count_of(_latest(context, PRODUCTS)), context.run)


def _show_failure(
    context: Context,
    outcome: IngestResult | LandingFailure,
    products: int | None,
    run: dg.DagsterRun | None,
) -> None:
    """Show a partition as failed, with the reason as its metadata.

    Dagster shows a partition as failed if a failed run planned to materialize it, and nothing has
    materialized it since. The page of a partition has the metadata of its latest materialization.
    So the reason is logged first, as a materialization that belongs to no run, and then the plan.

    Args:
        products: number of rows in `products`, if known.
        run: a run that fails, or has failed; None: there is none, so only the reason shows.
    """
    key = outcome.partition_key
    metadata = failure_metadata(outcome, products)
    reason = dg.AssetMaterialization("products", partition=key, metadata=metadata)
    context.instance.report_runless_asset_event(reason)
    if run is None:
        return
    for asset in ("products", "raw_products"):
        if asset == "products" or isinstance(outcome, LandingFailure):
            plan = AssetMaterializationPlannedData(dg.AssetKey(asset), key, None)
            event = dg.DagsterEvent.build_asset_materialization_planned_event(
                run.job_name, asset, plan
            )
            context.instance.report_dagster_event(event, run.run_id)


def show_tables(
    context: Context,
    engine: Engine,
    database: ProductsDatabase,
    partition_keys: Collection[str] | None = None,
    shown: Mapping[str, str] | None = _NONE,
) -> None:
    """Show what has changed, the tables as they are now, and all checks: see `showing_tables`."""
    with showing_tables(context, engine, database, partition_keys, shown) as counts:
        context.log_event(dg.AssetMaterialization(NAME_COUNTS, metadata=counts))


@contextmanager
def showing_tables(
    context: Context,
    engine: Engine,
    database: ProductsDatabase,
    partition_keys: Collection[str] | None = None,
    shown: Mapping[str, str] | None = _NONE,
) -> Iterator[Metadata]:
    """Show what has changed, let the block materialize `name_counts`, and show all checks.

    The block gets the metadata of `name_counts`. Wrong counts are repaired before.

    Args:
        partition_keys: the partitions that may have changed; None: any.
        shown: the id of the delivery that the page of a partition shows, by partition. If another
            one is in force, the page is corrected. None: the whole table has changed.

    Raises:
        dagster.Failure: a blocking check fails.
        LfpError: the database cannot be opened.
    """
    index = engine.raw_zone.index
    note = shown_note(engine.settings, Path(context.instance.root_directory))
    checked = None if partition_keys is None or _has_failed(context) else sorted(partition_keys)
    with database.get_connection() as connection, index.snapshot():
        checks = check_tables(connection, engine, context.log, checked)
        products = product_count(connection)
        keys = {*(partition_keys or ()), *(shown or ())}
        for key, delivery_id in deliveries_in_force(connection, shown or ()).items():
            if shown and shown[key] != delivery_id:
                _show_delivery(context, engine, connection, delivery_id, products)
        keys |= _show_missing(context, engine, note, connection, keys, products)
        if shown is None:
            _show_row_count(context, products)
        yield counts_metadata(connection)
        _show_checks(context, products, checks)
        save_shown(note, index, keys)
    if broken := sorted(_failed(checks) & _BLOCKING):
        msg = f"These checks of products fail: {', '.join(broken)}."
        raise dg.Failure(msg, allow_retries=False)


def _show_missing(
    context: Context,
    engine: Engine,
    note: Note,
    connection: duckdb.DuckDBPyConnection,
    keys: Collection[str],
    products: int,
) -> set[str]:
    """Show partitions that a killed run or another instance has changed; return their keys.

    Args:
        note: what the instance shows.
        keys: the partitions that this run has shown.
    """
    notes = unshown(note, engine.raw_zone.index, engine.liveness, context.run.run_id, keys)
    missing = list(dict.fromkeys(status.key for status in notes))[:_MOST_MISSING]
    if not missing:
        return set()
    context.log.info("Showing what earlier runs or other instances did: %s", preview(missing))
    fail_dead_runs(engine, context.instance, context.log)
    add_partitions(context.instance, missing)
    for delivery_id in deliveries_in_force(connection, missing).values():
        with suppress(LandingError):  # Its record cannot be read, or is gone.
            show_landed(context, engine.raw_zone.find(delivery_id))
        _show_delivery(context, engine, connection, delivery_id, products)
    return set(missing)


def _show_delivery(
    context: Context,
    engine: Engine,
    connection: duckdb.DuckDBPyConnection,
    delivery_id: str,
    products: int,
) -> None:
    """Show the page of a partition with one of its deliveries, by the ledger."""
    with suppress(LandingError):  # Its record cannot be read, or is gone.
        delivery = engine.raw_zone.find(delivery_id)
        if entry := entry_of(connection, delivery):
            result = IngestResult(delivery, entry)
            if is_ok(result):
                metadata = result_metadata(result, products)
                context.log_event(materialization_event("products", delivery, metadata))
            else:
                at = engine.raw_zone.notes.last_noted_at(delivery.raw_name)
                run = failed_run_of(context.instance, delivery.partition_key, at) if at else None
                _show_failure(context, result, products, run)


def _show_checks(context: Context, products: int, checks: Sequence[dg.AssetCheckResult]) -> None:
    """Log the results of all checks, each with the materialization that it is about.

    If the latest materialization of `products` has another row count or none, because the tables
    have changed since, the present one is logged first.
    """
    latest = {asset: _latest(context, asset) for asset in (PRODUCTS, NAME_COUNTS)}
    shown = latest[PRODUCTS]
    if shown is not None and _row_count_of(shown) != products:
        _show_row_count(context, products)
        latest[PRODUCTS] = _latest(context, PRODUCTS)
    for check in checks:
        context.log_event(_evaluation(check, latest))


def shown_on_pages(context: Context, keys: Collection[str]) -> dict[str, str]:
    """Return the ids of the deliveries that the pages of partitions show, by partition.

    Pages of files that failed are left out: the ledger need not have their deliveries.
    """
    found = {}
    for key in keys:
        record = _latest(context, PRODUCTS, key)
        materialization = record and record.asset_materialization
        values = materialization.metadata if materialization else {}
        status, id_ = (getattr(values.get(name), "value", "") for name in ("status", "delivery_id"))
        if status in _IN_LEDGER:
            found[key] = str(id_)
    return found


def show_tables_if_possible(
    context: Context, engine: Engine, database: ProductsDatabase, keys: Collection[str]
) -> None:
    """Show the tables in a run that fails anyway, if no other process has the database open.

    Another run that has it open shows the tables itself.
    """
    if not engine.warehouse.exists:
        return
    at_once = ProductsDatabase(
        database=database.database,
        connection_config=database.connection_config,
        writer_wait_seconds=0,
        other_process_wait_seconds=0,
    )
    with suppress(LfpError, duckdb.Error, OSError, dg.Failure):
        show_tables(context, engine, at_once, keys, shown_on_pages(context, keys))


def _failed(checks: Sequence[dg.AssetCheckResult]) -> set[str]:
    return {str(check.check_name) for check in checks if not check.passed}


def _has_failed(context: Context) -> bool:
    """Return whether a blocking check failed last: then all rows are checked, until it passes."""
    keys = [spec.key for spec in CHECKS if spec.blocking]
    latest = context.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    failed = AssetCheckExecutionRecordStatus.FAILED
    return any(record.status is failed for record in latest.values())


def _show_row_count(context: Context, products: int) -> None:
    """Materialize the table `products` as a whole, with its number of rows."""
    context.log_event(dg.AssetMaterialization(PRODUCTS, metadata={_ROW_COUNT: products}))


def _evaluation(check: dg.AssetCheckResult, latest: Any) -> Any:  # noqa: ANN401
    """Return the event of a check; the type hints of `log_event` lack it, Dagster accepts it."""
    assert check.asset_key is not None  # noqa: S101 (`check_tables` sets both)
    assert check.check_name is not None  # noqa: S101
    target = latest[check.asset_key]
    return dg.AssetCheckEvaluation(
        asset_key=check.asset_key,
        check_name=check.check_name,
        passed=check.passed,
        severity=check.severity,
        metadata=check.metadata,
        blocking=check.check_name in _BLOCKING,
        target_materialization_data=target
        and CheckTarget(
            storage_id=target.storage_id, run_id=target.run_id, timestamp=target.timestamp
        ),
    )


def _latest(
    context: Context, asset: dg.AssetKey, partition: str | None = None
) -> dg.EventLogRecord | None:
    which = dg.AssetRecordsFilter(asset, asset_partitions=[partition] if partition else None)
    records = context.instance.fetch_materializations(which, limit=1).records
    return records[0] if records else None


def _row_count_of(record: dg.EventLogRecord | None) -> int | None:
    materialization = record and record.asset_materialization
    found = materialization and materialization.metadata.get(_ROW_COUNT)
    return found.value if isinstance(found, dg.IntMetadataValue) else None
