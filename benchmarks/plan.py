"""The cases to measure, for the requested sizes and groups."""

import multiprocessing
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import floor, ours
from benchmarks.aged_folder import aged_folder
from benchmarks.answers import MOST_ROWS_WORKED_OUT, Answer
from benchmarks.dagster_command import prepared_instance
from benchmarks.measure import Work, measure
from benchmarks.next_day import KINDS
from benchmarks.peers import NotInstalledError, Task, compare, installed
from benchmarks.samples import OTHER_SEED, SEED, Samples

WORKS = (
    *("first", "nextday", "packed", "dirty", "delta", "five", "many", "burst", "job"),
    *("published", "housekeeping"),
)

_PASTS = ((0, 0), (2_000, 5_000), (20_000, 50_000))
"""The number of files in the inbox, and of their deliveries."""

_FEED_VERSIONS = (500, 5_000, 50_000)

_FIVE_FILES = 5
_MOST_ROWS_OF_FIVE = 1_000_000
_DELTA_SHARE = 5
"""A delta is merged into tables that are at least so many times as large."""


@dataclass(frozen=True)
class Options:
    """The options of the command.

    Attributes:
        groups: of floor, work, peers.
        sizes: rows of the files.
        peers: modules of benchmarks.peers.
        steps: of first, again, changed: what a peer is given in turn.
        deltas: rows of small files that go onto large tables.
        many: how many small files there are, and their rows.
        folder: for samples and all else that is kept between runs.
    """

    groups: Sequence[str]
    sizes: Sequence[int]
    works: Sequence[str]
    peers: Sequence[str]
    steps: Sequence[str]
    deltas: Sequence[int]
    many: tuple[int, int]
    folder: Path

    @property
    def scratch(self) -> Path:
        """The folder for the folders of single measurements."""
        return self.folder / "scratch"


@dataclass(frozen=True)
class Case:
    """One case to measure; see `results.Record` for the meaning of the fields."""

    group: str
    name: str
    rows: int
    work: Work | None
    version: str = ""
    floor: tuple[str, ...] = ()
    error: str = ""


def planned(options: Options) -> Iterator[Case]:
    """Yield all cases, after making their samples and large tables."""
    samples = Samples(options.folder / "samples")
    for rows in options.sizes:
        if "floor" in options.groups:
            yield from _floors(options, samples, rows)
        if "work" in options.groups:
            yield from _works(options, samples, rows)
    yield from _independent_of_size(options, samples)
    if "peers" in options.groups:
        yield from _peers(options, samples)


def _load(rows: int) -> str:
    return f"bare load of {rows:,} rows"


def _load_as_duckdb_compresses(rows: int) -> str:
    return f"bare load of {rows:,} rows, as DuckDB compresses them"


def _probe(delta: int, rows: int) -> str:
    return f"bare probe for {delta:,} skus in {rows:,}"


_EMPTY_JOB = "empty dagster job"


def _floors(options: Options, samples: Samples, rows: int) -> Iterator[Case]:
    plain = samples.plain(rows)
    yield Case("floor", _load(rows), rows, partial(floor.bare_load, plain))
    work = partial(floor.bare_load, plain, duckdb_compresses=True)
    yield Case("floor", _load_as_duckdb_compresses(rows), rows, work)
    for delta in _deltas(options, rows):
        work = partial(floor.probe, _big(options, samples, rows), samples.delta(delta, rows))
        yield Case("floor", _probe(delta, rows), rows, work)


def _works(options: Options, samples: Samples, rows: int) -> Iterator[Case]:
    plain = samples.plain(rows)
    right = samples.answer(plain.path)
    load = (_load(rows),)
    for chosen, name, plain_work in (
        ("first", "plain file", ours.first_and_again),
        ("published", "published", ours.published),
    ):
        if chosen in options.works:
            yield Case("work", name, rows, partial(plain_work, plain, right), floor=load)
    for chosen, cases in (("nextday", _next_days), ("packed", _packed)):
        if chosen in options.works:
            yield from cases(samples, rows)
    if "dirty" in options.works and rows <= MOST_ROWS_WORKED_OUT:
        dirty = samples.dirty(rows)
        good = samples.answer(dirty.path.with_suffix(".good.csv"))
        work = partial(ours.one_file, dirty, good)
        yield Case("work", "dirty file, 1 % rejects", rows, work, floor=load)
    for delta in _deltas(options, rows):
        big = _big(options, samples, rows).parent
        for same_names, suffix in ((False, ""), (True, ", names unchanged")):
            small = samples.delta(delta, rows, same_names=same_names)
            work = partial(ours.delta_onto_big, small, big)
            name = f"{delta:,} rows onto {rows:,}{suffix}"
            yield Case("work", name, rows, work, floor=(_probe(delta, rows),))
    if "five" in options.works and rows <= _MOST_ROWS_OF_FIVE:
        files = [samples.plain(rows, seed).path for seed in range(11, 11 + _FIVE_FILES)]
        work = partial(ours.inbox, files, samples.answer(*files))
        yield Case("work", f"{_FIVE_FILES} files at once, each {rows:,} rows", rows, work)
    if "job" in options.works:
        yield from _jobs(options, samples, rows)


