"""The files to measure with, each made once and kept in a folder."""

import csv
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import duckdb

from benchmarks.answers import MOST_ROWS_WORKED_OUT, Answer, right_answer
from benchmarks.next_day import write_next_day
from lfp_pipeline.cli.sample_file import write_sample

SEED = 7
OTHER_SEED = 8

_NEW_SHARE = 0.1
_DAMAGED_EVERY = 100
_OLD = 1_600_000_000
"""A modification time long ago: the file does not count as still being written."""

_DELTA = """
COPY (
    SELECT name, sku, description FROM (
        SELECT any_value(name) || '{suffix}' AS name, sku, 'Changed. ' || any_value(description)
            AS description
        FROM (FROM read_csv($path, header = true, all_varchar = true)
            USING SAMPLE reservoir({known} ROWS) REPEATABLE (1))
        GROUP BY sku
        UNION ALL
        SELECT 'New Product ' || i % 1000, 'new-product-' || i, 'Not known before: ' || i
        FROM range({new}) AS new_ones(i)
    ) ORDER BY hash(sku)
) TO '{delta}' (HEADER, DELIMITER ',')
"""


@dataclass(frozen=True)
class Sample:
    """A file, or a folder of files, and its facts.

    Attributes:
        skus: distinct ones among the good rows.
        names: distinct ones after the last row of each sku has won.
        rejects: rows that must not go in.
        new: of a delta, skus that are not known before.
    """

    path: Path
    rows: int
    skus: int
    names: int = 0
    rejects: int = 0
    new: int = 0


class Samples:
    """A folder of samples, each made when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def plain(self, rows: int, seed: int = SEED) -> Sample:
        """Return a CSV file. Files of other seeds have mostly the same skus, and other texts."""
        return self._generated(f"plain-{rows}-{seed}.csv", rows, seed)

    def next_day(self, rows: int, kind: str) -> Sample:
        """Return the file of the day after a CSV file; its `skus` are those of both files."""
        path = self.folder / f"next-{kind.replace(' ', '-').replace('%', 'percent')}-{rows}.csv"
        if (sample := _known(path)) is None:
            base = self.plain(rows)
            with _whole(path) as unfinished:
                written, new = write_next_day(base.path, unfinished, kind)
            os.utime(path, (_OLD + 1, _OLD + 1))
            sample = _remember(Sample(path, written, base.skus + new, new=new))
        return sample

    def packed(self, rows: int, kind: str) -> Sample:
        """Return the CSV file as `zip` or `gz`."""
        return self._generated(f"packed-{rows}-{SEED}.csv.{kind}", rows, SEED)

    def delta(self, rows: int, onto: int, *, same_names: bool = False) -> Sample:
        """Return a small file for a large table: nine in ten rows change skus from all over it.

        With the same names, only their descriptions are.
        """
        path = self.folder / f"delta-{rows}-onto-{onto}{'-same-names' * same_names}.csv"
        if (sample := _known(path)) is None:
            big = self.plain(onto)
            new = round(rows * _NEW_SHARE)
            with _whole(path) as unfinished, duckdb.connect() as connection:
                suffix = "" if same_names else " II"
                query = _DELTA.format(known=rows - new, new=new, delta=unfinished, suffix=suffix)
                connection.execute(query, {"path": str(big.path)})
                count = connection.read_csv(str(unfinished), header=True).count("*").fetchall()
            taken = int(count[0][0])  # A sku that was drawn twice is in the file once.
            sample = _remember(Sample(path, rows=taken, skus=taken, new=new))
        return sample

    def dirty(self, rows: int) -> Sample:
        """Return a file of which every hundredth row is damaged, in one of four ways."""
        path = self.folder / f"dirty-{rows}-{SEED}.csv"
        if (sample := _known(path)) is None:
            good = path.with_suffix(".good.csv")
            with _whole(path) as dirty, _whole(good) as clean:
                rejects = _damage(self.plain(rows).path, dirty, clean)
            answer = self.answer(good)
            sample = _remember(Sample(path, rows, answer.skus, answer.names or 0, rejects))
        return sample

    def many(self, files: int, rows_each: int) -> Sample:
        """Return a folder of small files: the parts of one file, in the order of their times."""
        folder = self.folder / f"many-{files}-{rows_each}"
        if (sample := _known(folder)) is None:
            whole = self.plain(files * rows_each)
            with _whole(folder) as unfinished:
                _split(whole.path, unfinished, rows_each)
            sample = _remember(Sample(folder, whole.rows, whole.skus, whole.names))
        return sample

    def answer(self, *files: Path) -> Answer:
        """Return the right answer after plain files, one after the other."""
        known = [_known(file) for file in files]
        rows = sum(sample.rows for sample in known if sample)
        if len(files) == 1 and known[0] and rows > MOST_ROWS_WORKED_OUT:
            return Answer(known[0].skus, known[0].skus, known[0].names)
        name = "+".join(file.stem for file in files)
        answer = right_answer(files, self.folder / f"{name}.answer.json")
        if len(files) == 1 and known[0]:
            counted = Answer(known[0].skus, known[0].skus, known[0].names)
            if wrong := counted.differences(answer):
                msg = f"{files[0]}: pandas and the generator differ: {wrong}"
                raise AssertionError(msg)
        return answer

    def _generated(self, name: str, rows: int, seed: int) -> Sample:
        path = self.folder / name
        if (sample := _known(path)) is None:
            facts_made = write_sample(path, rows, seed)
            os.utime(path, (_OLD, _OLD))
            sample = _remember(Sample(path, facts_made.rows, facts_made.skus, facts_made.names))
        return sample


def _facts(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _known(path: Path) -> Sample | None:
    if not (path.exists() and _facts(path).exists()):
        return None
    facts = json.loads(_facts(path).read_text())
    return Sample(path, **{field.name: facts[field.name] for field in fields(Sample)[1:]})


def _remember(sample: Sample) -> Sample:
    _facts(sample.path).write_text(json.dumps(asdict(sample) | {"path": sample.path.name}) + "\n")
    return sample


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Yield a path to write to; rename it to the target after the block."""
    unfinished = path.with_name(f"unfinished-{path.name}")
    if unfinished.is_dir():
        shutil.rmtree(unfinished)
    yield unfinished
    unfinished.replace(path)


