"""The published copy: whole, consistent, readable at any time, and blocking no writer."""

import json
import logging
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import RebuildIncompleteError, WarehouseBusyError
from lfp_pipeline.warehouse.published import PublishRecord
from testing.engine import LOG, engine_at, ingest_pending, land, tables
from testing.expected_tables import File, expected_name_counts, expected_products
from testing.processes import HOLD_DATABASE, finish, running, start

# Opens the copy repeatedly, and prints each state that it sees, and how often it has looked.
READ = """
import duckdb, json, pathlib, sys, time
path, stop = sys.argv[1], pathlib.Path(sys.argv[2])
seen, readings = {}, 0
print("reading", flush=True)
while not stop.exists() or not readings:
    with duckdb.connect(path, read_only=True) as connection:
        def ask():
            return json.dumps([connection.execute(sql + " ORDER BY ALL").fetchall() for sql in (
                "SELECT delivery_id FROM deliveries WHERE status = 'merged'",
                "SELECT sku, name, description, delivery_id FROM products",
                "FROM name_counts",
            )])
        state = ask()
        time.sleep(0.02)
        assert ask() == state  # However often the file was replaced meanwhile.
    seen[state] = None
    readings += 1
print(json.dumps([[json.loads(state) for state in seen], readings]))
"""

WRITE = """
import sys
from pathlib import Path
from testing.engine import LOG, engine_at, land
from lfp_pipeline_tests.warehouse.test_published import files_of
engine = engine_at(Path(sys.argv[1]), publish_time_share=1)
for file in files_of(int(sys.argv[2])):
    engine.ingest(land(engine, file), LOG)
    engine.publish(LOG)
"""

PUBLISH = """
import sys
from pathlib import Path
from testing.engine import LOG, engine_at
engine = engine_at(Path(sys.argv[1]))
print("publishing", flush=True)
engine.published.publish(LOG)
print("published", flush=True)
"""

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y")))
B = File("b.csv", 2_000_000, (("s1", "Ann", "z"), ("s3", "Cid", "w")))


def files_of(writer: int, number: int = 8) -> list[File]:
    """Return the files of a writer; the skus of all writers overlap."""
    chance = random.Random(writer)

    def row() -> tuple[str, str, str]:
        return f"s{chance.randrange(400)}", f"n{chance.randrange(30)}", f"d{chance.random()}"

    return [
        File(f"w{writer}.csv", chance.randrange(100) * 1_000_000 + index, tuple(
            row() for _ in range(300)
        ))
        for index in range(number)
    ]  # fmt: skip


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """Return an engine with one merged delivery and nothing published."""
    made = engine_at(tmp_path / "data", other_process_wait_seconds=0.2)
    made.ingest(land(made, A), LOG)
    return made


def published(engine: Engine) -> dict[str, list[tuple[object, ...]]]:
    """Return all tables of the published copy."""
    copy = replace(engine.warehouse, path=engine.published.path)
    other = engine_at(engine.settings.data_dir)
    other.warehouse = copy
    return tables(other)


def files_beside(engine: Engine) -> set[str]:
    """Return the names in the folder, without the lock, which remains."""
    return {path.name for path in engine.published.path.parent.iterdir()} - {"products.duckdb.lock"}


WHOLE = {"products.duckdb", "products.duckdb.json"}


def test_the_copy_is_one_file_with_all_commits(engine: Engine) -> None:
    assert engine.settings.database_path.with_name("products.duckdb.wal").exists()
    engine.publish(LOG)
    assert published(engine) == tables(engine)
    assert files_beside(engine) == WHOLE
    assert engine.published.path.stat().st_mode & 0o777 == 0o444


def test_the_log_is_copied_with_the_file(engine: Engine) -> None:
    engine.ingest(land(engine, B), LOG)
    log = engine.settings.database_path.with_name("products.duckdb.wal")
    assert log.stat().st_size
    before = log.stat(), engine.settings.database_path.stat()
    engine.publish(LOG)
    assert published(engine)["products"] == expected_products([A, B])
    assert [(status.st_size, status.st_mtime_ns) for status in before] == [
        (status.st_size, status.st_mtime_ns)
        for status in (log.stat(), engine.settings.database_path.stat())
    ]


