"""Deletes products by a delivery of its own (job `purge_products`).

The delivery stays in the raw zone, so a rebuild deletes the products again; a delivery that is
newer than the purge brings them back. The skus to delete are listed when the purge is made.
`revert_delivery` reverts a purge like any other delivery.
"""

import logging
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.common.text import pluralize, preview
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LfpError, OperationRefusedError
from lfp_pipeline.model.delivery import Delivery, Kind
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.model.partition_key import PURGES, key_hint
from lfp_pipeline.operations import Report
from lfp_pipeline.reading.workspace import planning_folder
from lfp_pipeline.sources.base import Fetched, OnProgress, Sink
from lfp_pipeline.sources.local_file import LocalFile

_SHOWN_SKUS = 10

_MICROSECOND = timedelta(microseconds=1)

_CLOCK_SKEW = timedelta(minutes=10)
"""Largest expected difference between clocks. Later times count as times in the future."""

_NAMED = """
CREATE TABLE skus_to_delete AS
SELECT sku, delivered_at
FROM (SELECT DISTINCT unnest($skus::VARCHAR[]) AS sku) LEFT JOIN warehouse.products USING (sku)
"""

_CHOSEN = """
CREATE TABLE skus_to_delete AS SELECT sku, delivered_at FROM warehouse.products WHERE {condition}
"""

_SUMMARY = """
SELECT count(*), count(delivered_at), max(delivered_at), (SELECT count(*) FROM warehouse.products)
FROM skus_to_delete
"""

_AHEAD = "SELECT count(*), min(sku, $limit) FROM skus_to_delete WHERE delivered_at > $soon"

_FIRST_SKUS = "SELECT sku FROM skus_to_delete ORDER BY sku LIMIT $limit"

_FIRST_UNKNOWN = """
SELECT sku FROM skus_to_delete WHERE delivered_at IS NULL ORDER BY sku LIMIT $limit
"""


@dataclass(frozen=True)
class Selection:
    """The products to delete. Exactly one attribute is set.

    Attributes:
        skus: these skus. A sku that has no product yet is deleted, too: older deliveries that
            arrive later do not add it.
        partition: all products whose present row came with this partition.
        older_than_days: all products whose present row was delivered longer ago.

    Raises:
        OperationRefusedError: no attribute or several are set, or a sku is empty.
    """

    skus: Sequence[str] = ()
    partition: str | None = None
    older_than_days: float | None = None
    everything: bool = False

    def __post_init__(self) -> None:
        chosen = (self.skus, self.partition, self.older_than_days is not None, self.everything)
        if sum(map(bool, chosen)) != 1:
            msg = "Set exactly one of skus, partition, older_than_days and everything."
            raise OperationRefusedError(msg)
        if not all(sku.strip() for sku in self.skus):
            msg = "A sku in the list is empty. Remove it."
            raise OperationRefusedError(msg)

    @property
    def label(self) -> str:
        """The source of the purge, as the ledger shows it."""
        if self.skus:
            return f"purge: {len(self.skus)} skus"
        if self.partition:
            return f"purge: partition {self.partition}"
        if self.older_than_days is not None:
            return f"purge: older than {self.older_than_days:g} days"
        return "purge: everything"

    def statement(self) -> tuple[str, dict[str, Any]]:
        """Return the statement that lists the skus to delete, and its parameters."""
        if self.skus:
            return _NAMED, {"skus": [sku.strip() for sku in self.skus]}
        if self.partition:
            condition = "starts_with(delivery_id, $begin)"
            return _CHOSEN.format(condition=condition), {"begin": f"{self.partition}#"}
        if self.older_than_days is not None:
            before = utc_now() - timedelta(days=self.older_than_days)
            return _CHOSEN.format(condition="delivered_at < $before"), {"before": before}
        return _CHOSEN.format(condition="true"), {}


@dataclass(frozen=True)
class _Plan:
    """The skus to delete, and the numbers of skus, of their products, and of all products.

    Attributes:
        source: the list of the skus.
        first_unknown: the first skus that have no product.
    """

    source: "_SkuList"
    skus: int
    products: int
    all_products: int
    first_skus: Sequence[str]
    first_unknown: Sequence[str]

    @property
    def figures(self) -> dict[str, int | float | str]:
        """The numbers of skus and of products."""
        return {"skus": self.skus, "products_deleted": self.products}

    @property
    def report(self) -> Report:
        """The report of a dry run, or of a purge that deletes nothing."""
        if not self.skus:
            return Report("Nothing to delete: no product matches the selection.", self.figures)
        summary = self.summary("would be") + _hint_if_ahead(self.source.delivered_at)
        return Report(summary, self.figures)

    def summary(self, verb: str) -> str:
        """Return the numbers and the first skus as a sentence."""
        if not self.products:
            skus = preview(self.first_skus, self.skus, _SHOWN_SKUS)
            do_not = "would not" if verb == "would be" else "do not"
            return (
                f"No products {verb} deleted: none has a sku of these: {skus}. Older files that "
                f"arrive later {do_not} add them."
            )
        verb = "was" if verb == "were" and self.products == 1 else verb
        text = f"{self.products:,} of {self.all_products:,} products {verb} deleted"
        text += f". Skus: {preview(self.first_skus, self.skus, _SHOWN_SKUS)}."
        if unknown := self.skus - self.products:
            text += f" Without a product: {preview(self.first_unknown, unknown, _SHOWN_SKUS)}."
        return text


