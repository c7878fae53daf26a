"""Plans an ingest: reads files completely, and compares their rows with the tables.

Nothing lands: the files are fetched into a scratch folder, and the tables are only read. Files of
this machine are copied, too: the reader opens a file several times, and must find the same bytes.
The reader and the matching are those of the ingest, so the row counts are those that it would give
if all files went into one batch and nothing else happened meanwhile. The order in which batches are
merged is not known before: a sku of files in several batches may count otherwise for each of them.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import DeliveryRefusedError, LfpError, user_message
from lfp_pipeline.ingest.delivery_warnings import refusal_text
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import APPLIED, LedgerEntry, RowCounts
from lfp_pipeline.reading.options import Conditions, ReadOptions
from lfp_pipeline.reading.plain_text import PlainText, plain_texts
from lfp_pipeline.reading.reader import Reading, check_reject_share, clear_staging, read_delivery
from lfp_pipeline.reading.staging import stage_in_batch, unstage
from lfp_pipeline.reading.workspace import (
    Workspace,
    WorkspaceLimits,
    open_workspace,
    planning_folder,
)
from lfp_pipeline.sources.base import Source
from lfp_pipeline.sources.feeds import Feed
from lfp_pipeline.warehouse.ledger import entries
from lfp_pipeline.warehouse.matching import match, samples
from lfp_pipeline.warehouse.merge import StagedDelivery, entry_of_staged
from lfp_pipeline.warehouse.schema import migrate, require_present_schema

SAMPLE_ROWS = 5

_SUPERSEDED = """
SELECT rows.rowid + 1 AS row_number, rows.sku, rows.name, rows.description
FROM rows
JOIN excluded ON rows.rowid + 1 = excluded.row_number
JOIN winners ON winners.sku = rows.sku AND winners.row_number > rows.rowid + 1
ANTI JOIN rejects ON rejects.row_number = rows.rowid + 1
ORDER BY row_number
LIMIT $limit
"""

_SEVERAL_BATCHES = (
    "These files are merged one after the other, as they are read. So a sku of several files may "
    "count otherwise for each of them than shown here; the tables are the same."
)

_COLUMNS = ("row_number", "sku", "name", "description", "old_name", "old_description")
_REJECT_COLUMNS = ("row_number", "byte_start", "byte_end", "reason", "detail", "raw")


@dataclass
class FilePlan:
    """What an ingest would do with a file.

    Attributes:
        delivery: the delivery that its landing would give; None: it would not land.
        entry: the ledger entry that it would get, or has already; None: it cannot be read.
        error: why it would not land, or cannot be read.
        is_new: whether it would be merged or refused. Otherwise its delivery is merged or reverted
            already.
        is_polled: whether it is not planned, because reading its source would change the next poll.
        samples: the first rows by fate, as columns with values.
    """

    key: str
    delivery: Delivery | None = None
    entry: LedgerEntry | None = None
    error: str | None = None
    is_new: bool = True
    is_polled: bool = False
    samples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def landed(self) -> Delivery:
        """The delivery of a file that would land."""
        assert self.delivery is not None  # noqa: S101 (for the types)
        return self.delivery


def plan_ingest(
    engine: Engine, files: Sequence[tuple[str, Source | Delivery]], log: logging.Logger
) -> list[FilePlan]:
    """Return what an ingest of files would do, by their partitions.

    Args:
        engine: one that is read only.
        files: partitions, each with its source, or a delivery that has landed.

    Raises:
        WarehouseBusyError: another process keeps the database.
        OperationRefusedError: an earlier version of this program made the database.
    """
    with planning_folder(engine.settings) as folder:
        planner = _Planner(engine, folder, log)
        found = [planner.fetch(key, source) for key, source in files]
        fetched = [plan for plan in found if plan.delivery]
        fetched.sort(key=lambda plan: plan.landed.order_key)
        if fetched:
            planner.compare(fetched)
        if len(engine.scheduler.batches((), [plan.landed for plan in fetched if plan.is_new])) > 1:
            log.info(_SEVERAL_BATCHES)
    return found


@dataclass(frozen=True)
class _Planner:
    """Fetches files into a folder, and reads them there."""

    engine: Engine
    folder: Path
    log: logging.Logger

    def fetch(self, key: str, source: Source | Delivery) -> FilePlan:
        """Return a plan with the delivery of a source, or with the reason why there is none."""
        if isinstance(source, Delivery):
            return FilePlan(key, source)
        if isinstance(source, Feed):
            msg = f"{key} is polled: a dry run would take its update from the next poll."
            return FilePlan(key, error=msg, is_polled=True)
        folder = self.folder / uuid4().hex
        folder.mkdir()
        try:
            return FilePlan(key, self.engine.raw_zone.preview(source, key, self.log, folder))
        except LfpError as error:
            return FilePlan(key, error=user_message(error))

    def compare(self, plans: Sequence[FilePlan]) -> None:
        """Read the deliveries of plans, oldest first, and add their ledger entries and samples."""
        started, settings = time.perf_counter(), self.engine.settings
        folders = [settings.data_dir, settings.raw_dir, self.folder]
        limits, work_dir = WorkspaceLimits.of(settings), self.folder / "work"
        tables = self.engine.warehouse if self.engine.warehouse.exists else None
        with open_workspace(folders, work_dir, limits, tables) as workspace:
            staged = [self._read(number, plan, workspace) for number, plan in enumerate(plans)]
            with self._tables(workspace.connection):
                _match(workspace.connection, plans, staged, started)

    def _read(self, number: int, plan: FilePlan, workspace: Workspace) -> StagedDelivery:
        """Read a delivery into the workspace; add an error to its plan if it cannot be read now."""
        connection, settings, delivery = workspace.connection, self.engine.settings, plan.landed
        options = ReadOptions.of(settings)
        reading, refusal = None, None
        texts: Sequence[PlainText] = ()
        with workspace.folder_for(number) as folder:
            try:
                texts = plain_texts(delivery, folder, options)
                reading = read_delivery(delivery, texts, connection, folder, options, self.log)
                check_reject_share(reading, settings.max_reject_share, kept=False)
            except DeliveryRefusedError as error:
                refusal = refusal_text(error, delivery, texts, settings)
            except LfpError as error:
                plan.error = user_message(error)
            if reading is None:
                clear_staging(connection)
            else:
                plan.samples = _samples_of_reading(connection, reading)
        stage_in_batch(connection, number, taken=not (refusal or plan.error))
        conditions = Conditions.of(options, delivery.text_format)
        return StagedDelivery(delivery, reading, conditions, refusal)

    @contextmanager
    def _tables(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Attach the tables to read; the published copy, unless the tables have changed since."""
        warehouse, published = self.engine.warehouse, self.engine.published
        with ExitStack() as stack:
            if not warehouse.exists:
                connection.execute("ATTACH ':memory:' AS warehouse")
                migrate(connection)
            elif published.exists and not published.is_stale:
                stack.enter_context(published.attached(connection))
                require_present_schema(connection)
            else:
                purpose = "planning an ingest"
                stack.enter_context(warehouse.attached(connection, purpose, self.log))
            yield