def test_unchanged_tables_are_not_published_again(engine: Engine) -> None:
    assert engine.published.publish(LOG)
    inode = engine.published.path.stat().st_ino
    assert engine.published.publish(LOG) is None
    assert engine.published.path.stat().st_ino == inode
    assert not engine.published.is_stale


def test_a_removed_copy_is_published_again(engine: Engine) -> None:
    engine.published.publish(LOG)
    engine.published.path.unlink()
    assert engine.published.publish(LOG)
    assert published(engine) == tables(engine)


@pytest.mark.parametrize("content", ["", "null", "[]", "{}", '{"copied": 1}', '{"copied": []}'])
def test_with_a_damaged_record_the_tables_are_published_again(engine: Engine, content: str) -> None:
    engine.published.publish(LOG)
    engine.published.path.with_name("products.duckdb.json").write_text(content)
    assert engine.published.publish(LOG)
    assert not engine.published.is_stale


def test_a_rebuilt_database_is_published(engine: Engine) -> None:
    engine.published.publish(LOG)
    for path in engine.settings.database_path.parent.glob("products.duckdb*"):
        path.unlink()
    assert not engine.published.is_stale
    engine.ingest(land(engine, B), LOG)
    with pytest.raises(RebuildIncompleteError, match="1 delivery that had landed before"):
        engine.published.publish(LOG)
    assert published(engine)["products"] == expected_products([A])
    ingest_pending(engine)
    engine.published.publish(LOG)
    assert published(engine)["products"] == expected_products([A, B])