def _damage(plain: Path, dirty: Path, clean: Path) -> int:
    rejects = 0
    with (
        plain.open(encoding="utf-8", newline="") as source,
        dirty.open("wb") as damaged,
        clean.open("w", encoding="utf-8", newline="") as good,
    ):
        write_good = csv.writer(good).writerow
        records = csv.reader(source)
        write_good(header := next(records))
        damaged.write((",".join(header) + "\r\n").encode())
        for number, (name, sku, description) in enumerate(records):
            if number % _DAMAGED_EVERY == _DAMAGED_EVERY - 1:
                damaged.write(_damaged(number // _DAMAGED_EVERY, name, sku))
                rejects += 1
            else:
                write_good((name, sku, description))
                quoted = ['"' + text.replace('"', '""') + '"' for text in (name, description)]
                damaged.write(f"{quoted[0]},{sku},{quoted[1]}\r\n".encode())
    return rejects


def _damaged(number: int, name: str, sku: str) -> bytes:
    quoted = f'"{name}"'
    match number % 4:
        case 0:
            record = f"{quoted},{sku}"  # A column is missing.
        case 1:
            record = f"{quoted},{sku},one,too many"
        case 2:
            record = f"{quoted},,without a sku"
        case _:
            return f"{quoted},{sku},".encode() + b"not \xff UTF-8\r\n"
    return f"{record}\r\n".encode()


def _split(whole: Path, folder: Path, rows_each: int) -> None:
    folder.mkdir()
    with whole.open(encoding="utf-8", newline="") as source:
        records = csv.reader(source)
        header = next(records)
        part: list[list[str]] = []
        number = 0
        for record in records:
            part.append(record)
            if len(part) == rows_each:
                path = folder / f"part-{number:05}.csv"
                with path.open("w", encoding="utf-8", newline="") as file:
                    csv.writer(file).writerows([header, *part])
                os.utime(path, (_OLD + number, _OLD + number))
                part = []
                number += 1
