"""Invented product files of any size, whose facts are known without reading them.

Each row is drawn as a few numbers, and each number picks a ready piece of CSV. The facts are
counted from the numbers.

The n-th new sku is the same for every seed: another seed is a new delivery of the same products.
"""

import argparse
import gzip
import json
import time
import zipfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from heapq import nlargest
from pathlib import Path
from random import Random

from lfp_pipeline.cli.sample_text import (
    AFFIX_DRAWS,
    AFFIXES,
    FIRST_NAME_DRAWS,
    FIRST_NAMES,
    LAST_NAME_DRAWS,
    LAST_NAMES,
    SKU_ENDS,
    SKU_STARTS,
    make_openings_and_closings,
)
from lfp_pipeline.settings import load_settings

Write = Callable[[bytes], object]

CHUNK_ROWS = 100_000
TOP_NAMES = 3

# The shares and weights are fitted to a well-known file of 500,000 products: 466,693 skus, 212,751
# names, 230 times Michael Smith, 173 Michael Johnson, 157 Robert Smith, six in ten rows with LF.
REPEATED_ROWS = 0.0667

MOST_SKUS = len(SKU_STARTS) * len(SKU_ENDS)
_SKU_SHUFFLE = 2**31 - 1
"""A prime beyond MOST_SKUS: multiplying by it, modulo MOST_SKUS, shuffles the skus one to one."""

_NAMES_OF_AFFIX = len(FIRST_NAMES) * len(LAST_NAMES)
_QUOTES = ['"' if "," in before + after else "" for before, after in AFFIXES]
_BEFORE_NAME = [quote + before for quote, (before, _) in zip(_QUOTES, AFFIXES, strict=True)]
_AFTER_NAME = [after + quote for quote, (_, after) in zip(_QUOTES, AFFIXES, strict=True)]


@dataclass(frozen=True)
class SampleFacts:
    """What a correct reader finds in a sample.

    Attributes:
        rows: the records, without the header.
        skus: the distinct skus.
        names: the distinct names once the last row of each sku has won.
        top_names: the most frequent of these names with their counts; equal counts by name.
    """

    rows: int
    skus: int
    names: int
    top_names: list[tuple[str, int]]


def write_sample(path: Path, rows: int, seed: int) -> SampleFacts:
    """Write a product file; the same rows and seed always give the same records.

    Args:
        path: the file; `.zip` and `.gz` are compressed. The file appears only once it is complete.
        rows: the number of records, at most MOST_SKUS.
        seed: any number from 0 up.

    Returns:
        The facts of the file.

    Raises:
        ValueError: there cannot be so many rows, or the seed is negative.
    """
    if not 0 <= rows <= MOST_SKUS:
        msg = f"rows must be from 0 to {MOST_SKUS:,}, not {rows:,}"
        raise ValueError(msg)
    if seed < 0:
        msg = f"the seed must be 0 or more, not {seed}"
        raise ValueError(msg)
    sample = _Sample(seed)
    with _replacing(path) as write:
        write(b"name,sku,description\r\n")
        for start in range(0, rows, CHUNK_ROWS):
            write("".join(sample.records(min(CHUNK_ROWS, rows - start))).encode())
    return _facts(rows, sample.name_of_sku)


