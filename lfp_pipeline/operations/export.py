"""`export_tables`: products and name_counts as Parquet and CSV files, for other programs.

All files tell one state of the tables. It is that of the published copy, which nobody changes while
it is open: so a large export keeps nobody from writing. Where nothing is published, it is read
behind the writer lock.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from lfp_pipeline.common.atomic_files import commit_file, stale_temporaries, temporary_sibling
from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.common.progress import heartbeat
from lfp_pipeline.common.text import format_size, pluralize
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import OperationRefusedError
from lfp_pipeline.model.table_spec import COLUMN_LIST
from lfp_pipeline.operations.report import Report
from lfp_pipeline.warehouse.operation_log import note_operation
from lfp_pipeline.warehouse.writer_lock import WriterLock

# By table: what is written, and its texts. These are quoted, so that blanks at their ends and empty
# ones are told apart from what other programs make of bare ones.
_TABLES = {
    "products": ("FROM warehouse.products", COLUMN_LIST),
    "name_counts": ("FROM warehouse.name_counts ORDER BY no_of_products DESC, name", "name"),
}

# As RFC 4180 has it, times as ISO 8601. DuckDB is to write into the very file that it is given.
_OPTIONS = {
    "parquet": "FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false",
    "csv": "FORMAT csv, HEADER, FORCE_QUOTE ({texts}), TIMESTAMPFORMAT '%Y-%m-%dT%H:%M:%S.%fZ', "
    "USE_TMP_FILE false",
}

_SIZES = """
SELECT (SELECT count(*) FROM warehouse.products), (SELECT count(*) FROM warehouse.name_counts),
    (SELECT max(merged_at) FROM warehouse.deliveries)
"""


@dataclass(frozen=True)
class _File:
    """One of the files that are written."""

    table: str
    format: str
    path: Path

    def write(
        self, connection: duckdb.DuckDBPyConnection, temporary: Path, log: logging.Logger
    ) -> None:
        """Write the table of the attached warehouse into a file of another name."""
        rows, texts = _TABLES[self.table]
        options = _OPTIONS[self.format].format(texts=texts)
        with heartbeat(log, lambda seconds: f"Writing {self.path.name}: {seconds:.0f} s so far"):
            connection.execute(f"COPY ({rows}) TO $path ({options})", {"path": str(temporary)})


def export_tables(
    engine: Engine,
    log: logging.Logger,
    *,
    formats: Sequence[str] = ("parquet", "csv"),
    dry_run: bool = False,
) -> Report:
    """Write the tables into the folder of exports, in the place of the files from before.

    Killed in the middle, these stand; killed while the new ones get their names, some do.

    Args:
        engine: whose.
        log: for progress.
        formats: which of parquet and csv.
        dry_run: only tell what it would do.

    Raises:
        OperationRefusedError: there is no database, or another format is said, or none.
        WarehouseBusyError: somebody else kept the database; the text says who.
        OSError: the files cannot be written.
        duckdb.Error: likewise, or the tables cannot be read.
    """
    if not engine.warehouse.exists:
        msg = f"There is no database at {engine.warehouse.location} yet: nothing was taken in."
        raise OperationRefusedError(msg)
    if not formats or set(formats) - _OPTIONS.keys():
        msg = f"Say one or several of the formats {', '.join(_OPTIONS)}."
        raise OperationRefusedError(msg)
    folder = engine.settings.exports_dir
    files = [
        _File(table, format_, folder / f"{table}.{format_}")
        for table in _TABLES
        for format_ in dict.fromkeys(formats)
    ]
    if dry_run:
        return _plan(engine, files, log)
    started = utc_now()
    folder.mkdir(parents=True, exist_ok=True)
    # One at a time: the files of two exports would be mixed.
    with WriterLock(folder / "tables", engine.settings.writer_wait_seconds).held("exporting", log):
        for leftover in stale_temporaries(folder):
            log.info("Removing %s, left by an export that was killed", leftover)
        with _snapshot(engine, log) as connection:
            products, names, last_merged_at = connection.execute(_SIZES).fetchall()[0]
            _write(connection, files, log)
        sizes = {file.path.name: file.path.stat().st_size for file in files}
    told = ", ".join(f"{name} ({format_size(size)})" for name, size in sizes.items())
    summary = f"{_counted(products, names)} are in {folder}: {told}."
    figures = {"products": products, "names": names, "last_merged_at": f"{last_merged_at} UTC"}
    note_operation(engine.warehouse, "export_tables", started, summary, log)
    return Report(summary, figures | sizes)


def _counted(products: int, names: int) -> str:
    return f"{pluralize(products, 'product')} and {pluralize(names, 'name')}"


@contextmanager
def _snapshot(engine: Engine, log: logging.Logger) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the tables attached as `warehouse`: the newest, and they stay so."""
    if not engine.published.time_share:
        with engine.warehouse.session("exporting", log) as connection:
            yield connection
        return
    engine.published.publish(log)
    with engine.published.session() as connection:
        yield connection


def _write(
    connection: duckdb.DuckDBPyConnection, files: Sequence[_File], log: logging.Logger
) -> None:
    with ExitStack() as stack:
        written = []
        for file in files:
            open_file, temporary = stack.enter_context(temporary_sibling(file.path))
            file.write(connection, temporary, log)
            # All are on disk before the first gets its name: they change at almost one moment.
            os.fsync(open_file.fileno())
            written.append((open_file, temporary, file.path))
        for open_file, temporary, path in written:
            commit_file(open_file, temporary, path)


def _plan(engine: Engine, files: Sequence[_File], log: logging.Logger) -> Report:
    with engine.warehouse.session("looking what to export", log) as connection:
        products, names, _ = connection.execute(_SIZES).fetchall()[0]
    if not engine.published.time_share:
        state = "the database, behind the writer lock"
    elif engine.published.is_stale:
        state = "the published copy, which would be published anew first"
    else:
        state = "the published copy, which is up to date"
    present = sum(file.path.stat().st_size for file in files if file.path.exists())
    replaced = f" in the place of {format_size(present)}" if present else ""
    summary = (
        f"Would write {_counted(products, names)} into "
        f"{', '.join(file.path.name for file in files)} in {files[0].path.parent}{replaced}, from "
        f"{state}. The database has {format_size(engine.warehouse.size_bytes)}."
    )
    return Report(summary, {"products": products, "names": names, "present_bytes": present})
