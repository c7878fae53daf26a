"""Tries a case: reads or ingests its files, and compares the result with the oracles."""

import os
import re
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import duckdb

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.ingest.ingest import ingest
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.workspace import WorkspaceLimits, open_workspace
from lfp_pipeline.settings import Settings
from lfp_pipeline.sources.local_file import LocalFile
from testing.csv_oracle.contents import Contents
from testing.engine import TABLES, loading_deltas, loading_directly
from testing.expected_tables import MergedFile, count_names, expected_products
from testing.reader import QUIET, contents_of, delivery_at, read_into
from verification.fuzz.cases import Case, File
from verification.fuzz.expected import LONGEST_VALUE, Refusal, WrongError, expected_of
from verification.fuzz.packings import MAX_UNPACKED_BYTES

_REJECTED_ROWS = """
SELECT delivery_id, row_number, byte_start, byte_end, reason, raw FROM rejected_rows
"""
_MISSING_ROWS = """
SELECT rows_read - rows_inserted - rows_updated - rows_unchanged - rows_superseded - rows_stale
    - rows_rejected
FROM deliveries WHERE status = 'merged'
"""

Outcome = str


def judge(case: Case) -> list[Outcome]:
    """Try a case; return the outcome of each of its files.

    Raises:
        WrongError: the result is not the expected one.
        Exception: any other error is a fault, too.
    """
    with tempfile.TemporaryDirectory() as folder:
        if case.way == "read":
            return _read(case, Path(folder))
        return _ingest(case, Path(folder))


def _settings(case: Case, folder: Path) -> Settings:
    return Settings(
        data_dir=folder,
        threads=case.threads,
        max_reject_share=case.max_reject_share,
        max_sku_length=LONGEST_VALUE,
        max_name_length=LONGEST_VALUE,
        max_description_length=LONGEST_VALUE,
        max_unpacked_bytes=MAX_UNPACKED_BYTES,
        max_record_bytes=case.record_bytes,
        null_tokens=case.null_tokens,
        require_all_cells=case.require_all_cells,
    )


def _read(case: Case, folder: Path) -> list[Outcome]:
    """Read all files in one workspace: nothing of one may show in the next."""
    settings, outcomes = _settings(case, folder), []
    options = ReadOptions.of(settings)
    limits = WorkspaceLimits(case.threads, "1GB")
    with open_workspace([folder], settings.work_dir, limits) as workspace:
        connection = workspace.connection
        for number, file in enumerate(case.files):
            path = folder / f"{number}.raw"
            path.write_bytes(file.raw)
            expected = expected_of(file, path, case, options)
            with workspace.folder_for(number) as scratch:
                try:
                    read = read_into(connection, scratch, delivery_at(path), options)
                except DeliveryRefusedError as error:
                    outcomes.append(_refused(file, expected, str(error)))
                    continue
            found = contents_of(read, connection)
            _assert_same(found, expected, number)
            reasons = ", ".join(sorted({reason for _, reason in found.reasons}))
            outcomes.append(f"{'repaired' if read.repaired else 'clean'} {reasons}")
    return outcomes


def _refused(file: File, expected: Contents | Refusal, refusal: Refusal) -> Outcome:
    if isinstance(expected, Contents):
        msg = f"refused, but {expected.rows_read} records were expected: {refusal}"
        raise WrongError(msg)
    return f"refused {file.packing if file.damage is not None else ''}: {_short(refusal)}"


def _short(text: str) -> str:
    return re.sub(r"[\d,.]+", "0", text)[:40]


def _assert_same(found: Contents, expected: Contents | Refusal, number: int) -> None:
    if isinstance(expected, Refusal):
        msg = f"file {number} was read, but a refusal was expected: {expected}"
        raise WrongError(msg)
    for what in ("rows_read", "rejects", "winners", "blank", "headers"):
        here, there = getattr(found, what), getattr(expected, what)
        if here != there:
            if isinstance(here, list):
                here, there = _differences(here, there)
            msg = f"file {number}, {what}: found {here!r:.500}, expected {there!r:.500}"
            raise WrongError(msg)


def _differences(found: list[Any], expected: list[Any]) -> tuple[list[Any], list[Any]]:
    """Return the first rows that are only in one of two tables, and only in the other."""
    odd = [row for row in found if row not in expected][:3]
    return odd, [row for row in expected if row not in found][:3]


def _ingest(case: Case, folder: Path) -> list[Outcome]:
    (folder / "inbox").mkdir()
    engine = Engine(_settings(case, folder))
    options = ReadOptions.of(engine.settings)
    expected: dict[Delivery, Contents | Refusal] = {}
    outcomes = []
    for file in case.files:
        path = folder / "landing"
        path.write_bytes(file.raw)
        os.utime(path, ns=(file.microseconds * 1000,) * 2)
        delivery = engine.land(LocalFile(path), file.key, QUIET)
        contents = expected_of(file, delivery.path, case, options)
        if isinstance(contents, Contents) and contents.rows_read:
            share = len(contents.rejects) / contents.rows_read
            if share > case.max_reject_share:
                contents = "too many rejects"
        expected[delivery] = contents
    way = loading_directly() if case.way == "directly" else nullcontext()
    with way, loading_deltas():
        batches = [list(expected)] if case.way == "merge" else [[delivery] for delivery in expected]
        done = [
            result
            for batch in batches
            for result in ingest(batch, engine.raw_zone, engine.settings, engine.warehouse, QUIET)
        ]
    for result in done:
        delivery, entry = result.delivery, result.account
        status, error = str(entry.status), entry.error
        contents = expected[delivery]
        refusal = contents if isinstance(contents, Refusal) else ""
        if status != ("refused" if refusal else "merged"):
            wanted = refusal or "merged"
            msg = f"{delivery.delivery_id} was {status} ({error}), expected: {wanted}"
            raise WrongError(msg)
        outcomes.append(f"{case.way} {status} {_short(error or '')}")
    _assert_tables(
        engine, {key: found for key, found in expected.items() if isinstance(found, Contents)}
    )
    return outcomes


def _assert_tables(engine: Engine, merged: dict[Delivery, Contents]) -> None:
    files = [
        MergedFile(
            delivery.delivery_id,
            delivery.delivered_at,
            {row[1]: (row[0], row[1:]) for row in contents.winners},
        )
        for delivery, contents in merged.items()
    ]
    products = expected_products(files)
    rejects = [
        (delivery.delivery_id, *reject)
        for delivery, contents in merged.items()
        for reject in contents.rejects
    ]
    ids = {file.delivery_id for file in files}
    with duckdb.connect(engine.warehouse.path, read_only=True) as connection:

        def rows(sql: str) -> list[tuple[Any, ...]]:
            return sorted(connection.execute(sql).fetchall())

        _assert_equal("products", rows(TABLES["products"]), products)
        _assert_equal("name_counts", rows(TABLES["name_counts"]), count_names(products))
        kept = [row for row in rows(_REJECTED_ROWS) if row[0] in ids]
        _assert_equal("rejected_rows", kept, sorted(rejects))
        _assert_equal("row counts", rows(_MISSING_ROWS), [(0,)] * len(merged))


def _assert_equal(what: str, found: list[Any], expected: list[Any]) -> None:
    if found != expected:
        odd, lost = _differences(found, expected)
        counts = f"{len(found)} rows, expected {len(expected)}"
        msg = f"{what}: {counts}; found {odd!r:.500}, expected {lost!r:.500}"
        raise WrongError(msg)
