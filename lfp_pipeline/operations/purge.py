"""`purge_products`: products are deleted by a delivery of its own, which stays in the raw zone.

So replays do not bring them back, and a delivery that is newer than the purge does. What is to go
is decided at once: the purge names each sku. As any delivery, `revert_delivery` takes it back.
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
from lfp_pipeline.common.process_marks import scratch_folder
from lfp_pipeline.common.text import pluralize, preview
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LfpError, OperationRefusedError
from lfp_pipeline.model.delivery import Kind
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.model.partition_key import PURGES, key_hint
from lfp_pipeline.operations.report import Report
from lfp_pipeline.sources.base import Fetched, OnProgress, Sink
from lfp_pipeline.sources.local_file import LocalFile

_SHOWN_SKUS = 10

_INSTANT = timedelta(microseconds=1)

_CLOCK_SKEW = timedelta(minutes=10)
"""By so much, clocks may differ. What is dated further ahead is dated in the future."""

_NAMED = """
CREATE TABLE doomed AS
SELECT sku, delivered_at
FROM (SELECT DISTINCT unnest($skus::VARCHAR[]) AS sku) LEFT JOIN warehouse.products USING (sku)
"""

_CHOSEN = "CREATE TABLE doomed AS SELECT sku, delivered_at FROM warehouse.products WHERE {which}"

_SUMMARY = """
SELECT count(*), count(delivered_at), max(delivered_at), (SELECT count(*) FROM warehouse.products)
FROM doomed
"""

_AHEAD = """
SELECT count(*), min(sku, $limit) FROM doomed WHERE delivered_at > $soon
"""

_SOME = "SELECT sku FROM doomed ORDER BY sku LIMIT $limit"


@dataclass(frozen=True)
class Selection:
    """Which products are to go: exactly one of these.

    Attributes:
        skus: these, also where they are not there yet: what was delivered before the purge and
            arrives later does not bring them.
        partition: whose present rows came with this partition.
        older_than_days: whose present rows were delivered longer ago.
        everything: all.

    Raises:
        OperationRefusedError: none of these is said, or several are; or a sku is empty.
    """

    skus: Sequence[str] = ()
    partition: str | None = None
    older_than_days: float | None = None
    everything: bool = False

    def __post_init__(self) -> None:
        said = (self.skus, self.partition, self.older_than_days is not None, self.everything)
        if sum(map(bool, said)) != 1:
            msg = "Say exactly one of skus, partition, older_than_days and everything."
            raise OperationRefusedError(msg)
        if not all(sku.strip() for sku in self.skus):
            msg = "One of the skus is empty; no product has such a sku. Leave it out."
            raise OperationRefusedError(msg)


@dataclass(frozen=True)
class _PurgePlan:
    """What a purge is about: skus, of them in products, some for people, and the newest's time."""

    skus: int
    products: int
    newest: datetime | None
    products_in_all: int
    some: Sequence[str]

    def told(self, verb: str) -> str:
        """In a sentence."""
        text = f"{self.products:,} of {self.products_in_all:,} products {verb} deleted"
        if self.skus > self.products:
            text += f"; {pluralize(self.skus - self.products, 'sku')} not there"
        return f"{text}. Skus: {preview(self.some, self.skus, _SHOWN_SKUS)}."


@dataclass(frozen=True)
class _SkuListSource:
    """A list of skus as a source."""

    file: LocalFile
    name: str
    at: datetime

    def fetch(self, sink: Sink, on_progress: OnProgress) -> Fetched:
        """Copy the list."""
        return replace(self.file.fetch(sink, on_progress), modified=self.at)

    def version(self, known: dict[str, str] | None) -> None:
        """It is fetched once."""


def purge_products(
    engine: Engine, selection: Selection, log: logging.Logger, *, dry_run: bool = False
) -> Report:
    """Delete products.

    Killed in the middle, nothing has happened, or the next ingest_inbox carries it out.

    Args:
        engine: whose.
        selection: which.
        log: for progress.
        dry_run: only tell what it would do.

    Raises:
        LfpError: they are not deleted, and why.
    """
    with scratch_folder(engine.settings.work_dir, "purge") as folder:
        listed = folder / "skus.csv"
        doomed = _list_doomed(engine, selection, listed, log)
        figures = {"skus": doomed.skus, "products_deleted": doomed.products}
        if not doomed.skus:
            return Report("Nothing is to be deleted: no product is as you say.", figures)
        taken = {one.delivered_at for one in engine.raw_zone.deliveries(PURGES)}
        moment = _moment_after(doomed.newest, taken)
        if dry_run:
            return Report(doomed.told("would be") + _told_if_ahead(moment), figures)
        source = _SkuListSource(LocalFile(listed), _name(selection), moment)
        delivery = engine.raw_zone.land(source, PURGES, log, kind=Kind.DELETION)
    done = engine.ingest(delivery, log)
    if done.account.status is not Status.MERGED:
        msg = (
            f"{delivery.delivery_id} has landed and is not carried out: {done.account.error} The "
            "next ingest_inbox tries again."
        )
        raise LfpError(msg)
    deleted = replace(doomed, products=done.account.rows_deleted)
    told: dict[str, int | float | str] = {
        "delivery_id": delivery.delivery_id,
        "skus": deleted.skus,
        "products_deleted": deleted.products,
        "products": done.products,
    }
    summary = f"{deleted.told('are')} It is the delivery {delivery.delivery_id}."
    return Report(summary + _told_if_ahead(delivery.delivered_at), told)