def _match(
    connection: duckdb.DuckDBPyConnection,
    plans: Sequence[FilePlan],
    staged: Sequence[StagedDelivery],
    started: float,
) -> None:
    """Compare the staged rows with the attached tables, and complete the plans."""
    known = entries(connection, [plan.landed.delivery_id for plan in plans])
    applied = {id_: entry for id_, entry in known.items() if entry.status in APPLIED}
    numbers = [number for number, plan in enumerate(plans) if plan.landed.delivery_id in applied]
    unstage(connection, numbers)
    counts = match(connection, [plan.landed for plan in plans], as_batch=True)
    for number, (plan, arrived) in enumerate(zip(plans, staged, strict=True)):
        if number in numbers:
            plan.entry, plan.is_new = applied[plan.landed.delivery_id], False
            plan.samples = {}
        elif plan.error is None:
            plan.entry = entry_of_staged(arrived, counts.get(number, RowCounts()), started)
    for number, fate, *values in samples(connection, SAMPLE_ROWS):
        columns = _COLUMNS if fate == "updated" else _COLUMNS[:4]
        row = dict(zip(columns, values, strict=False))
        plans[number].samples.setdefault(fate, []).append(row)


def _samples_of_reading(
    connection: duckdb.DuckDBPyConnection, reading: Reading
) -> dict[str, list[dict[str, Any]]]:
    """Return the first superseded and rejected rows of the delivery that was read."""
    found = {}
    if reading.rows_superseded:
        rows = connection.execute(_SUPERSEDED, {"limit": SAMPLE_ROWS}).fetchall()
        found["superseded"] = [dict(zip(_COLUMNS, row, strict=False)) for row in rows]
    if reading.rows_rejected:
        found["rejected"] = [
            dict(zip(_REJECT_COLUMNS, row, strict=True)) for row in reading.sample_rejects
        ]
    return found
