"""Whether a case went as it must: told by the oracle, by Python's csv, and by the laws."""

import csv
import io
import logging
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.ingest.ingest import ingest
from lfp_pipeline.model.delivery import Delivery, TextFormat
from lfp_pipeline.reading.dialect import Dialect
from lfp_pipeline.reading.loading import dialect_of
from lfp_pipeline.reading.plain_text import header_check, plain_texts
from lfp_pipeline.reading.reader import read_delivery
from lfp_pipeline.reading.unpacking import contents, is_packed
from lfp_pipeline.reading.workspace import WorkspaceLimits, open_workspace
from lfp_pipeline.settings import Settings
from lfp_pipeline.sources.base import LocalFile
from lfp_pipeline.warehouse import direct_load
from testing.csv_oracle.cells import BLANKS
from testing.csv_oracle.contents import Contents, clean, expected_contents, unwrapped
from testing.csv_oracle.records import AnotherHeaderError, Oracle, bare_name
from testing.reader import delivery_at
from verification.fuzz.cases import (
    MOST_UNPACKED_BYTES,
    WITH_OTHER_MEMBERS,
    Case,
    File,
    half_of,
)

LOG = logging.getLogger("fuzz")
LOG.addHandler(logging.NullHandler())
LOG.propagate = False

_COLUMNS = ["sku", "name", "description"]
_LONGEST = 10**7
_CSV_READS_IT_OTHERWISE = re.compile(rb' "|" ')

_WINNERS = "SELECT row_number, sku, name, description FROM winners ORDER BY row_number"
_REJECTS = "SELECT row_number, byte_start, byte_end, reason, raw FROM rejects ORDER BY row_number"

Refusal = str
Outcome = str


class WrongError(Exception):
    """A case did not go as it must."""


