"""The asset checks of `products` and `name_counts`: their specs, and what they find now.

A check is about the present tables, whatever the run. A file that it warns of stays in the result
until another version of the file takes effect, or the file is reverted.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta

import dagster as dg
import duckdb

from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.common.text import preview
from lfp_pipeline.dagster_support.metadata import Metadata
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LandingError
from lfp_pipeline.ingest.delivery_warnings import dated_ahead, wholly_stale
from lfp_pipeline.model.partition_key import file_name
from lfp_pipeline.warehouse.file_results import high_reject_shares, stale_deliveries
from lfp_pipeline.warehouse.invariants import (
    product_count,
    repeated_skus,
    repeated_skus_of,
    rows_of_partitions,
    unaccounted_deliveries,
)
from lfp_pipeline.warehouse.ledger import entry_of
from lfp_pipeline.warehouse.name_counts import count_mismatches, repair_name_counts

PRODUCTS = dg.AssetKey("products")
NAME_COUNTS = dg.AssetKey("name_counts")

REJECT_SHARE_WARNING = 0.01
_RECENT = timedelta(days=7)

_FEW_FACTOR = 10
"""With so many times more products than rows of the run's files, not all products are checked."""

_SHOWN = 10

CHECKS = [
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
        description="Of every merged delivery, rows read = inserted + updated + unchanged + "
        "superseded + stale + rejected + deleted, and every reject is in rejected_rows. A run that "
        "ingests files checks the deliveries of these files.",
    ),
    dg.AssetCheckSpec(
        "reject_share",
        asset=PRODUCTS,
        description=f"Of each file that was merged in the last {_RECENT.days} days, at most "
        f"{REJECT_SHARE_WARNING:.0%} of the rows are rejected.",
    ),
    dg.AssetCheckSpec(
        "delivery_times",
        asset=PRODUCTS,
        description="No version in effect is dated after its landing, and no version that landed "
        "last is older than the one in effect.",
    ),
    dg.AssetCheckSpec(
        "counts_match",
        asset=NAME_COUNTS,
        description="name_counts equals SELECT name, count(*) FROM products GROUP BY name.",
    ),
]


def check_tables(
    connection: duckdb.DuckDBPyConnection,
    engine: Engine,
    log: logging.Logger,
    partition_keys: Sequence[str] | None = None,
) -> list[dg.AssetCheckResult]:
    """Repair wrong counts, and return the results of all checks.

    Args:
        partition_keys: the partitions that may have changed; None: any.
    """
    return [
        _sku_unique(connection, partition_keys),
        _rows_accounted_for(connection, partition_keys),
        _reject_share(connection),
        _delivery_times(connection, engine),
        _counts_match(connection, log),
    ]


def _sku_unique(
    connection: duckdb.DuckDBPyConnection, partition_keys: Sequence[str] | None
) -> dg.AssetCheckResult:
    checked = "all skus"
    few = partition_keys is not None and _FEW_FACTOR * rows_of_partitions(
        connection, partition_keys
    ) < product_count(connection)
    if partition_keys is not None and few:
        checked = f"the skus of {preview(partition_keys)}"
        repeated = repeated_skus_of(connection, partition_keys)
    else:
        repeated = repeated_skus(connection)
    return _result("sku_unique", repeated == 0, {"repeated_skus": repeated, "checked": checked})


def _rows_accounted_for(
    connection: duckdb.DuckDBPyConnection, partition_keys: Sequence[str] | None
) -> dg.AssetCheckResult:
    unaccounted = unaccounted_deliveries(connection, partition_keys)
    checked = "all" if partition_keys is None else f"those of {preview(partition_keys)}"
    metadata = {
        "unaccounted_deliveries": preview(unaccounted, limit=_SHOWN) or "none",
        "checked": f"{checked} deliveries" if partition_keys is None else checked,
    }
    return _result("rows_accounted_for", not unaccounted, metadata)


def _reject_share(connection: duckdb.DuckDBPyConnection) -> dg.AssetCheckResult:
    files = high_reject_shares(connection, REJECT_SHARE_WARNING, utc_now() - _RECENT)
    texts = [
        f"{file_name(file.partition_key, file.source)}: {file.rejected:,} of {file.read:,} rows"
        for file in files
    ]
    metadata = {
        "largest_share": files[0].reject_share if files else 0.0,
        "files": preview(texts, limit=_SHOWN) or "none",
    }
    return _result("reject_share", not files, metadata, dg.AssetCheckSeverity.WARN)


def _delivery_times(connection: duckdb.DuckDBPyConnection, engine: Engine) -> dg.AssetCheckResult:
    warnings = list(_time_warnings(connection, engine))
    metadata = {"warnings": dg.MetadataValue.text("\n".join(warnings[:_SHOWN]) or "none")}
    return _result("delivery_times", not warnings, metadata, dg.AssetCheckSeverity.WARN)


def _time_warnings(connection: duckdb.DuckDBPyConnection, engine: Engine) -> Iterator[str]:
    zone, inbox = engine.raw_zone, engine.settings.inbox_place
    for delivery_id in zone.index.dated_ahead()[:_SHOWN]:
        with suppress(LandingError):  # Its record cannot be read.
            delivery = zone.find(delivery_id)
            if warning := dated_ahead(delivery):
                yield f"{delivery.label}: {warning}"
    for delivery_id in stale_deliveries(connection, _SHOWN):
        with suppress(LandingError):
            delivery = zone.find(delivery_id)
            entry = entry_of(connection, delivery)
            if entry and (warning := wholly_stale(delivery, entry, zone, inbox)):
                yield f"{delivery.label}: {warning}"


def _counts_match(
    connection: duckdb.DuckDBPyConnection, log: logging.Logger
) -> dg.AssetCheckResult:
    repaired = repair_name_counts(connection)
    wrong = count_mismatches(connection) if repaired else 0
    if repaired:
        log.warning(
            "%d counts were wrong and are repaired. Was the table edited by hand?", repaired
        )
    metadata = {"names_that_differ": wrong, "names_repaired": repaired}
    return _result("counts_match", wrong == 0, metadata, asset=NAME_COUNTS)


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