def _packed(samples: Samples, rows: int) -> Iterator[Case]:
    right = samples.answer(samples.plain(rows).path)
    for kind in ("zip", "gz"):
        work = partial(ours.one_file, samples.packed(rows, kind), right)
        yield Case("work", f".{kind} file", rows, work, floor=(_load(rows),))


def _next_days(samples: Samples, rows: int) -> Iterator[Case]:
    plain = samples.plain(rows)
    for kind in KINDS:
        file = samples.next_day(rows, kind)
        right = Answer(file.skus, file.skus, None)
        if rows <= MOST_ROWS_WORKED_OUT:
            right = samples.answer(plain.path, file.path)
        work = partial(ours.next_day, plain, file, right)
        yield Case("work", f"the next day, {kind}", rows, work, floor=(_load(rows),))


def _jobs(options: Options, samples: Samples, rows: int) -> Iterator[Case]:
    instance = prepared_instance(options.folder / "instance")
    zipped = samples.packed(rows, "zip").path
    right = samples.answer(samples.plain(rows).path)
    floor_of_jobs = (_load(rows), _EMPTY_JOB)
    for share, suffix in ((0.1, ""), (0.0, ", nothing published")):
        work = partial(ours.inbox_job, instance, [zipped], right, publish_time_share=share)
        yield Case("work", f"dagster job, .zip file{suffix}", rows, work, floor=floor_of_jobs)


def _independent_of_size(options: Options, samples: Samples) -> Iterator[Case]:
    count, rows_each = options.many
    rows = count * rows_each
    instance = prepared_instance(options.folder / "instance")
    if "floor" in options.groups:
        yield Case("floor", _EMPTY_JOB, 0, partial(floor.empty_job, instance))
        if {"many", "burst"} & set(options.works) and rows not in options.sizes:
            yield Case("floor", _load(rows), rows, partial(floor.bare_load, samples.plain(rows)))
    if "work" in options.groups and "housekeeping" in options.works:
        yield from _housekeeping(options, instance)
    if "work" not in options.groups or not {"many", "burst"} & set(options.works):
        return
    files = sorted(samples.many(count, rows_each).path.iterdir())
    right = samples.answer(samples.plain(rows).path)
    name = f"{count:,} files of {rows_each:,} rows"
    load = (_load(rows),)
    if "burst" in options.works:
        work: Work = partial(ours.inbox_burst, instance, files, right)
        yield Case("work", f"make dev, {name}", rows, work, floor=load)
    if "many" in options.works:
        yield Case("work", name, rows, partial(ours.inbox, files, right), floor=load)
        work = partial(ours.inbox_job, instance, files, right)
        yield Case("work", f"dagster job, {name}", rows, work, floor=(*load, _EMPTY_JOB))


def _housekeeping(options: Options, instance: Path) -> Iterator[Case]:
    for files, deliveries in _PASTS:
        data = _aged(options, files, deliveries)
        name = f"housekeeping, {files:,} files"
        yield Case("work", name, deliveries, partial(ours.housekeeping, instance, data))
    for versions in _FEED_VERSIONS:
        data = _aged(options, 0, 0, versions)
        yield Case("work", "one version more", versions, partial(ours.one_version_more, data))


def _aged(options: Options, files: int, deliveries: int, versions_of_one: int = 0) -> Path:
    name = f"{files}-{deliveries}-{versions_of_one}-{ours.source_fingerprint()}"
    return aged_folder(options.folder / "aged" / name, files, deliveries, versions_of_one)


def _peers(options: Options, samples: Samples) -> Iterator[Case]:
    tools = []
    # So that this process loads none of the tools.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        looked_at = pool.map(_look_at, options.peers)
    for peer, (title, version, error) in zip(options.peers, looked_at, strict=True):
        if error:
            yield Case("peers", title, 0, None, error=error)
        else:
            tools.append((peer, title, version))
    for rows in options.sizes:
        tasks = _tasks(options, samples, rows)
        for peer, title, version in tools:
            yield Case("peers", title, rows, partial(compare, peer, tasks), version)


def _look_at(peer: str) -> tuple[str, str, str]:
    try:
        tool = installed(peer)
    except NotInstalledError as error:
        return peer, "", str(error)
    return tool.title, tool.versions(), ""


def _tasks(options: Options, samples: Samples, rows: int) -> list[Task]:
    given: list[Path] = []
    tasks = []
    for step in options.steps:
        path = samples.plain(rows, OTHER_SEED if step == "changed" else SEED).path
        if path not in given[-1:]:
            given.append(path)
        tasks.append(Task(step, path, samples.answer(*given)))
    return tasks


def _deltas(options: Options, rows: int) -> list[int]:
    if "delta" not in options.works:
        return []
    return [delta for delta in options.deltas if delta * _DELTA_SHARE <= rows]


def _big(options: Options, samples: Samples, rows: int) -> Path:
    """Return a database with a large file, made by the present version of the project."""
    data = options.folder / "big" / f"{rows}-{ours.source_fingerprint()}"
    if not data.exists():
        for outdated in data.parent.glob(f"{rows}-*"):
            shutil.rmtree(outdated)
        work = partial(ours.prepare_big, samples.plain(rows), data)
        measure(work, options.scratch)
    return data / "products.duckdb"
