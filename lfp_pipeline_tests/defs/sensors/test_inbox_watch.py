"""The watch of the inbox: changes are noticed soon, together, and at little cost."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import pytest

from lfp_pipeline.defs.sensors.inbox_watch import InboxWatch
from lfp_pipeline.sources.catalog import SourceCatalog
from testing.engine import engine_at
from testing.processes import finish, start

LONG = 20.0
SOON = 3.0


@pytest.fixture
def catalog(tmp_path: Path) -> SourceCatalog:
    return engine_at(tmp_path, inbox_stable_seconds=None).catalog


@contextmanager
def later(action: Callable[[], object], seconds: float = 0.2) -> Iterator[None]:
    timer = Timer(seconds, action)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def never() -> bool:
    return False


def is_noticed(watch: InboxWatch) -> bool:
    """Return whether the watch notices a change, long before the deadline."""
    started = time.monotonic()
    is_changed = watch.wait(started + LONG, never)
    return is_changed and time.monotonic() - started < SOON


def names(watch: InboxWatch) -> list[str]:
    return [file.name for file in watch.listing.ready]


@pytest.mark.parametrize("folder", ["", "shop/", "shop/new/"])
def test_a_file_that_is_moved_into_a_folder_is_noticed(
    catalog: SourceCatalog, tmp_path: Path, folder: str
) -> None:
    outside = tmp_path / "outside.csv"
    outside.write_bytes(b"abc")
    (tmp_path / "inbox" / folder).mkdir(parents=True, exist_ok=True)
    watch = InboxWatch(catalog)
    assert names(watch) == []
    with later(lambda: outside.rename(tmp_path / "inbox" / folder / "a.csv")):
        assert is_noticed(watch)
    assert names(watch) == [f"{folder}a.csv"]


def test_a_file_in_a_new_folder_is_noticed(catalog: SourceCatalog, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.csv").write_bytes(b"abc")
    watch = InboxWatch(catalog)
    with later(lambda: outside.rename(tmp_path / "inbox" / "shop")):
        assert is_noticed(watch)
    assert names(watch) == ["shop/a.csv"]


def test_a_file_that_is_written_in_place_is_noticed(catalog: SourceCatalog, tmp_path: Path) -> None:
    file = tmp_path / "inbox" / "a.csv"
    file.write_bytes(b"abc")
    watch = InboxWatch(catalog)
    (before,) = watch.listing.ready
    with later(lambda: file.write_bytes(b"abcd")):
        assert is_noticed(watch)
    (after,) = watch.listing.ready
    assert before.version != after.version


def test_a_file_that_is_closed_is_noticed(catalog: SourceCatalog, tmp_path: Path) -> None:
    with (tmp_path / "inbox" / "a.csv").open("wb", buffering=0) as file:
        file.write(b"abc")
        watch = InboxWatch(catalog)
        assert watch.listing.still_writing == ("a.csv",)
        with later(file.close, 0.4):
            assert is_noticed(watch)
    assert names(watch) == ["a.csv"]


def test_files_that_are_dropped_together_are_listed_together(
    catalog: SourceCatalog, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    files = [outside / f"{number}.csv" for number in range(5)]
    for file in files:
        file.write_bytes(b"abc")

    def drop() -> None:
        for file in files:
            file.rename(tmp_path / "inbox" / file.name)
            time.sleep(0.05)

    watch = InboxWatch(catalog)
    with later(drop):
        assert is_noticed(watch)
    assert len(names(watch)) == len(files)


def test_an_unchanged_inbox_is_watched_until_the_deadline(catalog: SourceCatalog) -> None:
    watch = InboxWatch(catalog)
    started = time.monotonic()
    assert not watch.wait(started + 0.5, never)
    assert 0.4 < time.monotonic() - started < SOON


def test_another_condition_ends_the_wait(catalog: SourceCatalog) -> None:
    watch = InboxWatch(catalog)
    started = time.monotonic()
    assert watch.wait(started + LONG, lambda: time.monotonic() > started + 0.3)
    assert time.monotonic() - started < SOON


def test_a_large_inbox_costs_little_while_nothing_changes(
    catalog: SourceCatalog, tmp_path: Path
) -> None:
    for number in range(3_000):
        (tmp_path / "inbox" / f"{number}.csv").write_bytes(b"abc")
    time.sleep(0.3)
    watch = InboxWatch(catalog)
    used = time.thread_time()
    watch.wait(time.monotonic() + 2, never)
    assert time.thread_time() - used < 0.2


@pytest.mark.slow
def test_ignored_files_that_come_and_go_cost_little(catalog: SourceCatalog, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    for number in range(3_000):
        (inbox / f"{number}.csv").write_bytes(b"abc")
    time.sleep(0.3)
    watch = InboxWatch(catalog)
    deadline = time.monotonic() + 3

    def come_and_go() -> None:
        while time.monotonic() < deadline:
            (inbox / "x.tmp").write_bytes(b"abc")
            time.sleep(0.05)
            (inbox / "x.tmp").unlink()
            time.sleep(0.05)

    with later(come_and_go):
        used = time.thread_time()
        assert not watch.wait(deadline, never)
        assert time.thread_time() - used < 0.3


def test_a_slow_upload_is_noticed_once(catalog: SourceCatalog, tmp_path: Path) -> None:
    with (tmp_path / "inbox" / "a.csv").open("wb", buffering=0) as file:
        file.write(b"abc")
        watch = InboxWatch(catalog)
        deadline = time.monotonic() + 2

        def upload() -> None:
            while time.monotonic() < deadline:
                file.write(b"abc")
                time.sleep(0.25)

        with later(upload):
            assert not watch.wait(deadline, never)


WATCH_IN_A_THREAD = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from lfp_pipeline.defs.sensors.inbox_watch import InboxWatch
from testing.engine import engine_at
watch = InboxWatch(engine_at(Path(sys.argv[1])).catalog)
pool = ThreadPoolExecutor(1)
pool.submit(lambda: print(watch.wait(time.monotonic() + 600, lambda: False)))
time.sleep(0.5)
"""


def test_a_process_that_ends_does_not_wait_for_its_watch(tmp_path: Path) -> None:
    assert finish([start(WATCH_IN_A_THREAD, tmp_path)]) == ["False\n"]