class _Sample:
    """The records of one seed, in order.

    Attributes:
        name_of_sku: by the number of a sku, the number of the name in its last record.
    """

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)  # noqa: S311 (nothing here is secret)
        self._openings, self._closings = make_openings_and_closings(self._rng)
        self.name_of_sku = array("i")

    def records(self, size: int) -> Iterator[str]:
        """Yield the next records as CSV."""
        choices = self._rng.choices
        affixes = choices(AFFIX_DRAWS, k=size)
        firsts = choices(FIRST_NAME_DRAWS, k=size)
        lasts = choices(LAST_NAME_DRAWS, k=size)
        skus = self._draw_skus(affixes, firsts, lasts)
        openings, closings = choices(self._openings, k=size), choices(self._closings, k=size)
        ends = len(SKU_ENDS)
        for affix, first, last, sku, (opening, opening_quote), (closing, closing_quote) in zip(
            affixes, firsts, lasts, skus, openings, closings, strict=True
        ):
            quote = opening_quote or closing_quote
            number = (sku + 1) * _SKU_SHUFFLE % MOST_SKUS
            yield (
                f"{_BEFORE_NAME[affix]}{FIRST_NAMES[first]} {LAST_NAMES[last]}{_AFTER_NAME[affix]},"
                f"{SKU_STARTS[number // ends]}{SKU_ENDS[number % ends]},"
                f"{quote}{opening}{closing}{quote}\r\n"
            )

    def _draw_skus(
        self, affixes: Sequence[int], firsts: Sequence[int], lasts: Sequence[int]
    ) -> Iterator[int]:
        """Yield the number of each record's sku, a new or a repeated one, and note its name."""
        draw, names, known = self._rng.random, self.name_of_sku, len(self.name_of_sku)
        for affix, first, last in zip(affixes, firsts, lasts, strict=True):
            name = affix * _NAMES_OF_AFFIX + first * len(LAST_NAMES) + last
            if draw() >= REPEATED_ROWS or not known:
                names.append(name)
                sku = known
                known += 1
            else:
                sku = int(draw() * known)
                names[sku] = name
            yield sku


def _facts(rows: int, name_of_sku: Sequence[int]) -> SampleFacts:
    counts = Counter(name_of_sku)
    enough = min(nlargest(TOP_NAMES, counts.values()), default=1)
    ranked = sorted((-count, _name(name)) for name, count in counts.items() if count >= enough)
    return SampleFacts(
        rows=rows,
        skus=len(name_of_sku),
        names=len(counts),
        top_names=[(name, -count) for count, name in ranked[:TOP_NAMES]],
    )


def _name(number: int) -> str:
    affix, rest = divmod(number, _NAMES_OF_AFFIX)
    first, last = divmod(rest, len(LAST_NAMES))
    before, after = AFFIXES[affix]
    return f"{before}{FIRST_NAMES[first]} {LAST_NAMES[last]}{after}"


@contextmanager
def _replacing(path: Path) -> Iterator[Write]:
    # The dot hides the unfinished file from programs that watch the folder.
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with _packing(unfinished, path.suffix) as write:
            yield write
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def _packing(path: Path, suffix: str) -> Iterator[Write]:
    with path.open("wb") as file:
        match suffix:
            case ".zip":
                with (
                    zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
                    archive.open("products.csv", "w", force_zip64=True) as member,
                ):
                    yield member.write
            case ".gz":
                with gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as packed:
                    yield packed.write
            case _:
                yield file.write


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a sample, and print its facts."""
    parser = argparse.ArgumentParser(prog="python -m lfp_pipeline.cli.sample", description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, help="default: the inbox")
    parser.add_argument("--truth", type=Path, help="also write the facts, as JSON")
    options = parser.parse_args(arguments)
    path = options.out or sample_in(load_settings().inbox_dir, options.rows, options.seed)

    started = time.perf_counter()
    facts = write_sample(path, options.rows, options.seed)
    seconds = time.perf_counter() - started

    print(f"{path}: {path.stat().st_size / 1e6:,.1f} MB in {seconds:.1f} s")
    _print_facts(facts)
    if options.truth:
        with _replacing(options.truth) as write:
            write(json.dumps(asdict(facts), ensure_ascii=False, indent=2).encode() + b"\n")


def sample_in(folder: Path, rows: int, seed: int) -> Path:
    """Return the path of the zipped sample of that size and seed in a folder."""
    return folder / f"products-{rows}-{seed}.csv.zip"


def _print_facts(facts: SampleFacts) -> None:
    print(f"{facts.rows:>12,} rows")
    print(f"{facts.skus:>12,} distinct skus")
    print(f"{facts.names:>12,} distinct names once the last row of each sku has won; the top:")
    for name, count in facts.top_names:
        print(f"{count:>12,} {name}")


if __name__ == "__main__":
    main()