@dataclass(frozen=True)
class _SkuList:
    """A CSV list of skus as the source of a delivery."""

    file: LocalFile
    name: str
    delivered_at: datetime

    def fetch(self, sink: Sink, on_progress: OnProgress) -> Fetched:
        """Copy the list."""
        return replace(self.file.fetch(sink, on_progress), modified=self.delivered_at)

    def version(self, known: dict[str, str] | None) -> None:
        """Return nothing: the list is fetched once."""


def purge_products(
    engine: Engine, selection: Selection, log: logging.Logger, *, dry_run: bool = False
) -> Report:
    """Delete products.

    If the process is killed, either nothing has happened or the next `lfp ingest` deletes them.

    Raises:
        LfpError: the products are not deleted; the message says why.
    """
    with planning_folder(engine.settings) as folder:
        plan = _plan(engine, selection, folder / "skus.csv", log)
        if dry_run or not plan.skus:
            return plan.report
        delivery = engine.raw_zone.land(plan.source, PURGES, log, kind=Kind.DELETION)
    return _apply(engine, plan, delivery, log)


def _plan(engine: Engine, selection: Selection, path: Path, log: logging.Logger) -> _Plan:
    """Write the skus to delete into a file, and count them."""
    with engine.warehouse.session("planning a purge", log) as connection:
        if selection.partition and not _is_known(connection, selection.partition):
            msg = f"There is no partition {selection.partition} in the table deliveries."
            raise OperationRefusedError(msg + key_hint(selection.partition))
        connection.execute(*selection.statement())
        skus, products, newest, all_products = connection.execute(_SUMMARY).fetchall()[0]
        first_skus, first_unknown = (
            [sku for (sku,) in connection.execute(sql, {"limit": _SHOWN_SKUS}).fetchall()]
            for sql in (_FIRST_SKUS, _FIRST_UNKNOWN)
        )
        _require_dates_on_one_side_of_now(connection, skus, newest)
        ordered = connection.sql("SELECT sku FROM skus_to_delete ORDER BY sku")
        ordered.write_csv(str(path), header=True, quoting="ALL")
    earlier = engine.raw_zone.deliveries(PURGES) if skus else []
    taken = {delivery.delivered_at for delivery in earlier}
    at = _timestamp_after(newest, taken, engine.raw_zone.now())
    source = _SkuList(LocalFile(path), selection.label, at)
    return _Plan(source, skus, products, all_products, first_skus, first_unknown)


def _require_dates_on_one_side_of_now(
    connection: duckdb.DuckDBPyConnection, skus: int, newest: datetime | None
) -> None:
    """Raise if only some of the products have a date in the future.

    A purge has one timestamp and hides everything older; one dated 2100 would hide all deliveries
    until then.
    """
    values = {"soon": utc_now() + _CLOCK_SKEW, "limit": _SHOWN_SKUS}
    ahead, first_skus = connection.execute(_AHEAD, values).fetchall()[0]
    if 0 < ahead < skus:
        msg = (
            f"Of these {pluralize(skus, 'sku')}, {ahead:,} came with dates in the future, up to "
            f"{newest}: {preview(first_skus, ahead, _SHOWN_SKUS)}. The purge would have that date, "
            "and hide all of these skus until then. If the date is wrong, revert the delivery that "
            "has it; otherwise purge these skus first, by skus or by partition."
        )
        raise OperationRefusedError(msg)


def _hint_if_ahead(delivered_at: datetime) -> str:
    if delivered_at <= utc_now():
        return ""
    return (
        f" Its date is {delivered_at}, after the products that it deletes; until then, only its "
        "reversal restores these skus."
    )


def _is_known(connection: duckdb.DuckDBPyConnection, partition: str) -> bool:
    sql = "SELECT 1 FROM warehouse.deliveries WHERE partition_key = $key LIMIT 1"
    return connection.execute(sql, {"key": partition}).fetchone() is not None


def _timestamp_after(
    newest: datetime | None, taken: Collection[datetime], now: datetime
) -> datetime:
    """Return the present time, or a later one if a product to delete is dated later.

    No two purges have the same timestamp, so a reverted purge can be made again as another one.
    """
    timestamp = now
    with suppress(OverflowError):  # The largest datetime has no successor.
        timestamp = max(timestamp, newest or timestamp)
        while timestamp == newest or timestamp in taken:
            timestamp += _MICROSECOND
    return timestamp


def _apply(engine: Engine, plan: _Plan, delivery: Delivery, log: logging.Logger) -> Report:
    done = engine.ingest(delivery, log)
    if done.account.status is not Status.MERGED:
        msg = (
            f"The purge {delivery.label} has landed, but is not merged: {done.account.error} "
            "The next `lfp ingest` retries it."
        )
        raise LfpError(msg)
    applied = replace(plan, products=done.account.rows.deleted)
    summary = f"{applied.summary('were')} Delivery: {delivery.label}."
    figures = {"delivery_id": delivery.delivery_id, **applied.figures, "products": done.products}
    summary += _hint_if_ahead(delivery.delivered_at)
    return Report(summary, figures, changed=[delivery])
