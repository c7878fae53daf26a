"""A full disk, at any stage: the error says so, nothing is half done, and free space is enough."""

import gzip
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from lfp_pipeline.common.duckdb_tools import checkpoint
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LandingError
from lfp_pipeline.ingest.result import IngestResult
from lfp_pipeline.sources.feed_state import FeedStateStore
from lfp_pipeline.sources.local_file import LocalFile
from testing.dagster_project import drop
from testing.disks import full, small_disk
from testing.engine import LOG, assert_invariants_hold, engine_at, land, tables
from testing.expected_tables import File
from testing.processes import finish, start

FIRST = File("a.csv", 1, tuple((f"s{n}", f"n{n % 7}", "d" * 50) for n in range(3000)))
SECOND = File("b.csv", 2, tuple((f"s{n}", f"n{n % 5}", f"{n}e" * 9) for n in range(0, 6000, 2)))
LARGE = File("large.csv", 3, tuple((f"s{n}", f"n{n % 5}", f"{n}e" * 9) for n in range(100_000)))

STEP_BYTES = 96 << 10
FULL = "No space left on device"
REMEDY = "is full: free some space, then try again."


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk"):
        yield tmp_path / "disk"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return the second file, on another disk."""
    drop(tmp_path, SECOND.key, SECOND.content, SECOND.microseconds)
    return tmp_path / SECOND.key


def error_of_ingest(engine: Engine, source: Path) -> str:
    """Land and ingest a file; return the error, or nothing."""
    try:
        delivery = engine.land(LocalFile(source), source.name, LOG)
    except LandingError as error:
        return str(error)
    return engine.ingest(delivery, LOG).account.error or ""


def test_with_any_free_space_a_file_is_merged_whole_or_fails_with_the_remedy(
    disk: Path, source: Path
) -> None:
    errors = set()
    for bytes_left in count(0, STEP_BYTES):
        engine = engine_at(disk / f"data-{bytes_left}")
        engine.ingest(land(engine, FIRST), LOG)
        before = tables(engine)
        with full(disk, bytes_left):
            error = error_of_ingest(engine, source)
        if not error:
            break
        assert FULL in error
        assert REMEDY in error
        errors.add(error.partition(str(engine.settings.data_dir))[2].partition(" ")[0])
        after = tables(engine)
        assert after | {"ledger": None} == before | {"ledger": None}
        assert_only_data_is_left(engine)
        assert error_of_ingest(engine, source) == ""
        assert_invariants_hold(engine, [FIRST, SECOND])
        shrink(engine)
    assert_invariants_hold(engine, [FIRST, SECOND])
    assert errors == {"/raw", '/products.duckdb.wal":'}


def assert_only_data_is_left(engine: Engine) -> None:
    """Assert that there is no temporary file and no mark."""
    remaining = {path.relative_to(engine.settings.data_dir).parts[0] for path in files(engine)}
    assert {name for name in remaining if not name.startswith("products.duckdb")} <= {
        "inbox",
        "raw",
        "raw.index",
        f"landing-{os.getpid()}.csv",
    }
    assert not [path for path in files(engine) if path.name.startswith(".")]


def files(engine: Engine) -> list[Path]:
    return [path for path in engine.settings.data_dir.rglob("*") if path.is_file()]


def shrink(engine: Engine) -> None:
    for path in files(engine):
        path.unlink()


def test_a_direct_load_that_fails_leaves_nothing(disk: Path) -> None:
    engine = engine_at(disk / "data")
    delivery = land(engine, LARGE)
    for bytes_left in (200 << 10, 600 << 10):
        with full(disk, bytes_left):
            error = engine.ingest(delivery, LOG).account.error or ""
        assert REMEDY in error
        assert engine.pending_deliveries(LOG) == [delivery]
    assert engine.ingest(delivery, LOG).account.status == "merged"
    assert_invariants_hold(engine, [LARGE])


def test_a_landing_without_a_record_is_no_delivery_and_is_repeated(
    disk: Path, source: Path
) -> None:
    engine = engine_at(disk / "data")
    page = 4096
    whole = -(-len(SECOND.content) // page) * page
    with full(disk, whole), pytest.raises(LandingError, match=FULL):
        engine.land(LocalFile(source), "b.csv", LOG)
    assert engine.raw_zone.deliveries("b.csv") == []
    assert error_of_ingest(engine, source) == ""
    assert_invariants_hold(engine, [SECOND])


@contextmanager
def full_work_folder(folder: Path, **settings: object) -> Iterator[Engine]:
    """Return an engine whose work folder has little space."""
    engine = engine_at(folder / "data", **settings)
    with small_disk(engine.settings.work_dir, megabytes=1):
        yield engine


def test_no_space_to_unpack_fails_the_delivery(tmp_path: Path) -> None:
    packed = tmp_path / "packed.csv.gz"
    packed.write_bytes(gzip.compress(LARGE.content))
    with full_work_folder(tmp_path) as engine:
        delivery = engine.land(LocalFile(packed), "packed", LOG)
        account = engine.ingest(delivery, LOG).account
        assert account.status == "failed"
        assert REMEDY in str(account.error)
        assert list(engine.settings.work_dir.iterdir()) == []
    assert engine.ingest(delivery, LOG).account.status == "merged"
    assert len(tables(engine)["products"]) == len(LARGE.winners)


def test_no_space_to_spill_fails_the_delivery(tmp_path: Path) -> None:
    wide = File("wide.csv", 1, tuple((f"s{n}", "n", f"{n}" * 4_000) for n in range(4_000)))
    with full_work_folder(tmp_path, memory_limit="64MB") as engine:
        delivery = land(engine, wide)
        account = engine.ingest(delivery, LOG).account
        assert account.status == "failed"
        assert "LFP_MEMORY_LIMIT" in str(account.error) or REMEDY in str(account.error)
    assert engine.ingest(delivery, LOG).account.status == "merged"
    assert_invariants_hold(engine, [wide])


def test_a_status_note_that_cannot_be_written_is_written_by_the_next_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = engine_at(tmp_path / "data")
    with small_disk(engine.settings.raw_dir, megabytes=1):
        delivery = land(engine, FIRST)
        with full(engine.settings.raw_dir):
            assert engine.ingest(delivery, LOG).account.status == "merged"
        assert "could not be written" in caplog.text
        assert engine.pending_deliveries(LOG) == [delivery]
        (again,) = engine.ingest_all([], engine.pending_deliveries(LOG), LOG)
        assert isinstance(again, IngestResult)
        assert again.account.status == "merged"
        assert engine.pending_deliveries(LOG) == []
        assert_invariants_hold(engine, [FIRST])


def test_a_checkpoint_without_space_loses_nothing(
    disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = engine_at(disk / "data")
    for file in (FIRST, SECOND):
        engine.ingest(land(engine, file), LOG)
    with (
        full(disk),
        caplog.at_level(logging.WARNING),
        engine.warehouse.session("testing", LOG) as connection,
    ):
        checkpoint(connection, LOG)
    assert "The checkpoint failed" in caplog.text
    assert_invariants_hold(engine, [FIRST, SECOND])
    with engine.warehouse.session("testing", LOG) as connection:
        checkpoint(connection, LOG)
    assert_invariants_hold(engine, [FIRST, SECOND])


def test_the_state_of_a_feed_stays_as_it_was(disk: Path) -> None:
    memory = FeedStateStore(disk / "feeds", "shop")
    polls = memory.polls.started(1.0, "here").finished(updated=True)
    memory.save_poll(polls)
    with full(disk), pytest.raises(LandingError, match=f"shop.json cannot be written: {FULL}"):
        memory.save_poll(polls.started(2.0, "here"))
    assert memory.polls == polls
    assert [path.name for path in memory.folder.iterdir()] == ["shop.json"]
    memory.save_read(polls.updates)
    assert not memory.has_update


LIMITED = """
import resource, signal, sys
from pathlib import Path
from lfp_pipeline_tests.faults.test_disk_full import SECOND, error_of_ingest
from testing.engine import LOG, engine_at
engine, limit = engine_at(Path(sys.argv[1])), int(sys.argv[3])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
print(error_of_ingest(engine, Path(sys.argv[2])))
"""


@pytest.mark.parametrize(
    "limit", [100 << 10, *(pytest.param(limit, marks=pytest.mark.slow) for limit in (0, 400 << 10))]
)
def test_a_limit_on_the_size_of_files_fails_the_delivery(
    tmp_path: Path, source: Path, limit: int
) -> None:
    engine = engine_at(tmp_path / "data")
    engine.ingest(land(engine, FIRST), LOG)
    before = tables(engine)
    (error,) = finish([start(LIMITED, engine.settings.data_dir, source, limit)])
    assert "File too large" in error
    assert REMEDY in error
    assert tables(engine)["products"] == before["products"]
    assert error_of_ingest(engine, source) == ""
    assert_invariants_hold(engine, [FIRST, SECOND])
