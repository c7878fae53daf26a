"""Invented product files of any size, whose facts are known without reading them.

Each row is drawn as a few integers, and each integer picks a ready piece of CSV. So a chunk of rows
is one join of bytes, and the facts are counted from the integers.

The n-th new sku is the same for every seed: another seed is a new delivery of the same products.
"""

import gzip
import json
import math
import os
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from heapq import nlargest
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence
from numpy.typing import NDArray

from lfp_pipeline.cli.output import UsageProblem, say
from lfp_pipeline.cli.progress_bar import showing_rows
from lfp_pipeline.cli.sample_text import AFFIXES, FIRST_NAMES, LAST_NAMES, WORDS
from lfp_pipeline.common.text import format_size
from lfp_pipeline.settings import Settings

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Pieces = NDArray[np.object_]
Write = Callable[[bytes], object]

CHUNK_ROWS = 100_000
TOP_NAMES = 3

# The shares and weights are fitted to a well-known file of 500,000 products: 466,693 skus, 212,751
# names, 230 times Michael Smith, 173 Michael Johnson, 157 Robert Smith, six in ten rows with LF.
REPEATED_ROWS = 0.0667
AFFIXED_NAMES = 0.04
BROKEN_LINES = 0.32
SENTENCE_COUNTS = (0.03, 0.07, 0.2, 0.7)
LONGEST_SKU_WORD = 5

SENTENCES = 8192
FEWEST_WORDS, MOST_WORDS = 4, 10
# With a full stop, two quotes and a separator, four such sentences have at most 199 characters.
LONGEST_SENTENCE = 46
SENTENCES_PER_ODDITY = 256


def _pieces(texts: Iterable[str]) -> Pieces:
    return np.array([text.encode() for text in texts], dtype=object)


def _weights(size: int, steepness: int, evenness: float) -> Floats:
    weights = 1 / (np.arange(size) + steepness) + evenness
    shares: Floats = weights / weights.sum()
    return shares


NAME_SHAPE = (len(AFFIXES), len(FIRST_NAMES), len(LAST_NAMES))
FIRST_NAME_WEIGHTS = _weights(len(FIRST_NAMES), steepness=2, evenness=1 / 30)
LAST_NAME_WEIGHTS = _weights(len(LAST_NAMES), steepness=3, evenness=1 / 50)

QUOTES = ['"' if "," in before + after else "" for before, after in AFFIXES]
BEFORE_NAME = _pieces(quote + before for quote, (before, _) in zip(QUOTES, AFFIXES, strict=True))
FIRST_NAME = _pieces(f"{first} " for first in FIRST_NAMES)
LAST_NAME = _pieces(LAST_NAMES)
AFTER_NAME = _pieces(f"{after}{q}," for q, (_, after) in zip(QUOTES, AFFIXES, strict=True))

SHORT_WORDS = [word for word in WORDS if len(word) <= LONGEST_SKU_WORD]
SKU_START = _pieces(SHORT_WORDS)
SKU_MIDDLE = _pieces(f"-{word}" for word in SHORT_WORDS)
SKU_END = _pieces(
    ["", *(f"-{word}" for word in SHORT_WORDS), *(f"-{a}-{b}" for a, b in pairwise(SHORT_WORDS))]
)
SKU_SHAPE = (SKU_START.size, SKU_MIDDLE.size, SKU_END.size)
MOST_SKUS = math.prod(SKU_SHAPE)
# A prime beyond MOST_SKUS: multiplying by it, modulo MOST_SKUS, shuffles the skus one to one.
SKU_SHUFFLE = 2**31 - 1

BEFORE_DESCRIPTION = _pieces([",", ',"'])
AFTER_DESCRIPTION = _pieces(["\r\n", '"\r\n'])
ABSENT, FIRST, SAME_LINE, NEW_LINE = range(4)


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


