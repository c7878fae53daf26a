"""The asset checks of `products` and `name_counts`: specs and evaluation."""

import logging
from collections.abc import Sequence
from typing import Any

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
    keys = sorted({result.partition_key for result in ingested})
    unaccounted = unaccounted_deliveries(connection, keys)
    all_rows = [result.account.rows for result in ingested]
    shares = {
        result.partition_key: result.account.rows.rejected / result.account.rows.read
        for result in ingested
        if result.account.rows.read
    }
    worst = max(shares.values(), default=0.0)
    warnings = [
        f"{result.delivery.delivery_id}: {warning}"
        for result in ingested
        for warning in result.warnings
    ]
    return [
        _result("sku_unique", repeated == 0, {"repeated_skus": repeated, "checked": looked_at}),
        _result(
            "rows_accounted_for",
            not unaccounted,
            {
                "rows_read": sum(rows.read for rows in all_rows),
                "rows_accounted": sum(rows.accounted for rows in all_rows),
                "unaccounted_deliveries": ", ".join(unaccounted) or "none",
            },
        ),
        _result(
            "reject_share",
            worst <= REJECT_SHARE_WARNING,
            {"largest_share": worst, "rejected": sum(rows.rejected for rows in all_rows)},
            dg.AssetCheckSeverity.WARN,
        ),
        _result(
            "delivery_times",
            not warnings,
            {"warnings": "\n".join(warnings) or "none"},
            dg.AssetCheckSeverity.WARN,
        ),
    ]


def _result(
    name: str,
    passed: bool,
    metadata: Metadata,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
    asset: dg.AssetKey = PRODUCTS,
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=asset, check_name=name, passed=passed, severity=severity, metadata=metadata
    )


def _repeated_skus(
    connection: duckdb.DuckDBPyConnection, ingested: Sequence[IngestResult]
) -> tuple[int, str]:
    """Return the number of repeated skus, and which skus were checked.

    After small deliveries, only their skus are checked.
    """
    taken = sum(result.account.rows.winners for result in ingested)
    if _FEW_FACTOR * taken >= product_count(connection):
        return repeated_skus(connection), "all skus"
    delivery_ids = [result.delivery.delivery_id for result in ingested]
    return repeated_skus_of(connection, delivery_ids), "the skus of these deliveries"


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
    metadata = {"names_that_differ": wrong, "names_repaired": repaired}
    result = _result("counts_match", wrong == 0, metadata, asset=NAME_COUNTS)
    return counts_metadata(connection), [result]


def log_name_counts(
    context: dg.OpExecutionContext, metadata: Metadata, checks: Sequence[dg.AssetCheckResult]
) -> None:
    """Log a materialization of `name_counts`, and checks, from a plain op."""
    context.log_event(dg.AssetMaterialization("name_counts", metadata=metadata))
    for check in checks:
        assert check.asset_key is not None  # noqa: S101 (`_result` sets both)
        assert check.check_name is not None  # noqa: S101
        evaluation: Any = dg.AssetCheckEvaluation(
            asset_key=check.asset_key,
            check_name=check.check_name,
            passed=check.passed,
            severity=check.severity,
            metadata=check.metadata,
        )
        context.log_event(evaluation)  # Its type hints lack this event, which Dagster accepts.
