"""Files of the inbox are complete once real processes have closed them."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lfp_pipeline.engine import Engine
from lfp_pipeline.sources import write_lease
from lfp_pipeline.sources.inbox import GROWING_SECONDS, QUIET_SECONDS, SETTLE_SECONDS
from testing.engine import LOG, engine_at
from testing.processes import HOLD_OPEN, running

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has read leases")

HOLD_MAPPED = """
import mmap, sys
with open(sys.argv[1], "r+b") as file:
    mapped = mmap.mmap(file.fileno(), 0)
print("mapped", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return engine_at(tmp_path, inbox_stable_seconds=None)


def listed(engine: Engine) -> tuple[list[str], list[str]]:
    listing = engine.catalog.list_inbox()
    return [file.name for file in listing.ready], list(listing.still_writing)


@contextmanager
def aged(path: Path) -> Iterator[None]:
    """Wait until a file has settled; fail if the block ends only after the quiet time."""
    time.sleep(max(0.0, path.stat().st_ctime + SETTLE_SECONDS + 0.05 - time.time()))
    yield
    assert time.time() < path.stat().st_ctime + QUIET_SECONDS, "This machine is too slow."


@on_linux
def test_a_closed_file_is_complete_at_once(engine: Engine) -> None:
    file = engine.settings.inbox_dir / "a.csv"
    file.write_bytes(b"abc")
    with aged(file):
        assert listed(engine) == (["a.csv"], [])


@on_linux
def test_a_file_that_is_moved_into_the_inbox_is_complete_at_once(engine: Engine) -> None:
    file = engine.settings.inbox_dir / "shop" / "a.csv"
    file.parent.mkdir()
    outside = engine.settings.data_dir / "a.csv"
    outside.write_bytes(b"abc")
    os.utime(outside, (1, 1))
    outside.rename(file)
    with aged(file):
        assert listed(engine) == (["shop/a.csv"], [])


@on_linux
@pytest.mark.parametrize("hold", [(HOLD_OPEN, "ab"), (HOLD_MAPPED,)], ids=["open", "mapped"])
def test_a_file_that_a_program_holds_is_complete_once_it_is_closed(
    engine: Engine, hold: tuple[str, ...]
) -> None:
    script, *arguments = hold
    file = engine.settings.inbox_dir / "a.csv"
    file.write_bytes(b"abc")
    with running(script, file, *arguments):
        os.utime(file, (1, 1))  # The file is young again.
        with aged(file):
            assert listed(engine) == ([], ["a.csv"])
    os.utime(file, (2, 2))
    with aged(file):
        assert listed(engine) == (["a.csv"], [])


@on_linux
def test_a_file_that_is_opened_again_is_a_later_version(engine: Engine) -> None:
    file = engine.settings.inbox_dir / "a.csv"
    file.write_bytes(b"sku,name,description\ns1,An")
    with aged(file):
        (first,) = engine.pending_inbox(LOG).ready
    with file.open("ab") as more:
        more.write(b"n,x\n")
    with aged(file):
        (second,) = engine.pending_inbox(LOG).ready
    assert first.version != second.version


@on_linux
def test_a_file_that_grows_again_and_again_is_complete_when_it_is_quiet(engine: Engine) -> None:
    file = engine.settings.inbox_dir / "a.csv"
    file.write_bytes(b"sku,name,description\ns1,Ann,x\n")
    os.utime(file, ns=(time.time_ns() // 1000 * 1000 + 999,) * 2)  # Parts of a microsecond.
    with aged(file):
        (first,) = engine.catalog.list_inbox().ready
    engine.land(engine.catalog.inbox_source(first), "a.csv", LOG)
    with aged(file):
        assert listed(engine) == (["a.csv"], [])
    (engine.settings.inbox_dir / "b.csv").write_bytes(b"abc")
    with file.open("ab") as more:
        more.write(b"s2,Bob,y\n")
    with aged(file):
        assert listed(engine) == (["b.csv"], ["a.csv"])
    time.sleep(QUIET_SECONDS - SETTLE_SECONDS)
    assert sorted(listed(engine)[0]) == ["a.csv", "b.csv"]


@on_linux
def test_a_changed_file_is_complete_at_once_after_the_clock_was_set_back(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = engine.settings.inbox_dir / "a.csv"
    file.write_bytes(b"sku,name,description\ns1,Ann,x\n")
    with aged(file):
        (first,) = engine.catalog.list_inbox().ready
    engine.land(engine.catalog.inbox_source(first), "a.csv", LOG)
    with file.open("ab") as more:
        more.write(b"s2,Bob,y\n")
    before = time.time() - 3600
    monkeypatch.setattr(time, "time", lambda: before)
    assert listed(engine) == (["a.csv"], [])


@on_linux
def test_a_version_that_is_much_younger_than_the_last_one_is_complete_at_once(
    engine: Engine,
) -> None:
    file = engine.settings.inbox_dir / "a.csv"
    file.write_bytes(b"sku,name,description\ns1,Ann,x\n")
    os.utime(file, (time.time() - GROWING_SECONDS - 1,) * 2)
    with aged(file):
        (first,) = engine.catalog.list_inbox().ready
    engine.land(engine.catalog.inbox_source(first), "a.csv", LOG)
    file.write_bytes(b"sku,name,description\ns2,Bob,y\n")
    with aged(file):
        assert listed(engine) == (["a.csv"], [])


def test_without_an_answer_of_the_kernel_a_file_is_complete_after_the_quiet_time(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of the mount list has another type of file system."""
    kernel = Path("/proc/self")
    mounts = (kernel / "mountinfo").read_text() if kernel.exists() else ""
    kinds = {line.partition(" - ")[2].split()[0] for line in mounts.splitlines()}
    for kind in kinds:
        mounts = mounts.replace(f" - {kind} ", " - nfs4 ")
    (tmp_path / "mountinfo").write_text(mounts)
    (tmp_path / "fdinfo").symlink_to(kernel / "fdinfo")
    monkeypatch.setattr(write_lease, "_SELF", tmp_path)
    monkeypatch.setattr(write_lease, "_known", {})
    file = engine.settings.inbox_dir / "a.csv"
    file.write_bytes(b"abc")
    with aged(file):
        assert listed(engine) == ([], ["a.csv"])
    time.sleep(QUIET_SECONDS - SETTLE_SECONDS)
    assert listed(engine) == (["a.csv"], [])


@pytest.mark.parametrize("seconds", [0.0, 30.0])
def test_a_setting_replaces_the_answer_of_the_kernel(tmp_path: Path, seconds: float) -> None:
    engine = engine_at(tmp_path, inbox_stable_seconds=seconds)
    file = engine.settings.inbox_dir / "a.csv"
    file.write_bytes(b"abc")
    with aged(file):
        assert listed(engine) == ((["a.csv"], []) if not seconds else ([], ["a.csv"]))


@on_linux
def test_a_file_that_was_just_dropped_is_waited_for(engine: Engine) -> None:
    file = engine.settings.inbox_dir / "a.csv"
    file.write_bytes(b"abc")
    started = time.monotonic()
    assert [found.name for found in engine.pending_inbox(LOG).ready] == ["a.csv"]
    assert time.monotonic() - started < QUIET_SECONDS


@on_linux
def test_only_the_files_of_the_given_partitions_are_waited_for(engine: Engine) -> None:
    file, other = (engine.settings.inbox_dir / name for name in ("a.csv", "b.csv"))
    file.write_bytes(b"abc")
    other.write_bytes(b"abc")
    with running(HOLD_OPEN, other, "ab"), aged(file):
        listing = engine.pending_inbox(LOG, {"a.csv"})
        assert [found.name for found in listing.ready] == ["a.csv"]
