"""The metadata of deliveries and tables in the UI."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg
import duckdb

from lfp_pipeline.common.text import format_size, printable, shortened
from lfp_pipeline.ingest.result import IngestResult
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import LedgerEntry
from lfp_pipeline.model.table_spec import PRODUCT_COLUMNS, PRODUCT_SPEC
from lfp_pipeline.reading.reader import Reading
from lfp_pipeline.warehouse.name_counts import top_names

Metadata = Mapping[str, Any]

SHOWN_NAMES = 10
_SHOWN_CHARACTERS = 200

# The tags of a data version; Dagster exports the class but not these names.
DATA_VERSION_TAG = "dagster/data_version"
DATA_VERSION_IS_USER_PROVIDED_TAG = "dagster/data_version_is_user_provided"

PRODUCTS_SCHEMA = dg.TableSchema(
    columns=[
        *(dg.TableColumn(column.name, "VARCHAR", column.meaning,
                         constraints=dg.TableColumnConstraints(nullable=not column.is_required,
                                                               unique=column.is_key))
          for column in PRODUCT_SPEC),
        dg.TableColumn("delivery_id", "VARCHAR", "Delivery of this row."),
        dg.TableColumn("delivered_at", "TIMESTAMP", "Time of the delivery, in UTC."),
        dg.TableColumn("row_number", "BIGINT", "Number of the record in its file, from 1."),
    ]
)  # fmt: skip

COUNTS_SCHEMA = dg.TableSchema(
    columns=[
        dg.TableColumn("name", "VARCHAR",
                       constraints=dg.TableColumnConstraints(nullable=False, unique=True)),
        dg.TableColumn("no_of_products", "BIGINT", "Number of products with this name."),
    ]
)  # fmt: skip

PRODUCTS_LINEAGE = dg.TableColumnLineage(
    deps_by_column={
        column: [dg.TableColumnDep(asset_key="raw_products", column_name=column)]
        for column in PRODUCT_COLUMNS
    }
)

COUNTS_LINEAGE = dg.TableColumnLineage(
    deps_by_column={
        "name": [dg.TableColumnDep(asset_key="products", column_name="name")],
        "no_of_products": [dg.TableColumnDep(asset_key="products", column_name="sku")],
    }
)

_TOTALS = "SELECT count(*), coalesce(sum(no_of_products), 0) FROM warehouse.name_counts"


def delivery_metadata(delivery: Delivery) -> Metadata:
    """Return the metadata of a landed delivery."""
    return {
        **_identity(delivery),
        "stated_at": _utc(delivery.version_time),
        "size": format_size(delivery.size_bytes),
        "size_bytes": delivery.size_bytes,
        "raw_file": dg.MetadataValue.path(str(delivery.path)),
    }


def ingested_metadata(ingested: IngestResult) -> Metadata:
    """Return the metadata of a delivery's result: rows, skipped lines, notes, speed, samples.

    Only the run that merged the delivery shows these figures.
    """
    account, delivery = ingested.account, ingested.delivery
    if not ingested.merged_here:
        return _standing_metadata(ingested)
    metadata: dict[str, Any] = {
        "dagster/row_count": ingested.products,
        "dagster/partition_row_count": account.rows.winners,
        "rows_read": account.rows.read,
        **account.rows.fates,
        **_skipped_lines(account),
        **_identity(delivery),
        "size": format_size(delivery.size_bytes),
    }
    if ingested.seconds:
        metadata["seconds"] = round(ingested.seconds, 3)
    if account.notes:  # As text, not Markdown: notes may quote the file.
        metadata["notes"] = dg.MetadataValue.text(account.notes)
    if ingested.warnings:
        metadata["warnings"] = dg.MetadataValue.text("\n".join(ingested.warnings))
    if account.rows.rejected:
        metadata["fix_rejects"] = f"make rejects PARTITION={delivery.partition_key}"
    if ingested.batch > 1:
        metadata["files_merged_together"] = ingested.batch
    if reading := ingested.reading:
        metadata |= _reading_metadata(reading, ingested)
    return metadata


def _standing_metadata(ingested: IngestResult) -> Metadata:
    """Return the metadata of a delivery that another run has merged or reverted."""
    account, delivery = ingested.account, ingested.delivery
    metadata: dict[str, Any] = {
        "status": account.status.value,
        **_identity(delivery),
    }
    if account.merged_at is not None:
        metadata["merged_before_at"] = _utc(account.merged_at)
    return metadata


def _identity(delivery: Delivery) -> dict[str, str]:
    return {
        "delivery_id": delivery.delivery_id,
        "source": delivery.source,
        "delivered_at": _utc(delivery.delivered_at),
        "sha256": delivery.sha256,
    }


def _reading_metadata(reading: Reading, ingested: IngestResult) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "seconds_reading": round(reading.seconds, 3),
        "sample_of_products": _table(PRODUCT_COLUMNS, reading.sample_products),
    }
    if ingested.batch == 1:
        metadata["rows_per_second"] = round(reading.rows_read / ingested.seconds)
    if reading.repaired:
        metadata["repaired"] = True
    if reading.ignored_columns:
        metadata["ignored_columns"] = printable(", ".join(reading.ignored_columns))
    if reading.sample_rejects:
        columns = ("row_number", "byte_start", "byte_end", "reason", "detail", "raw")
        metadata["sample_of_rejects"] = _table(columns, reading.sample_rejects)
    return metadata


def _skipped_lines(account: LedgerEntry) -> dict[str, int]:
    """Return the lines that are neither rows nor rejects, by kind, without empty kinds."""
    lines = {
        "blank_lines": account.blank_lines,
        "repeated_headers": account.repeated_headers,
        "lines_above_header": account.lines_above_header,
    }
    return {kind: number for kind, number in lines.items() if number}


def counts_metadata(connection: duckdb.DuckDBPyConnection) -> Metadata:
    """Return the numbers of names and products, and the most frequent names."""
    names, products = connection.execute(_TOTALS).fetchall()[0]
    return {
        "dagster/row_count": names,
        "products": products,
        "top_names": _table(("name", "no_of_products"), top_names(connection, SHOWN_NAMES)),
    }


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


def _utc(timestamp: datetime) -> str:
    return f"{timestamp:%Y-%m-%d %H:%M:%S.%f} UTC"


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> dg.MetadataValue[Any]:
    return dg.MetadataValue.table(
        records=[dg.TableRecord(dict(zip(columns, map(_cell, row), strict=True))) for row in rows],
        schema=dg.TableSchema(columns=[dg.TableColumn(column) for column in columns]),
    )


def _cell(value: object) -> str | int:
    if isinstance(value, int):
        return value
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return shortened(printable(text[: _SHOWN_CHARACTERS + 1]), _SHOWN_CHARACTERS)