def judge(case: Case) -> list[Outcome]:
    """Try a case, and tell what became of each of its files.

    Raises:
        WrongError: not what must.
        Exception: any other is wrong, too.
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
        max_sku_length=_LONGEST,
        max_name_length=_LONGEST,
        max_description_length=_LONGEST,
        max_unpacked_bytes=MOST_UNPACKED_BYTES,
        max_record_bytes=case.record_bytes,
        null_tokens=case.null_tokens,
        require_all_cells=case.require_all_cells,
    )


def _read(case: Case, folder: Path) -> list[Outcome]:
    """Each file into the same workspace: nothing of one may show in the next."""
    settings, outcomes = _settings(case, folder), []
    limits = WorkspaceLimits(case.threads, "1GB")
    with open_workspace([folder], settings.work_dir, limits) as workspace:
        connection = workspace.connection
        for number, file in enumerate(case.files):
            path = folder / f"{number}.raw"
            path.write_bytes(file.raw)
            truth = _truth(file, path, case, settings)
            with workspace.folder_for(number) as place:
                try:
                    delivery = delivery_at(path)
                    texts = plain_texts(delivery, place, settings)
                    delivery = delivery_at(path)
                    read = read_delivery(delivery, texts, connection, place, settings, LOG)
                except DeliveryRefusedError as error:
                    outcomes.append(_refused(file, truth, str(error)))
                    continue
            found = Contents(
                read.rows_read,
                connection.execute(_WINNERS).fetchall(),
                connection.execute(_REJECTS).fetchall(),
                read.skipped.blank,
                read.skipped.repeated_headers,
            )
            _assert_same(found, truth, number)
            outcomes.append(f"{'mended' if read.mended else 'clean'} {_reasons(found)}")
    return outcomes


def _refused(file: File, truth: Contents | Refusal, refusal: Refusal) -> Outcome:
    if isinstance(truth, Contents):
        msg = f"refused, but {truth.rows_read} records are to be read: {refusal}"
        raise WrongError(msg)
    return f"refused {file.packing if file.damage is not None else ''}: {_short(refusal)}"


def _short(text: str) -> str:
    return re.sub(r"[\d,.]+", "0", text)[:40]


def _reasons(found: Contents) -> str:
    return ", ".join(sorted({reason for _, reason in found.reasons}))


def _assert_same(found: Contents, truth: Contents | Refusal, number: int) -> None:
    if isinstance(truth, Refusal):
        msg = f"file {number} was read, but must be refused: {truth}"
        raise WrongError(msg)
    for what in ("rows_read", "rejects", "winners", "blank", "headers"):
        here, there = getattr(found, what), getattr(truth, what)
        if here != there:
            if isinstance(here, list):
                here = [one for one in here if one not in there][:3]
                there = [one for one in there if one not in getattr(found, what)][:3]
            msg = f"file {number}, {what}: found {here!r:.500}, but true is {there!r:.500}"
            raise WrongError(msg)


def _truth(file: File, path: Path, case: Case, settings: Settings) -> Contents | Refusal:
    """What is in a file; or why it must, or may, be refused."""
    if file.damage is None and file.start is not None:
        if file.packing.endswith("bomb"):
            return "larger than"
        return _contents(file.text, file.start, file.delimiter, file.header, case)
    try:
        _assert_unpacked_rightly(file, path, settings)
        with tempfile.TemporaryDirectory() as folder:
            text, *others = plain_texts(delivery_at(path), Path(folder), settings)
            if others:  # Litter that is none any more; it has no header.
                return "the header"
            dialect, data = dialect_of(text, settings), text.path.read_bytes()
    except DeliveryRefusedError as error:
        return str(error)
    return _contents(data, dialect.body_start, dialect.delimiter, _known_names(dialect), case)


def _assert_unpacked_rightly(file: File, path: Path, settings: Settings) -> None:
    """What was packed and damaged comes out as it went in, or not at all."""
    if file.damage is None or file.packing == "plain" or not is_packed(path):
        return
    found = contents(path, MOST_UNPACKED_BYTES, header_check(TextFormat(), settings))
    several = [b"".join(content.pieces) for content in found]
    if len(several) > 1:  # Litter by whose name nobody can tell it any more.
        return
    (out,), true = several, file.encoded
    allowed = [true]
    if " in two" in file.packing:  # Of two that follow one another, one may be lost.
        allowed += [true[: half_of(true)], true[half_of(true) :]]
    if file.packing in WITH_OTHER_MEMBERS:  # Names are not checked: which one is read may change.
        allowed.append(b"x")
    if out not in allowed:
        msg = f"{len(out)} bytes come out of a damaged file that are not those that went in"
        raise WrongError(msg)


def _known_names(dialect: Dialect) -> tuple[str, ...]:
    """The header with our names, and others for the columns that we do not know."""
    positions = {index: name for name, index in dialect.columns.positions.items()}
    names = enumerate(dialect.columns.header)
    return tuple(positions.get(index, name and f"other {index}") for index, name in names)


def _contents(
    data: bytes, start: int, delimiter: str, header: Sequence[str], case: Case
) -> Contents | Refusal:
    require_all = case.require_all_cells
    try:
        truth = expected_contents(
            data,
            start,
            delimiter,
            header,
            case.record_bytes,
            require_all=require_all,
            null_tokens=case.null_tokens,
        )
    except AnotherHeaderError:
        return "another order"
    if b'\\"' in data[start:]:
        oracle = Oracle(data, start, delimiter, header, case.record_bytes, require_all=require_all)
        if oracle.habits.backslash:  # Python's csv drops every backslash, or none.
            return truth
    _assert_csv_agrees(data, start, delimiter, header, truth, case.null_tokens)
    return truth


def _assert_csv_agrees(
    data: bytes,
    start: int,
    delimiter: str,
    header: Sequence[str],
    truth: Contents,
    null_tokens: Sequence[str],
) -> None:
    """Without the rejects, the bytes are the accepted rows, by Python's csv, too."""
    rest, position = [], start
    for _, first, end, _, _ in truth.rejects:
        rest.append(data[position:first])
        position = end
    good = b"".join([*rest, data[position:]])
    if _CSV_READS_IT_OTHERWISE.search(good):
        return
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST))
    rows = csv.reader(io.StringIO(good.decode(errors="replace"), newline=""), delimiter=delimiter)
    last = {}
    for row in rows:
        padded = row + [""] * (len(header) - len(row))
        values = {
            name: "" if (value := padded[header.index(name)]) in null_tokens else value
            for name in _COLUMNS
        }
        sku, name = (clean(values[key], null_tokens) for key in ("sku", "name"))
        product = (sku, name, unwrapped(values["description"]))
        is_header = [bare_name(value) for value in product] == _COLUMNS
        if not is_header and not all(map(_is_blank, row)):
            last[sku] = product
    if sorted(last.values()) != sorted(truth.products):
        msg = "the oracle and Python's csv differ"
        raise WrongError(msg)


# Into the tables


