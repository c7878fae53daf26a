"""The corpus through the real engine: nothing crashes, and every byte is accounted for."""

import csv
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lfp_pipeline.ingest.result import IngestResult
from lfp_pipeline.model.ledger_entry import LedgerEntry, Status
from lfp_pipeline.model.partition_key import partition_key
from lfp_pipeline.reading.rejects import RAW_BYTES_KEPT
from testing.csv_oracle.contents import clean, unwrapped
from testing.csv_oracle.records import bare_name
from testing.engine import LOG, engine_at
from verification.corpus.archives import archives
from verification.corpus.cases import Case
from verification.corpus.csv_files import csv_files

PRODUCTS = """
SELECT delivery_id, row_number, sku, name, description FROM products ORDER BY ALL
"""
REJECTS = """
SELECT delivery_id, row_number, byte_start, byte_end, reason, raw FROM rejected_rows ORDER BY ALL
"""


@dataclass(frozen=True)
class Found:
    """The result of a case: its ledger entry, its products, its rejects."""

    entry: LedgerEntry
    products: list[tuple[Any, ...]]
    rejects: list[tuple[Any, ...]]


def ingest(cases: Sequence[Case], folder: Path) -> dict[str, Found]:
    """Ingest all cases in batches, as from an inbox."""
    engine = engine_at(folder, threads=1, max_unpacked_bytes=100_000_000)
    names = {f"{number}.csv": case.name for number, case in enumerate(cases)}
    for name, case in zip(names, cases, strict=True):
        path = engine.settings.inbox_dir / name
        path.write_bytes(case.data)
        os.utime(path, (1, 1))
    results = engine.ingest_all(engine.pending_inbox(LOG).ready, [], LOG)
    entries = {
        result.delivery.partition_key: result.account
        for result in results
        if isinstance(result, IngestResult)
    }

    def found_of(entry: LedgerEntry) -> Found:
        of_it = ([row[1:] for row in rows if row[0] == entry.delivery_id] for rows in tables)
        return Found(entry, *of_it)

    with duckdb.connect(engine.warehouse.path, read_only=True) as connection:
        tables = [connection.execute(sql).fetchall() for sql in (PRODUCTS, REJECTS)]
    return {case: found_of(entries[partition_key(name)]) for name, case in names.items()}


def check(case: Case, found: Found) -> None:
    """Assert that a case has its expected result, and that its bytes add up."""
    entry = found.entry
    if case.refused:
        assert entry.status is Status.REFUSED
        assert re.search(case.refused, entry.error or "")
        assert not found.products
        return
    assert entry.status is Status.MERGED, entry.error
    assert [reject[:4] for reject in found.rejects] == case.rejects
    winners = {row[1]: row for row in case.rows}
    assert found.products == sorted(winners.values())
    check_bytes(case, found)
    assert entry.rows.read == entry.rows.inserted + entry.rows.superseded + entry.rows.rejected
    assert entry.rows.read == len(case.rows) + len(case.rejects)
    assert entry.rows.superseded == len(case.rows) - len(winners)
    assert entry.blank_lines == case.blank_lines
    assert entry.repeated_headers == case.repeated_headers


def check_bytes(case: Case, found: Found) -> None:
    """Assert that rejects have their bytes, and that Python's csv reads the rows from the rest."""
    plain, position, rest = case.plain, len(case.head), b""
    for _, start, end, _, raw in found.rejects:
        assert raw == plain[start:end][:RAW_BYTES_KEPT]
    rejects = [(start, end) for _, start, end, *_ in found.rejects]
    for start, end in sorted([*rejects, *case.between]):
        assert position <= start < end <= len(plain)
        rest, position = rest + plain[position:start], end
    rest += plain[position:]
    if case.spaced:
        return
    rows, numbers = rows_in(rest.decode(), case), [row[0] for row in case.rows]
    last = {row[0]: (number, *row) for number, row in zip(numbers, rows, strict=True)}
    assert sorted(last.values()) == found.products
    assert len(rows) + len(found.rejects) == found.entry.rows.read


def rows_in(text: str, case: Case) -> list[tuple[str, str, str]]:
    """Return the rows that Python's csv finds in the rest of a file."""
    header, *_ = records(case.head.decode().replace("\ufeff", ""), case.delimiter)[-1:]
    names = [bare_name(name) for name in header]
    places = [names.index(name) for name in ("sku", "name", "description")]
    found = []
    for record in records(text, case.delimiter):
        assert not any(record[len(header) :])
        padded = record + [""] * (len(header) - len(record))
        sku, name, description = (padded[place] for place in places)
        found.append((clean(sku), clean(name), unwrapped(description)))
    return found


def records(text: str, delimiter: str) -> list[list[str]]:
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    lines = io.StringIO(text, newline="")
    return [record for record in csv.reader(lines, delimiter=delimiter) if any(record)]


FILES, ARCHIVES = csv_files(), archives()
CASES = {case.name: case for case in (*FILES, *ARCHIVES)}


SLOW = [name for number, name in enumerate(CASES) if number % 8]
"""The cases that are left to `make test-slow`."""


@pytest.fixture(scope="module")
def found(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Found]:
    """Ingest all cases of this session together."""
    chosen = [
        CASES[item.callspec.params["name"]]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.obj is test_each_case_has_its_expected_result
    ]
    return ingest(chosen, tmp_path_factory.mktemp("corpus"))


def test_the_corpus_is_large_and_has_no_case_twice():
    assert len(FILES) >= 250
    assert sum(bool(case.refused) for case in ARCHIVES) >= 40
    assert len(CASES) == len(FILES) + len(ARCHIVES)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in CASES],
)
def test_each_case_has_its_expected_result(found: dict[str, Found], name: str):
    check(CASES[name], found[name])