def write_sample(
    path: Path, rows: int, seed: int, on_rows: Callable[[int], object] = lambda _: None
) -> SampleFacts:
    """Write a product file; the same rows and seed always give the same records.

    Args:
        path: the file; `.zip` and `.gz` are compressed. The file appears only once it is complete.
        rows: the number of records, at most MOST_SKUS.
        seed: any number from 0 up.
        on_rows: called with the number of rows so far.

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
    sentences = _make_sentences(_stream(seed))
    last_names = np.zeros(rows, np.int32)
    skus = 0
    with _replacing(path) as write:
        write(b"name,sku,description\r\n")
        for chunk, start in enumerate(range(0, rows, CHUNK_ROWS)):
            rng = _stream(seed, chunk)
            size = min(CHUNK_ROWS, rows - start)
            name = _draw_names(rng, size)
            sku, skus = _draw_skus(rng, size, skus)
            # NumPy assigns in order: of the rows with one sku, the last wins here, too.
            last_names[sku] = np.ravel_multi_index(name, NAME_SHAPE)
            descriptions = _draw_descriptions(rng, size, sentences)
            write(_join([*_render(name, sku), *descriptions]))
            on_rows(start + size)
    return _facts(rows, last_names[:skus])


def _stream(seed: int, *key: int) -> Generator:
    return Generator(PCG64(SeedSequence(seed, spawn_key=key)))


def _join(columns: Sequence[Pieces]) -> bytes:
    return b"".join(np.column_stack(columns).ravel().tolist())


def _draw_names(rng: Generator, size: int) -> tuple[Ints, Ints, Ints]:
    affix = rng.integers(1, len(AFFIXES), size) * (rng.random(size) < AFFIXED_NAMES)
    first = rng.choice(len(FIRST_NAMES), size, p=FIRST_NAME_WEIGHTS)
    last = rng.choice(len(LAST_NAMES), size, p=LAST_NAME_WEIGHTS)
    return affix, first, last


def _draw_skus(rng: Generator, size: int, known: int) -> tuple[Ints, int]:
    new = rng.random(size) >= REPEATED_ROWS
    new[:1] |= known == 0
    so_far = known + np.cumsum(new)
    earlier = (rng.random(size) * so_far).astype(np.int64)
    return np.where(new, so_far - 1, earlier), int(so_far[-1])


def _render(name: tuple[Ints, Ints, Ints], sku: Ints) -> list[Pieces]:
    affix, first, last = name
    start, middle, end = np.unravel_index((sku + 1) * SKU_SHUFFLE % MOST_SKUS, SKU_SHAPE)
    return [
        *(BEFORE_NAME[affix], FIRST_NAME[first], LAST_NAME[last], AFTER_NAME[affix]),
        *(SKU_START[start], SKU_MIDDLE[middle], SKU_END[end]),
    ]


@dataclass(frozen=True)
class _Sentences:
    pieces: Pieces  # By their position in the description, then by number.
    quoted: Bools


def _make_sentences(rng: Generator) -> _Sentences:
    picks = rng.integers(len(WORDS), size=(SENTENCES, MOST_WORDS)).tolist()
    counts = rng.integers(FEWEST_WORDS, MOST_WORDS, SENTENCES, endpoint=True).tolist()
    texts = [
        _sentence([WORDS[word] for word in pick[:count]], number % SENTENCES_PER_ODDITY)
        for number, (pick, count) in enumerate(zip(picks, counts, strict=True))
    ]
    absent = _pieces([""] * SENTENCES)
    present = [_pieces(lead + text for text in texts) for lead in ("", " ", "\n")]
    return _Sentences(
        pieces=np.stack([absent, *present]),
        quoted=np.array(["," in text or '"' in text for text in texts]),
    )


def _sentence(words: Sequence[str], oddity: int) -> str:
    first, *others = words
    rest = f"{' '.join(others)} "[: LONGEST_SENTENCE - len(first)].rpartition(" ")[0]
    match oddity:
        case 0:
            return f"{first.capitalize()}, {rest}."
        case 1:
            return f'""{first.capitalize()}"" {rest}.'
        case _:
            return f"{first.capitalize()} {rest}."


def _draw_descriptions(rng: Generator, size: int, sentences: _Sentences) -> list[Pieces]:
    slots = len(SENTENCE_COUNTS)
    count = 1 + rng.choice(slots, size, p=SENTENCE_COUNTS)
    place = np.where(rng.random((size, slots)) < BROKEN_LINES, NEW_LINE, SAME_LINE)
    place[:, 0] = FIRST
    place[np.arange(slots) >= count[:, None]] = ABSENT
    sentence = rng.integers(SENTENCES, size=(size, slots))
    odd = (place != ABSENT) & sentences.quoted[sentence]
    quoted = (odd | (place == NEW_LINE)).any(axis=1).astype(np.int64)
    texts = sentences.pieces[place, sentence]
    return [BEFORE_DESCRIPTION[quoted], *texts.T, AFTER_DESCRIPTION[quoted]]


def _facts(rows: int, last_names: NDArray[np.int32]) -> SampleFacts:
    counts = np.bincount(last_names, minlength=math.prod(NAME_SHAPE))
    present = counts[counts > 0]
    enough = min(nlargest(TOP_NAMES, present.tolist()), default=1)
    ranked = sorted((-int(counts[name]), _name(name)) for name in np.flatnonzero(counts >= enough))
    return SampleFacts(
        rows=rows,
        skus=last_names.size,
        names=present.size,
        top_names=[(name, -count) for count, name in ranked[:TOP_NAMES]],
    )


def _name(number: np.int64) -> str:
    affix, first, last = np.unravel_index(number, NAME_SHAPE)
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


def sample_in(folder: Path, rows: int, seed: int) -> Path:
    """Return the path of the zipped sample of that size and seed in a folder."""
    return folder / f"products-{rows}-{seed}.csv.zip"


def make_sample(path: Path, rows: int, seed: int, facts_file: Path | None = None) -> dict[str, Any]:
    """Write a sample, say so, and return its facts; write them into a file, too, if wanted.

    Raises:
        UsageProblem: there cannot be so many rows.
    """
    started = time.perf_counter()
    with showing_rows(rows) as on_rows:
        try:
            facts = asdict(write_sample(path, rows, seed, on_rows))
        except ValueError as error:
            raise UsageProblem(str(error)) from None
    if facts_file:
        with _replacing(facts_file) as write:
            write(json.dumps(facts, ensure_ascii=False, indent=2).encode() + b"\n")
    seconds = time.perf_counter() - started
    say(f"Made {os.path.relpath(path)}: {format_size(path.stat().st_size)} in {seconds:.1f} s")
    return facts


def existing_sample(settings: Settings, rows: int, seed: int) -> tuple[Path, dict[str, Any]]:
    """Return the sample of that size in the inbox and its facts; make it if it is missing."""
    sample = sample_in(settings.inbox_dir, rows, seed)
    facts_file = settings.data_dir / "demo" / f"{sample.name}.json"
    if not (sample.exists() and facts_file.exists()):
        return sample, make_sample(sample, rows, seed, facts_file)
    say(f"{os.path.relpath(sample)} exists already.")
    facts: dict[str, Any] = json.loads(facts_file.read_text())
    return sample, facts