def _is_blank(value: str) -> bool:
    """Whether nothing is in a value; after white space, quotes around nothing are part of it."""
    bare = value.strip("".join(BLANKS))
    is_quoted = len(bare) > 1 and bare[0] == bare[-1] == '"'
    return all(mark in BLANKS for mark in (bare[1:-1] if is_quoted else bare))


@contextmanager
def _way(case: Case) -> Iterator[None]:
    if case.way == "directly":
        with (
            mock.patch.object(direct_load, "LEAST_BYTES", 0),
            mock.patch.object(direct_load, "should_load_directly", return_value=True),
        ):
            yield
    else:
        yield


def _ingest(case: Case, folder: Path) -> list[Outcome]:
    (folder / "inbox").mkdir()
    engine = Engine(_settings(case, folder))
    truths: dict[Delivery, Contents | Refusal] = {}
    outcomes = []
    for file in case.files:
        path = folder / "landing"
        path.write_bytes(file.raw)
        os.utime(path, ns=(file.microseconds * 1000,) * 2)
        delivery = engine.land(LocalFile(path), file.key, LOG)
        truth = _truth(file, delivery.path, case, engine.settings)
        if isinstance(truth, Contents) and truth.rows_read:
            share = len(truth.rejects) / truth.rows_read
            if share > case.max_reject_share:
                truth = "too many rejects"
        truths[delivery] = truth
    with _way(case):
        together = [list(truths)] if case.way == "merge" else [[one] for one in truths]
        done = [one for batch in together for one in _ingest_batch(engine, batch)]
    for delivery, status, error in done:
        truth = truths[delivery]
        refusal = truth if isinstance(truth, Refusal) else ""
        if status != ("refused" if refusal else "merged"):
            msg = f"{delivery.delivery_id} was {status} ({error}), true is: {refusal or 'merged'}"
            raise WrongError(msg)
        outcomes.append(f"{case.way} {status} {_short(error or '')}")
    _assert_tables(engine, truths)
    return outcomes


def _ingest_batch(
    engine: Engine, batch: Sequence[Delivery]
) -> list[tuple[Delivery, str, str | None]]:
    done = ingest(batch, engine.settings, engine.warehouse, LOG)
    return [(one.delivery, str(one.account.status), one.account.error) for one in done]


def _assert_tables(engine: Engine, truths: dict[Delivery, Contents | Refusal]) -> None:
    best: dict[str, tuple[Any, ...]] = {}
    rejects: list[tuple[Any, ...]] = []
    for delivery, truth in truths.items():
        if isinstance(truth, Refusal):
            continue
        id_ = delivery.delivery_id
        rejects += [(id_, *reject) for reject in truth.rejects]
        for number, sku, name, description in truth.winners:
            found = (delivery.delivered_at, id_, number, sku, name, description)
            best[sku] = max(best.get(sku, found), found)
    products = sorted((found[3:], found[1], found[2]) for found in best.values())
    counts = sorted(Counter(found[4] for found in best.values()).items())
    merged = {one.delivery_id for one, truth in truths.items() if isinstance(truth, Contents)}
    with duckdb.connect(engine.warehouse.path, read_only=True) as connection:

        def rows(sql: str) -> list[tuple[Any, ...]]:
            return connection.execute(sql).fetchall()

        sql = "SELECT (sku, name, description), delivery_id, row_number FROM products"
        _assert_equal("products", sorted(rows(sql)), products)
        sql = "SELECT name, no_of_products FROM name_counts"
        _assert_equal("name_counts", sorted(rows(sql)), counts)
        sql = "SELECT delivery_id, row_number, byte_start, byte_end, reason, raw FROM rejected_rows"
        kept = [row for row in sorted(rows(sql)) if row[0] in merged]
        _assert_equal("rejected_rows", kept, sorted(rejects))
        sql = """
            SELECT rows_read - rows_inserted - rows_updated - rows_unchanged - rows_superseded
                - rows_stale - rows_rejected
            FROM deliveries WHERE status = 'merged'
        """
        _assert_equal("accounts", rows(sql), [(0,)] * len(merged))


def _assert_equal(what: str, found: list[Any], true: list[Any]) -> None:
    if found != true:
        odd = [one for one in found if one not in true][:3]
        lost = [one for one in true if one not in found][:3]
        msg = f"{what}: {len(found)} rows, true are {len(true)}; {odd!r:.500} for {lost!r:.500}"
        raise WrongError(msg)
