"""The asset checks of `products` and `name_counts`: specs and evaluation."""

import logging
from collections.abc import Sequence

import dagster as dg
import duckdb

from lfp_pipeline.dagster_support.metadata import Metadata, counts_metadata
from lfp_pipeline.ingest.result import IngestResult
from lfp_pipeline.warehouse.invariants import (
    product_count,
    repeated_skus,
    repeated_skus_of,
    unaccounted_deliveries,
)
from lfp_pipeline.warehouse.name_counts import count_mismatches, repair_name_counts

PRODUCTS = dg.AssetKey("products")
NAME_COUNTS = dg.AssetKey("name_counts")

REJECT_SHARE_WARNING = 0.01

_FEW_FACTOR = 10
"""With so many times more products than delivered rows, not all products are checked."""

products_checks = [
    dg.AssetCheckSpec(
        "sku_unique",
        asset=PRODUCTS,
        blocking=True,
        description="Every sku is in products once. Small deliveries: only their skus are checked.",
    ),
    dg.AssetCheckSpec(
        "rows_accounted_for",
        asset=PRODUCTS,
        blocking=True,
        description="rows read = inserted + updated + unchanged + superseded + stale + rejected + "
        "deleted, and every reject is in rejected_rows.",
    ),
    dg.AssetCheckSpec(
        "reject_share",
        asset=PRODUCTS,
        description=f"At most {REJECT_SHARE_WARNING:.0%} of a file's rows are rejected.",
    ),
    dg.AssetCheckSpec(
        "delivery_times",
        asset=PRODUCTS,
        description="No file is dated after its landing, and no newly landed file is older than "
        "the delivery in effect.",
    ),
]

name_counts_checks = [
    dg.AssetCheckSpec(
        "counts_match",
        asset=NAME_COUNTS,
        description="name_counts equals SELECT name, count(*) FROM products GROUP BY name.",
    )
]


def check_products(
    connection: duckdb.DuckDBPyConnection, ingested: Sequence[IngestResult]
) -> list[dg.AssetCheckResult]:
    """Return the results of the checks of `products` after these deliveries were merged."""
    repeated, looked_at = _repeated_skus(connection, ingested)
    keys = sorted({one.delivery.partition_key for one in ingested})
    unaccounted = unaccounted_deliveries(connection, keys)
    rejected = {
        one.delivery.partition_key: one.account.rows.rejected / one.account.rows.read
        for one in ingested
        if one.account.rows.read
    }
    worst = max(rejected.values(), default=0.0)
    warnings = [
        f"{result.delivery.delivery_id}: {warning}"
        for result in ingested
        for warning in result.warnings
    ]
    return [
        dg.AssetCheckResult(
            asset_key=PRODUCTS,
            check_name="sku_unique",
            passed=repeated == 0,
            metadata={"repeated_skus": repeated, "checked": looked_at},
        ),
        dg.AssetCheckResult(
            asset_key=PRODUCTS,
            check_name="rows_accounted_for",
            passed=not unaccounted,
            metadata={
                "rows_read": sum(one.account.rows.read for one in ingested),
                "rows_accounted": sum(one.account.rows.accounted for one in ingested),
                "unaccounted_deliveries": ", ".join(unaccounted) or "none",
            },
        ),
        dg.AssetCheckResult(
            asset_key=PRODUCTS,
            check_name="reject_share",
            passed=worst <= REJECT_SHARE_WARNING,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "largest_share": worst,
                "rejected": sum(one.account.rows.rejected for one in ingested),
            },
        ),
        dg.AssetCheckResult(
            asset_key=PRODUCTS,
            check_name="delivery_times",
            passed=not warnings,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"warnings": "\n".join(warnings) or "none"},
        ),
    ]


def _repeated_skus(
    connection: duckdb.DuckDBPyConnection, ingested: Sequence[IngestResult]
) -> tuple[int, str]:
    """Return the number of repeated skus, and which skus were checked.

    After small deliveries, only their skus are checked.
    """
    taken = sum(one.account.rows.winners for one in ingested)
    if _FEW_FACTOR * taken >= product_count(connection):
        return repeated_skus(connection), "all skus"
    delivery_ids = [one.delivery.delivery_id for one in ingested]
    return repeated_skus_of(connection, delivery_ids), "the skus of these deliveries"


def check_name_counts(wrong: int, repaired: int) -> list[dg.AssetCheckResult]:
    """Return the result of the check of `name_counts`.

    Args:
        wrong: number of counts that are wrong.
        repaired: number of counts that were wrong and are repaired.
    """
    return [
        dg.AssetCheckResult(
            asset_key=NAME_COUNTS,
            check_name="counts_match",
            passed=wrong == 0,
            metadata={"names_that_differ": wrong, "names_repaired": repaired},
        )
    ]


def refresh_name_counts(
    connection: duckdb.DuckDBPyConnection, log: logging.Logger
) -> tuple[Metadata, Sequence[dg.AssetCheckResult]]:
    """Repair counts that are wrong, and return the metadata and checks of `name_counts`."""
    repaired = repair_name_counts(connection)
    wrong = count_mismatches(connection) if repaired else 0
    if repaired:
        log.warning(
            "%d counts were wrong and are repaired. Was the table edited by hand?", repaired
        )
    return counts_metadata(connection), check_name_counts(wrong, repaired)


def log_name_counts(
    context: dg.OpExecutionContext, metadata: Metadata, checks: Sequence[dg.AssetCheckResult]
) -> None:
    """Log a materialization of `name_counts`, and checks, from a plain op."""
    context.log_event(dg.AssetMaterialization("name_counts", metadata=metadata))
    for check in checks:
        context.log_event(_as_evaluation(check))  # type: ignore[arg-type] # Dagster accepts it


def _as_evaluation(result: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
    """Return a check result as the event that a plain op can log."""
    assert result.asset_key is not None  # noqa: S101 (the results above name their asset)
    assert result.check_name is not None  # noqa: S101
    return dg.AssetCheckEvaluation(
        asset_key=result.asset_key,
        check_name=result.check_name,
        passed=result.passed,
        severity=result.severity,
        metadata=result.metadata,
    )
