"""Reads one delivery: its rows, its rejects, and the winner of every sku in it.

What the workspace holds while a delivery is open:

    rows      every record of the file in order; rowid + 1 is the row number
    rejects   (row_number, byte_start, byte_end, reason, detail, raw)
    excluded  (row_number) of the rejects, and of rows that a later one of their sku supersedes
    winners   (row_number, sku, name, description) of the others: one row a sku
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb

from lfp_pipeline.landing.delivery import Delivery
from lfp_pipeline.progress import heartbeat, megabytes
from lfp_pipeline.reading.loading import LoadedFile, load_rows
from lfp_pipeline.reading.plain_text import plain_text
from lfp_pipeline.reading.rejects import (
    CREATE_REJECTS,
    insert_rejects,
    located,
    unreadable_records,
)
from lfp_pipeline.reading.rules import RowRules, broken_rules, exclude_superseded, trim_keys
from lfp_pipeline.reading.workspace import Workspace, WorkspaceLimits, open_workspace
from lfp_pipeline.settings import Settings

_WINNERS = """
CREATE VIEW winners AS
SELECT rows.rowid + 1 AS row_number, sku, name, description
FROM rows ANTI JOIN excluded ON rows.rowid + 1 = excluded.row_number
"""


@dataclass(frozen=True)
class Reading:
    """A delivery, read: its counts, and the workspace connection that holds its rows.

    Attributes:
        connection: holds the tables that this module describes.
        rows_read: records in the file, rejects included.
        rows_rejected: those that are not accepted.
        rows_superseded: accepted rows that a later row of the same file replaces.
        ignored_columns: names in the header that are not taken in.
        mended: whether the file had to be mended to be read.
        seconds: what the reading took.
    """

    connection: duckdb.DuckDBPyConnection
    rows_read: int
    rows_rejected: int
    rows_superseded: int
    ignored_columns: list[str]
    mended: bool
    seconds: float

    @property
    def reject_share(self) -> float:
        """Rejects among the records read, from 0 to 1."""
        return self.rows_rejected / self.rows_read if self.rows_read else 0.0


@contextmanager
def read_delivery(
    delivery: Delivery, settings: Settings, limits: WorkspaceLimits, log: logging.Logger
) -> Iterator[Reading]:
    """Read a delivery into a workspace that lasts as long as the block.

    Raises:
        DeliveryRefusedError: it cannot be read as products.
    """
    folders = [settings.data_dir, settings.raw_dir, settings.database_path.resolve().parent]
    with open_workspace(folders, settings.work_dir, limits) as workspace:
        what = f"Reading {delivery.partition_key} ({megabytes(delivery.size_bytes)})"

        def progress(seconds: float) -> str:
            percent = max(workspace.connection.query_progress(), 0)
            return f"{what}: {percent:.0f} % of the present step after {seconds:.0f} s"

        with heartbeat(log, progress):
            reading = _read(delivery, workspace, settings, log)
        yield reading


def _read(
    delivery: Delivery, workspace: Workspace, settings: Settings, log: logging.Logger
) -> Reading:
    started = time.perf_counter()
    connection = workspace.connection
    text = plain_text(delivery.path, workspace.folder, settings.max_unpacked_bytes)
    loaded = load_rows(connection, text, workspace.folder, settings, log)
    trim_keys(connection)
    rejected = _exclude_rejects(connection, loaded, settings)
    superseded = exclude_superseded(connection)
    connection.execute(_WINNERS)
    return Reading(
        connection=connection,
        rows_read=connection.execute("SELECT count(*) FROM rows").fetchall()[0][0],
        rows_rejected=rejected,
        rows_superseded=superseded,
        ignored_columns=loaded.dialect.columns.ignored,
        mended=loaded.mended is not None,
        seconds=time.perf_counter() - started,
    )


def _exclude_rejects(
    connection: duckdb.DuckDBPyConnection, loaded: LoadedFile, settings: Settings
) -> int:
    rules = RowRules(
        settings.max_sku_length, settings.max_name_length, settings.max_description_length
    )
    connection.execute(CREATE_REJECTS)
    rejected = insert_rejects(connection, unreadable_records(connection, loaded))
    broken = broken_rules(connection, rules, loaded.dialect.columns, loaded.limit, rejected)
    return rejected + insert_rejects(connection, located(broken, loaded))