def _list_doomed(
    engine: Engine, selection: Selection, listed: Path, log: logging.Logger
) -> _PurgePlan:
    """Write the skus that are to go into a file, and sum up what they are."""
    with engine.warehouse.session("looking what to purge", log) as connection:
        if selection.partition and not _is_known(connection, selection.partition):
            msg = f"There is no partition {selection.partition} in the table deliveries."
            raise OperationRefusedError(msg + key_hint(selection.partition))
        connection.execute(*_doom(selection))
        skus, products, newest, in_all = connection.execute(_SUMMARY).fetchall()[0]
        some = [sku for (sku,) in connection.execute(_SOME, {"limit": _SHOWN_SKUS}).fetchall()]
        _see_that_dates_go_together(connection, skus, newest)
        ordered = connection.sql("SELECT sku FROM doomed ORDER BY sku")
        ordered.write_csv(str(listed), header=True, quoting="ALL")
        return _PurgePlan(skus, products, newest, in_all, some)


def _see_that_dates_go_together(
    connection: duckdb.DuckDBPyConnection, skus: int, newest: datetime | None
) -> None:
    """A purge has one date, and keeps out what is older: that of a product of the year 2100, all.

    Raises:
        OperationRefusedError: some of the products are dated in the future, and others are not.
    """
    values = {"soon": utc_now() + _CLOCK_SKEW, "limit": _SHOWN_SKUS}
    ahead, some = connection.execute(_AHEAD, values).fetchall()[0]
    if 0 < ahead < skus:
        msg = (
            f"Of these {pluralize(skus, 'sku')}, {ahead:,} came with dates in the future, up to "
            f"{newest}: {preview(some, ahead, _SHOWN_SKUS)}. The purge would have that date, and "
            "keep all of these skus out until then. Revert the delivery that is dated so, if that "
            "is wrong; or purge those first, by their skus, or by a partition that has no others."
        )
        raise OperationRefusedError(msg)


def _told_if_ahead(moment: datetime) -> str:
    if moment <= utc_now():
        return ""
    return (
        f" It is dated {moment}, as what it deletes: until then, only its reversal brings these "
        "skus back."
    )


def _is_known(connection: duckdb.DuckDBPyConnection, partition: str) -> bool:
    known = "SELECT 1 FROM warehouse.deliveries WHERE partition_key = $key LIMIT 1"
    return connection.execute(known, {"key": partition}).fetchone() is not None


def _doom(selection: Selection) -> tuple[str, dict[str, Any]]:
    """The statement that lists what is to go, and its values."""
    if selection.skus:
        return _NAMED, {"skus": [sku.strip() for sku in selection.skus]}
    if selection.partition:
        which = "starts_with(delivery_id, $begin)"
        return _CHOSEN.format(which=which), {"begin": f"{selection.partition}#"}
    if selection.older_than_days is not None:
        before = utc_now() - timedelta(days=selection.older_than_days)
        return _CHOSEN.format(which="delivered_at < $before"), {"before": before}
    return _CHOSEN.format(which="true"), {}


def _moment_after(newest: datetime | None, taken: Collection[datetime]) -> datetime:
    """Now, but newer than all that is to go: also where a file is dated in the future.

    No other purge has that moment: where one is reverted, the same again is another one.
    """
    moment = utc_now()
    with suppress(OverflowError):  # There is a last moment.
        moment = max(moment, newest or moment)
        while moment == newest or moment in taken:
            moment += _INSTANT
    return moment


def _name(selection: Selection) -> str:
    """What the ledger tells as the source."""
    if selection.skus:
        return f"purge: {len(selection.skus)} skus"
    if selection.partition:
        return f"purge: partition {selection.partition}"
    if selection.older_than_days is not None:
        return f"purge: older than {selection.older_than_days:g} days"
    return "purge: everything"
