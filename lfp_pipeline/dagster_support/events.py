"""The events that show results in the UI: materialized and failed partitions, tables and checks.

All jobs report by these functions, so that every page shows the present state. `show_tables` and
`show_checks` run under the writer lock. The last run to change the tables is therefore also the
last to show their counts, whatever the order in which runs end.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

# Dagster 1.13 exports neither the target of a check nor the intention to materialize a partition.
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData as CheckTarget,
)
from dagster._core.events import AssetMaterializationPlannedData

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
from lfp_pipeline.dagster_support.shown_until import save_shown_until, unshown
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LandingError, LfpError
from lfp_pipeline.ingest.result import IngestResult, LandingFailure
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import LedgerEntry, Status
from lfp_pipeline.warehouse.file_results import delivery_in_force
from lfp_pipeline.warehouse.invariants import product_count
from lfp_pipeline.warehouse.ledger import entry_of

Context = dg.AssetExecutionContext | dg.OpExecutionContext

_ROW_COUNT = "dagster/row_count"

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
        context.log_event(
            materialization_event("products", outcome.delivery, result_metadata(outcome))
        )
    else:
        _show_failure(context, outcome)


def _show_failure(context: Context, outcome: IngestResult | LandingFailure) -> None:
    """Show a partition as failed, with the reason as its metadata.

    Dagster shows a partition as failed if a failed run intended to materialize the partition, and
    nothing has since. The page of a partition shows the metadata of its latest materialization
    only, so the reason is one, before the intention. It belongs to no run: otherwise the page would
    not say that the run has failed.
    """
    key = outcome.partition_key
    products = outcome.products if isinstance(outcome, IngestResult) else 0
    metadata = failure_metadata(outcome, products or _last_row_count(context))
    reason = dg.AssetMaterialization("products", partition=key, metadata=metadata)
    context.instance.report_runless_asset_event(reason)
    assets = ["products"]
    if isinstance(outcome, LandingFailure):
        assets.append("raw_products")
    for asset in assets:
        intention = AssetMaterializationPlannedData(dg.AssetKey(asset), key, None)
        event = dg.DagsterEvent.build_asset_materialization_planned_event(
            context.job_name, asset, intention
        )
        context.instance.report_dagster_event(event, context.run.run_id)


@dataclass(frozen=True)
class TableState:
    """The tables at one time.

    Attributes:
        products: number of rows in `products`.
        noted_ns: the time of the youngest status note.
        counts: the metadata of `name_counts`.
        checks: the results of all checks.
    """

    products: int
    noted_ns: int
    counts: Metadata
    checks: Sequence[dg.AssetCheckResult]

    @classmethod
    def read(
        cls,
        connection: duckdb.DuckDBPyConnection,
        context: Context,
        engine: Engine,
        partition_keys: Collection[str] | None = None,
    ) -> "TableState":
        """Read the tables, after repairing wrong counts.

        Args:
            partition_keys: the partitions that may have changed; None: any.
        """
        keys = None if partition_keys is None else sorted(partition_keys)
        noted_ns = engine.raw_zone.index.last_noted_ns()
        checks = check_tables(connection, engine, context.log, keys)
        return cls(product_count(connection), noted_ns, counts_metadata(connection), checks)


def show_tables(
    context: Context,
    engine: Engine,
    database: ProductsDatabase,
    partition_keys: Collection[str] | None = None,
    changed: Sequence[Delivery] | None = (),
) -> None:
    """Show the tables as they are now, with the results of all checks.

    Args:
        partition_keys: the partitions that may have changed; None: any.
        changed: deliveries whose partitions are to show their present state; None: the whole table
            has changed.

    Raises:
        dagster.Failure: a blocking check fails.
        LfpError: the database cannot be opened.
    """
    with database.get_connection() as connection, engine.raw_zone.index.snapshot():
        state = TableState.read(connection, context, engine, partition_keys)
        if changed is None:
            _show_row_count(context, state.products)
        else:
            for delivery in changed:
                _show_present_state(context, engine, connection, delivery, state.products)
            show_missing(context, engine, connection, state, partition_keys or ())
        context.log_event(dg.AssetMaterialization(NAME_COUNTS, metadata=state.counts))
        show_checks(context, state)


def show_missing(
    context: Context,
    engine: Engine,
    connection: duckdb.DuckDBPyConnection,
    state: TableState,
    partition_keys: Collection[str],
) -> None:
    """Show the partitions that another run has changed without showing it, as if it were killed.

    Args:
        partition_keys: the partitions that this run has shown.
    """
    home = Path(context.instance.root_directory)
    latest = {id_.partition("#")[0]: id_ for id_, _ in unshown(home, engine.raw_zone.index)}
    for key in latest.keys() - set(partition_keys):
        with suppress(LandingError):  # Its record cannot be read, or is gone.
            delivery = engine.raw_zone.find(latest[key])
            entry = entry_of(connection, delivery)
            if entry is None or _is_shown(context, engine, connection, delivery, entry.status):
                continue
            context.log.warning("An earlier run ended before it could show %s here", delivery.label)
            add_partitions(context.instance, [key])
            show_landed(context, delivery)
            if entry.status is Status.REFUSED:
                _show_failure(context, IngestResult(delivery, entry, products=state.products))
            else:
                _show_present_state(context, engine, connection, delivery, state.products)


def _is_shown(
    context: Context,
    engine: Engine,
    connection: duckdb.DuckDBPyConnection,
    delivery: Delivery,
    status: Status,
) -> bool:
    """Return whether the page of a partition shows a delivery, or the one that is in force."""
    shown = _latest(context, PRODUCTS, delivery.partition_key)
    materialization = shown and shown.asset_materialization
    if not materialization:
        return False
    found = {
        name: getattr(materialization.metadata.get(name), "value", None)
        for name in ("delivery_id", "status")
    }
    if found == {"delivery_id": delivery.delivery_id, "status": status.value}:
        return True
    in_force, _ = _present(engine, connection, delivery)
    return found == {"delivery_id": in_force.delivery_id, "status": Status.MERGED.value}


def _present(
    engine: Engine, connection: duckdb.DuckDBPyConnection, delivery: Delivery
) -> tuple[Delivery, LedgerEntry | None]:
    """Return the delivery in force of a partition, or else the given one, with its entry."""
    in_force = delivery_in_force(connection, delivery.partition_key)
    if in_force is not None:
        with suppress(LandingError):  # Its record cannot be read.
            delivery = engine.raw_zone.find(in_force)
    return delivery, entry_of(connection, delivery)


def _show_present_state(
    context: Context,
    engine: Engine,
    connection: duckdb.DuckDBPyConnection,
    touched: Delivery,
    products: int,
) -> None:
    """Show the version of a file that is in force; without one, the delivery that has changed."""
    delivery, entry = _present(engine, connection, touched)
    if entry is not None:
        metadata = result_metadata(IngestResult(delivery, entry, products=products))
        context.log_event(materialization_event("products", delivery, metadata))


def show_checks(context: Context, state: TableState) -> None:
    """Log the results of all checks, each with the materialization that it is about.

    If the latest materialization of `products` has another row count, because runs overlapped, the
    right count is logged first.

    Raises:
        dagster.Failure: a blocking check fails.
    """
    latest = {asset: _latest(context, asset) for asset in (PRODUCTS, NAME_COUNTS)}
    shown = latest[PRODUCTS]
    if shown is not None and _row_count_of(shown) != state.products:
        _show_row_count(context, state.products)
        latest[PRODUCTS] = _latest(context, PRODUCTS)
    for check in state.checks:
        context.log_event(_evaluation(check, latest))
    save_shown_until(Path(context.instance.root_directory), state.noted_ns)
    if broken := sorted(_failed(state.checks) & _BLOCKING):
        msg = f"These checks of products fail: {', '.join(broken)}."
        raise dg.Failure(msg, allow_retries=False)


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
        show_tables(context, engine, at_once, keys)


def _failed(checks: Sequence[dg.AssetCheckResult]) -> set[str]:
    return {str(check.check_name) for check in checks if not check.passed}


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


def _last_row_count(context: Context) -> int | None:
    return _row_count_of(_latest(context, PRODUCTS))
