"""The metadata of deliveries and tables in the UI."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg
import duckdb

from lfp_pipeline.common.text import (
    format_size,
    lfp_command,
    pluralize,
    printable,
    shortened,
    visible,
)
from lfp_pipeline.dagster_support.pictures import bar_chart
from lfp_pipeline.dagster_support.results import name_of, skipped_lines
from lfp_pipeline.ingest.result import IngestResult, LandingFailure
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import LedgerEntry, Status
from lfp_pipeline.model.partition_key import file_name, typed_name
from lfp_pipeline.model.table_spec import PRODUCT_COLUMNS, PRODUCT_SPEC
from lfp_pipeline.reading.reader import Reading
from lfp_pipeline.warehouse.file_results import recent_deliveries
from lfp_pipeline.warehouse.name_counts import top_names

Metadata = Mapping[str, Any]

SHOWN_NAMES = 10
_SHOWN_CHARACTERS = 50

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

_AFTER_LANDING = "Correct the cause. `lfp ingest` tries again, and so does the sensor for a while."

_WHAT_TO_DO = {
    Status.REFUSED: "Fix the file and drop it again. If it needs no more attention: {dismiss}",
    Status.FAILED: "`lfp ingest` tries again, and so does the sensor while the file is in the "
    "inbox. If it needs no more attention: {dismiss}",
}


def delivery_metadata(delivery: Delivery) -> Metadata:
    """Return the metadata of a landed delivery."""
    return {
        "file": _file(delivery),
        **_identity(delivery),
        "sha256": delivery.sha256,
        "stated_at": _utc(delivery.version_time),
        "size": format_size(delivery.size_bytes),
        "size_bytes": delivery.size_bytes,
        "raw_file": dg.MetadataValue.path(str(delivery.path)),
    }


def result_metadata(result: IngestResult, products: int | None = None) -> Metadata:
    """Return the metadata of a delivery that is merged or reverted.

    Few values are numbers, because the UI plots each number. None is the number of rows that the
    partition has now: a later file of another partition would change it unseen.

    Args:
        products: number of rows in `products`; None: other runs may be changing it.
    """
    account, reading = result.account, result.reading
    is_merged = account.status is Status.MERGED
    metadata: dict[str, Any] = {"status": account.status.value, "file": _file(result.delivery)}
    if not is_merged and account.error:
        metadata |= _reason(account.error)
    if products is not None:
        metadata["dagster/row_count"] = products
    if is_merged:
        file = typed_name(result.partition_key, result.delivery.source)
        metadata |= _row_metadata(account, file)
    if result.warnings:
        metadata["warnings"] = dg.MetadataValue.text("\n".join(result.warnings))
    if reading:
        metadata |= _reading_metadata(reading)
    metadata |= _identity(result.delivery)
    metadata["size"] = format_size(result.delivery.size_bytes)
    if result.batch > 1:
        metadata["merged_together"] = pluralize(result.batch, "file")
    if account.merged_at is not None and not result.merged_here:
        metadata["merged_before_at"] = _utc(account.merged_at)
    return metadata


def failure_metadata(
    outcome: IngestResult | LandingFailure, products: int | None = None
) -> Metadata:
    """Return the metadata of a file that is not merged: the reason, and what to do about it.

    Args:
        products: number of rows in `products`, if known.
    """
    if isinstance(outcome, LandingFailure):
        status, error, remedy = "not landed", outcome.error, _AFTER_LANDING
        argument = outcome.partition_key
    else:
        status, error = outcome.account.status.value, outcome.account.error or ""
        remedy = _WHAT_TO_DO[outcome.account.status]
        argument = typed_name(outcome.partition_key, outcome.delivery.source)
    file = name_of(outcome)
    metadata: dict[str, Any] = {
        "status": status,
        "file": file,
        **_reason(error),
        "what_to_do": remedy.format(dismiss=lfp_command("dismiss", argument)),
    }
    if products is not None:
        metadata["dagster/row_count"] = products
    if isinstance(outcome, LandingFailure):
        return metadata
    if outcome.account.notes:
        metadata["notes"] = dg.MetadataValue.text(outcome.account.notes)
    if reading := outcome.reading:
        metadata |= {"rows_read": reading.rows_read, "rejected": reading.rows_rejected}
        metadata |= _reading_metadata(reading)
    return metadata | _identity(outcome.delivery)


def _reason(error: str) -> dict[str, Any]:
    """Return an error, apart from the record that it quotes at its end: the UI joins lines."""
    *lines, last = visible(error).split("\n")
    is_quoted = last.startswith("    ") and bool(lines)
    sentences = " ".join(map(str.strip, lines if is_quoted else [*lines, last]))
    metadata = {"why": dg.MetadataValue.text(sentences)}
    if is_quoted:
        metadata["first_reject"] = dg.MetadataValue.text(last.strip())
    return metadata


def _row_metadata(account: LedgerEntry, file: str) -> dict[str, Any]:
    """Return the rows of a merged delivery by outcome, its skipped lines, notes and duration."""
    metadata: dict[str, Any] = {
        "rows_read": account.rows.read,
        "rows": str(account.rows) or "none",
        "rejected": account.rows.rejected,
    }
    if skipped := skipped_lines(account):
        metadata["skipped"] = ", ".join(skipped)
    if account.seconds:
        metadata["seconds"] = round(account.seconds, 3)
        speed = account.rows.read / account.seconds
        metadata["speed"] = f"{speed:,.0f} rows/s"
    if account.notes:  # As text, not Markdown: notes may quote the file.
        metadata["notes"] = dg.MetadataValue.text(account.notes)
    if account.rows.rejected:
        metadata["fix_rejects"] = lfp_command("rejects", file)
    return metadata


def _identity(delivery: Delivery) -> dict[str, str]:
    return {
        "delivery_id": delivery.delivery_id,
        "source": delivery.source,
        "delivered_at": _utc(delivery.delivered_at),
    }


def _file(delivery: Delivery) -> str:
    return printable(file_name(delivery.partition_key, delivery.source))


def _reading_metadata(reading: Reading) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    if reading.repaired:
        metadata["repaired"] = True
    if reading.ignored_columns:
        metadata["ignored_columns"] = printable(", ".join(reading.ignored_columns))
    if reading.sample_rejects:
        rejects = [  # In few columns, because a wide table makes the page wider than the window.
            (row, ", ".join(filter(None, (reason, detail))), raw)
            for row, _, _, reason, detail, raw in reading.sample_rejects
        ]
        metadata["sample_of_rejects"] = _table(("row_number", "reason", "raw"), rejects)
    metadata["sample_of_products"] = _table(PRODUCT_COLUMNS, reading.sample_products)
    return metadata


def counts_metadata(connection: duckdb.DuckDBPyConnection) -> Metadata:
    """Return the numbers of names and products, the top names, and the recent deliveries."""
    names, products = connection.execute(_TOTALS).fetchall()[0]
    top = top_names(connection, SHOWN_NAMES)
    recent = [
        (file_name(file.partition_key, file.source), file.read)
        for file in recent_deliveries(connection, SHOWN_NAMES)
    ]
    metadata: dict[str, Any] = {"dagster/row_count": names, "products": products}
    pictures = {
        "most_frequent_names": bar_chart(top, "products by name"),
        "rows_of_recent_deliveries": bar_chart(recent, "rows by delivery, the latest first"),
    }
    metadata |= {key: picture for key, picture in pictures.items() if picture}
    metadata["top_names"] = _table(("name", "no_of_products"), top)
    return metadata


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
    if isinstance(value, bytes):
        value = value.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
    text = str(value)
    return shortened(printable(text[: _SHOWN_CHARACTERS + 1]), _SHOWN_CHARACTERS)
