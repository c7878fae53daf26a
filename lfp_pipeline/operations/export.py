"""Writes the tables as Parquet and CSV files, or as a database (job `export_tables`).

All files show the same state of the tables. They are read from the published copy, which does not
change while it is open, so a large export does not block writers. If nothing is published, the
tables are read under the writer lock.
"""

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import duckdb

from lfp_pipeline.common.atomic_files import commit_file, stale_temporaries, temporary_sibling
from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.common.duckdb_tools import attach
from lfp_pipeline.common.process_marks import scratch_folder
from lfp_pipeline.common.progress import heartbeat
from lfp_pipeline.common.text import format_size, pluralize
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import OperationRefusedError
from lfp_pipeline.model.table_spec import COLUMN_LIST
from lfp_pipeline.operations import Report
from lfp_pipeline.warehouse.file_lock import FileWriterLock
from lfp_pipeline.warehouse.schema import tables_in_use

# The rows and the text columns of each table. Texts are quoted, so that other programs do not
# confuse empty texts with missing values, and keep white space at the ends.
_TABLES = {
    "products": ("FROM warehouse.products", COLUMN_LIST),
    "name_counts": ("FROM warehouse.name_counts ORDER BY no_of_products DESC, name", "name"),
}

# CSV as in RFC 4180, times as in ISO 8601. USE_TMP_FILE false: DuckDB writes into the given file.
_OPTIONS = {
    "parquet": "FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false",
    "csv": "FORMAT csv, HEADER, FORCE_QUOTE ({texts}), TIMESTAMPFORMAT '%Y-%m-%dT%H:%M:%S.%fZ', "
    "USE_TMP_FILE false",
}

DATABASE = "duckdb"
"""The format that is one database with all tables, the ledger included."""

DATABASE_NAME = "products.duckdb"

FORMATS = (*_OPTIONS, DATABASE)

_SIZES = """
SELECT (SELECT count(*) FROM warehouse.products), (SELECT count(*) FROM warehouse.name_counts),
    (SELECT max(merged_at) FROM warehouse.deliveries)
"""


@dataclass(frozen=True)
class _File:
    """A file to write."""

    table: str
    format: str
    path: Path

    def write(
        self,
        connection: duckdb.DuckDBPyConnection,
        file: BinaryIO,
        temporary: Path,
        log: logging.Logger,
    ) -> None:
        """Write the table, or all tables, of the attached warehouse into an open temporary file."""
        with heartbeat(log, lambda seconds: f"Writing {self.path.name}: {seconds:.0f} s so far"):
            if self.format == DATABASE:
                # DuckDB does not write a database into an existing file.
                with scratch_folder(temporary.parent, ".export") as folder:
                    write_database(connection, database := folder / DATABASE_NAME)
                    with database.open("rb") as written:
                        shutil.copyfileobj(written, file)
                return
            rows, texts = _TABLES[self.table]
            options = _OPTIONS[self.format].format(texts=texts)
            connection.execute(f"COPY ({rows}) TO $path ({options})", {"path": str(temporary)})


def export_tables(
    engine: Engine,
    log: logging.Logger,
    *,
    formats: Sequence[str] = ("parquet", "csv"),
    dry_run: bool = False,
) -> Report:
    """Write the tables into the folder of exports, and replace the files of the last export.

    If the process is killed, the old files remain; if it is killed while the new files get their
    names, some of them do.

    Raises:
        OperationRefusedError: there is no database, or a format is unknown, or none is given.
        WarehouseBusyError: another process has the database open; the message says which.
        OSError: the files cannot be written.
        duckdb.Error: the files cannot be written, or the tables cannot be read.
    """
    files = _plan(engine, formats)
    return _planned(engine, files, log) if dry_run else _apply(engine, files, log)


def _plan(engine: Engine, formats: Sequence[str]) -> Sequence[_File]:
    if not engine.warehouse.exists:
        msg = f"There is no database at {engine.warehouse.location}. Run `lfp ingest` first."
        raise OperationRefusedError(msg)
    if not formats or set(formats) - set(FORMATS):
        msg = f"Set one or more of the formats {', '.join(FORMATS)}."
        raise OperationRefusedError(msg)
    folder = engine.settings.exports_dir
    files = [
        _File(table, format_, folder / f"{table}.{format_}")
        for table in _TABLES
        for format_ in dict.fromkeys(formats)
        if format_ != DATABASE
    ]
    database = [_File("", DATABASE, folder / DATABASE_NAME)] if DATABASE in formats else []
    return files + database


def _planned(engine: Engine, files: Sequence[_File], log: logging.Logger) -> Report:
    with engine.warehouse.session("planning an export", log) as connection:
        products, names, _ = connection.execute(_SIZES).fetchall()[0]
    if not engine.published.time_share:
        state = "the database, under the writer lock"
    elif engine.published.is_stale:
        state = "the published copy, which would be published again first"
    else:
        state = "the published copy, which is up to date"
    present = sum(file.path.stat().st_size for file in files if file.path.exists())
    replaced = f", replacing {format_size(present)}" if present else ""
    summary = (
        f"Would write {_row_counts(products, names)} into "
        f"{', '.join(file.path.name for file in files)} in {files[0].path.parent}{replaced}, from "
        f"{state}. The database has {format_size(engine.warehouse.size_bytes)}."
    )
    return Report(summary, {"products": products, "names": names, "present_bytes": present})


def _apply(engine: Engine, files: Sequence[_File], log: logging.Logger) -> Report:
    started = utc_now()
    folder = engine.settings.exports_dir
    folder.mkdir(parents=True, exist_ok=True)
    # One export at a time: two would mix their files.
    with FileWriterLock(folder / "tables", engine.settings.writer_wait_seconds).held(
        "exporting", log
    ):
        for leftover in stale_temporaries(folder):
            log.info("Removing %s, left by an export that was killed", leftover)
        with _snapshot(engine, log) as connection:
            products, names, last_merged_at = connection.execute(_SIZES).fetchall()[0]
            _write(connection, files, log)
        sizes = {file.path.name: file.path.stat().st_size for file in files}
    written = ", ".join(f"{name} ({format_size(size)})" for name, size in sizes.items())
    summary = f"Exported {_row_counts(products, names)} to {folder}: {written}."
    figures = {"products": products, "names": names, "last_merged_at": f"{last_merged_at} UTC"}
    engine.published.note_operation("export_tables", started, summary, log)
    return Report(summary, figures | sizes)


def write_database(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Write all tables of the attached warehouse into a new database, which DuckDB 1.5 can read.

    There, products is a table.
    """
    attach(connection, path, "copy", storage_version="v1.5.0")
    try:
        for table in sorted(tables_in_use(connection) - {"product_rows"} | {"products"}):
            connection.execute(f"CREATE TABLE copy.{table} AS FROM warehouse.{table}")
    finally:
        connection.execute("DETACH copy")  # This also ends its write-ahead log.


def _row_counts(products: int, names: int) -> str:
    return f"{pluralize(products, 'product')} and {pluralize(names, 'name')}"


@contextmanager
def _snapshot(engine: Engine, log: logging.Logger) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection with the newest tables as `warehouse`; they do not change meanwhile."""
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
            file.write(connection, open_file, temporary, log)
            # All files are on disk before the first is renamed, so all change almost at once.
            open_file.flush()
            os.fsync(open_file.fileno())
            written.append((open_file, temporary, file.path))
        for open_file, temporary, path in written:
            commit_file(open_file, temporary, path)