def test_without_a_database_nothing_is_published(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    engine.publish(LOG)
    assert engine.published.publish(LOG) is None
    assert not engine.published.path.exists()


def no_copying(*_: int) -> int:
    raise OSError


def some_copying(source: int, target: int, size: int) -> int:
    """Fail half-way, as a file system that cannot share blocks does."""
    if os.lseek(source, 0, os.SEEK_CUR):
        raise OSError
    return os.sendfile(target, source, None, size // 2)


@pytest.mark.parametrize("copying", [no_copying, some_copying])
def test_a_file_system_that_cannot_share_blocks_gets_a_byte_copy(
    engine: Engine, copying: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "copy_file_range", copying)
    engine.published.publish(LOG)
    assert published(engine) == tables(engine)


def test_readers_are_never_refused_and_see_only_whole_states(tmp_path: Path) -> None:
    data, stop = tmp_path / "data", tmp_path / "stop"
    engine = engine_at(data, publish_time_share=1)
    engine.ingest(land(engine, A), LOG)
    engine.publish(LOG)
    readers = [start(READ, engine.published.path, stop) for _ in range(2)]
    for reader in readers:
        assert reader.stdout
        assert reader.stdout.readline() == "reading\n"
    writers = [start(WRITE, data, number) for number in range(2)]
    while any(writer.poll() is None for writer in writers):
        engine.published.publish(LOG)  # Waits for its turn, where writers publish at once or not.
        time.sleep(0.05)
    finish(writers)
    engine.publish(LOG)
    time.sleep(0.3)
    stop.touch()
    outputs = [json.loads(output.splitlines()[-1]) for output in finish(readers)]
    by_id = {file.delivery_id: file for file in [A, *files_of(0), *files_of(1)]}
    most_states = 0
    for states, readings in outputs:
        assert readings >= len(states)
        most_states = max(most_states, len(states))
        sizes = []
        for ledger, products, counts in states:
            files = [by_id[delivery_id] for (delivery_id,) in ledger]
            truth = expected_products(files)
            assert products == [list(row[:4]) for row in truth]
            assert counts == [list(row) for row in expected_name_counts(files)]
            sizes.append(len(files))
        assert sizes == sorted(sizes)  # No reader sees a state and then an older one.
        assert sizes[-1] == len(by_id)
    assert most_states > 2


def test_a_reader_keeps_the_state_of_the_file_that_it_opened(engine: Engine) -> None:
    engine.published.publish(LOG)
    with duckdb.connect(engine.published.path, read_only=True) as old:
        engine.ingest(land(engine, B), LOG)
        engine.published.publish(LOG)
        with running(HOLD_DATABASE, engine.published.path, True):
            count = old.execute("SELECT count(*) FROM products").fetchall()
    assert count == [(2,)]
    assert published(engine)["products"] == expected_products([A, B])


def test_readers_of_the_copy_block_no_writer_and_no_publisher(engine: Engine) -> None:
    engine.published.publish(LOG)
    with running(HOLD_DATABASE, engine.published.path, True):
        impatient = engine_at(
            engine.settings.data_dir, writer_wait_seconds=0, other_process_wait_seconds=0
        )
        impatient.ingest(land(impatient, B), LOG)
        assert impatient.published.publish(LOG)
    assert published(engine)["name_counts"] == expected_name_counts([A, B])


def test_while_a_program_writes_the_database_the_old_copy_remains_and_the_error_names_the_program(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.published.publish(LOG)
    engine.ingest(land(engine, B), LOG)
    with running(HOLD_DATABASE, engine.settings.database_path) as process:
        with pytest.raises(WarehouseBusyError, match=rf"PID {process.pid}"):
            engine.published.publish(LOG)
        assert engine.published.last.failures == 1
        assert not replace(engine.published, time_share=1).is_within_budget()
        rested(engine)
        engine.publish(LOG)
    assert "The tables were not published; the earlier copy stays in use." in caplog.text
    assert published(engine)["products"] == expected_products([A])
    assert files_beside(engine) == WHOLE
    assert engine.published.last.failures == 2
    engine.published.publish(LOG)
    assert published(engine)["products"] == expected_products([A, B])
    assert engine.published.last.failures == 0


def test_a_program_that_reads_the_database_does_not_block_publishing(engine: Engine) -> None:
    with running(HOLD_DATABASE, engine.settings.database_path, True):
        assert engine.published.publish(LOG)
    assert published(engine) == tables(engine)


def test_no_program_can_open_the_database_to_write_while_it_is_copied(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = []

    def copy_while_a_stranger_tries(*_: int) -> int:
        command = [sys.executable, "-c", HOLD_DATABASE, engine.settings.database_path]
        done = subprocess.run(command, input="", capture_output=True, text=True, check=False)
        errors.append(done.stderr)
        raise OSError

    monkeypatch.setattr(os, "copy_file_range", copy_while_a_stranger_tries)
    engine.published.publish(LOG)
    assert len(errors) == 2  # The file, and its log.
    assert "Could not set lock on file" in errors[0]
    assert "Could not set lock on file" in errors[1]
    assert published(engine) == tables(engine)


def test_a_run_does_not_wait_for_another_writer_to_publish(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with engine.warehouse.session("merging b.csv", LOG):
        started = time.monotonic()
        engine.publish(LOG)
        assert time.monotonic() - started < 2
    assert "held by process" in caplog.text
    assert not engine.published.path.exists()
    assert engine.published.last == PublishRecord()  # A busy database is no failure.
    engine.publish(LOG)
    assert published(engine) == tables(engine)


def test_the_publish_command_waits_for_the_writer(engine: Engine) -> None:
    done = threading.Event()

    def publish() -> None:
        engine.published.publish(LOG)
        done.set()

    with engine.warehouse.session("merging b.csv", LOG):
        thread = threading.Thread(target=publish)
        thread.start()
        assert not done.wait(0.5)
    thread.join()
    assert published(engine) == tables(engine)


def test_only_one_of_many_publishers_publishes(engine: Engine) -> None:
    done = finish([start(PUBLISH, engine.settings.data_dir) for _ in range(4)])
    assert all(output.endswith("published\n") for output in done)
    assert published(engine) == tables(engine)
    assert files_beside(engine) == WHOLE


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 4))]
)
def test_a_killed_publisher_leaves_the_old_copy_and_the_next_removes_its_files(
    engine: Engine, seed: int
) -> None:
    chance = random.Random(seed)
    engine.published.publish(LOG)
    engine.ingest(land(engine, B), LOG)
    for _ in range(4):
        with running(PUBLISH, engine.settings.data_dir):
            time.sleep(chance.random() * 0.06)
        state = published(engine)["products"]
        assert state in (expected_products([A]), expected_products([A, B]))
    engine.published.publish(LOG)
    assert published(engine) == tables(engine)
    assert files_beside(engine) == WHOLE


def test_a_killed_publication_counts_as_a_failure(engine: Engine) -> None:
    code = f"""
import os
os.copy_file_range = lambda *_: os._exit(9)
{PUBLISH}"""
    process = start(code, engine.settings.data_dir)
    process.communicate()
    assert process.returncode == 9
    assert engine.published.last.failures == 1
    assert [name for name in files_beside(engine) if name.endswith(".part")]
    assert not replace(engine.published, time_share=1).is_within_budget()
    engine.published.publish(LOG)
    assert files_beside(engine) == WHOLE
    assert engine.published.last.failures == 0


def test_the_log_of_a_program_that_wrote_into_the_copy_is_removed(engine: Engine) -> None:
    engine.published.publish(LOG)
    engine.published.path.chmod(0o644)
    with duckdb.connect(engine.published.path) as stranger:
        stranger.execute("PRAGMA disable_checkpoint_on_shutdown")
        stranger.execute("CREATE TABLE mine AS SELECT 1")
    assert "products.duckdb.wal" in files_beside(engine)
    engine.ingest(land(engine, B), LOG)
    engine.published.publish(LOG)
    assert files_beside(engine) == WHOLE
    assert published(engine) == tables(engine)


def test_after_a_write_error_the_old_copy_remains(
    engine: Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.published.publish(LOG)
    engine.ingest(land(engine, B), LOG)
    rested(engine)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    engine.publish(LOG)
    assert "the earlier copy stays in use. [Errno 28] No space left on device" in caplog.text
    assert published(engine)["products"] == expected_products([A])
    assert files_beside(engine) == WHOLE


# How often


def remember(engine: Engine, **changes: object) -> None:
    note = engine.published.path.with_name("products.duckdb.json")
    note.write_text(json.dumps(json.loads(note.read_bytes()) | changes))


def rested(engine: Engine) -> None:
    remember(engine, ended_at=0)


@pytest.mark.parametrize(
    ("share", "seconds", "since", "due"),
    [
        (0.1, 2.0, 17.0, False),
        (0.1, 2.0, 18.5, True),
        (0.5, 2.0, 1.5, False),
        (0.5, 2.0, 2.5, True),
        (1, 1000.0, 0.0, True),
        (0, 0.001, 1e9, False),
        (0.1, 2.0, -5.0, True),  # The clock has stepped back.
    ],
)
def test_publishing_takes_at_most_its_share_of_the_time(
    engine: Engine, share: float, seconds: float, since: float, due: bool
) -> None:
    engine.published.publish(LOG)
    remember(engine, seconds=seconds, ended_at=time.time() - since)
    assert replace(engine.published, time_share=share).is_within_budget() is due


def test_extra_seconds_count_as_publishing(engine: Engine) -> None:
    engine.published.publish(LOG)
    remember(engine, seconds=1.0, ended_at=time.time() - 15)
    copy = replace(engine.published, time_share=0.1)
    assert copy.is_within_budget()
    assert not copy.is_within_budget(2.0)


def test_the_pause_grows_with_the_failures(engine: Engine) -> None:
    engine.published.publish(LOG)
    copy = replace(engine.published, time_share=1)
    for failures, pause in ((1, 30), (2, 60), (20, 600), (5000, 600)):
        remember(engine, failures=failures, ended_at=time.time() - pause + 5)
        assert not copy.is_within_budget()
        remember(engine, failures=failures, ended_at=time.time() - pause - 5)
        assert copy.is_within_budget()


def test_a_run_publishes_only_what_is_due(engine: Engine) -> None:
    engine.publish(LOG)
    engine.ingest(land(engine, B), LOG)
    remember(engine, seconds=100, ended_at=time.time())
    engine.publish(LOG)
    assert published(engine)["products"] == expected_products([A])
    rested(engine)
    engine.publish(LOG)
    assert published(engine)["products"] == expected_products([A, B])


def test_files_are_closed_again(engine: Engine) -> None:
    def open_files() -> Iterator[Path]:
        return Path("/proc/self/fd").iterdir()

    engine.published.publish(LOG)
    before = len(list(open_files()))
    for index in range(5):
        engine.ingest(land(engine, files_of(1)[index]), LOG)
        assert engine.published.publish(LOG)
    assert len(list(open_files())) <= before


def test_a_publication_is_logged(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    engine.publish(LOG)
    assert "Published the tables: " in caplog.text
