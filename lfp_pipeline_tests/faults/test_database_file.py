"""A damaged database file is reported and not changed; a rebuild from the raw zone repairs it."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import duckdb
import pytest

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import WarehouseCorruptError
from lfp_pipeline.operations.rebuild import rebuild_products
from lfp_pipeline.operations.status import collect_status
from lfp_pipeline.warehouse.database_files import remove_id
from testing.dagster_project import Project
from testing.engine import LOG, assert_invariants_hold, engine_at, land
from testing.expected_tables import File
from testing.processes import finish, start

FILES = [
    File(f"{key}.csv", moment, tuple((f"s{n}", f"n{n % 7}", f"{key}{n}" * 9) for n in range(2000)))
    for moment, key in enumerate("abc")
]
NEXT = File("next.csv", 9, tuple((f"s{n}", f"n{n % 5}", "x" * 40) for n in range(0, 4000, 2)))

INGEST = """
import sys
from pathlib import Path
from lfp_pipeline_tests.faults.test_database_file import NEXT
from testing.engine import LOG, engine_at, land
engine = engine_at(Path(sys.argv[1]))
account = engine.ingest(land(engine, NEXT), LOG).account
print(account.status.value, account.error)
"""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder whose database is partly in its file, partly in its log."""
    folder = tmp_path_factory.mktemp("filled")
    engine = engine_at(folder)
    for file in FILES:
        engine.ingest(land(engine, file), LOG)
        if file is FILES[1]:
            with duckdb.connect(engine.warehouse.path) as connection:
                connection.execute("CHECKPOINT")
    return folder


@dataclass(frozen=True)
class Files:
    """A database file and its write-ahead log."""

    database: Path

    @property
    def log(self) -> Path:
        return self.database.with_name("products.duckdb.wal")


def overwrite(path: Path, start: int, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(Random(start).randbytes(length))


def put_a_folder_at(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Files], object]] = {
    "first header": lambda files: overwrite(files.database, 0, 4096),
    "second header": lambda files: overwrite(files.database, 4096, 8192),
    "another file": lambda files: files.database.write_bytes(b"no database" * 1000),
    "empty": lambda files: os.truncate(files.database, 0),
    "cut off in the header": lambda files: os.truncate(files.database, 5_000),
    "cut off in the data": lambda files: os.truncate(files.database, 20_000),
    "all data": lambda files: overwrite(
        files.database, 12_288, files.database.stat().st_size - 12_288
    ),
    "a folder": lambda files: put_a_folder_at(files.database),
    "an entry of the log": lambda files: overwrite(files.log, 5_000, 100),
    "a folder for a log": lambda files: put_a_folder_at(files.log),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_the_error_names_the_file_and_the_remedy(
    filled: Path, tmp_path: Path, damage: Callable[[Files], object]
) -> None:
    engine = copy_of(filled, tmp_path)
    files = Files(engine.warehouse.path)
    damage(files)
    raw_before, database_before = contents(engine.settings.raw_dir), content(files.database)

    with pytest.raises(WarehouseCorruptError) as caught, engine.warehouse.session("testing", LOG):
        pytest.fail("It could be opened.")
    assert str(caught.value).startswith(f"{files.database} is damaged, or is no database: ")
    assert "Run `lfp rebuild`" in str(caught.value)
    delivery = land(engine, NEXT)
    account = engine.ingest(delivery, LOG).account
    assert (account.status, account.error) == ("failed", str(caught.value))

    assert content(files.database) == database_before
    raw_after = contents(engine.settings.raw_dir)
    assert raw_before.items() <= raw_after.items()
    rebuild_products(engine, LOG)
    assert_invariants_hold(engine, [*FILES, NEXT])
    assert list(files.database.parent.glob("products.duckdb.broken-*"))


def copy_of(filled: Path, folder: Path) -> Engine:
    shutil.copytree(filled, folder / "data")
    return engine_at(folder / "data")


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: content(path) for path in folder.rglob("*")}


def ingest_inbox(engine: Engine) -> None:
    """Ingest all that is pending, as the job ingest_inbox does."""
    files = engine.pending_inbox(LOG).ready
    list(engine.ingest_all(files, engine.pending_deliveries(LOG), LOG))


def restore(older: Path, engine: Engine) -> None:
    """Restore an older copy of the database, and nothing else."""
    for path in older.glob("products.duckdb*"):
        if path.suffix in {".duckdb", ".wal"}:
            shutil.copy(path, engine.warehouse.path.with_name(path.name))


LOSSES: dict[str, Callable[[Files], object]] = {
    "no log": lambda files: files.log.unlink(),
    "an empty log": lambda files: os.truncate(files.log, 0),
    "a cut log": lambda files: os.truncate(files.log, files.log.stat().st_size - 100),
    "garbage for a log": lambda files: files.log.write_bytes(Random(0).randbytes(50_000)),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_lost_commits_are_detected_and_ingested_again(
    filled: Path, tmp_path: Path, loss: Callable[[Files], object], caplog: pytest.LogCaptureFixture
) -> None:
    engine = copy_of(filled, tmp_path)
    loss(Files(engine.warehouse.path))
    ingest_inbox(engine)
    assert f"{engine.warehouse.path} has lost what was committed last" in caplog.text
    assert "its ledger was written 2 times, and had been 3 times" in caplog.text
    assert_invariants_hold(engine, FILES)
    assert engine.pending_deliveries(LOG) == []


def test_commits_that_an_older_copy_lacks_are_ingested_again(filled: Path, tmp_path: Path) -> None:
    engine = copy_of(filled, tmp_path)
    engine.ingest(land(engine, NEXT), LOG)
    restore(filled, engine)
    ingest_inbox(engine)
    assert_invariants_hold(engine, [*FILES, NEXT])


def test_a_run_on_a_damaged_database_fails_with_the_remedy(project: Project) -> None:
    project.drop(NEXT)
    project.engine.warehouse.path.write_bytes(b"no database" * 1000)
    for run in (project.run("ingest_inbox"), project.ingest(NEXT.key)):
        assert not run.success
        (failure,) = [event for event in run.all_events if event.is_step_failure]
        failed = failure.step_failure_data.user_failure_data
        assert failed is not None
        assert "is damaged, or is no database" in failed.description
        assert "Run `lfp rebuild`" in failed.description
    project.engine.warehouse.path.unlink()
    assert project.run("ingest_inbox").success
    assert_invariants_hold(project.engine, [NEXT])


def later_error(engine: Engine) -> str:
    """Return the error of the next run; without one, the invariants hold."""
    try:
        ingest_inbox(engine)
        assert_invariants_hold(engine, [*FILES, NEXT])
    except (WarehouseCorruptError, duckdb.Error) as error:
        return str(error)
    return ""


def damage_at_random(filled: Path, folder: Path, seed: int) -> None:
    """Damage some bytes; then an ingest fails with the remedy, or the tables are right."""
    random = Random(seed)
    engine = copy_of(filled, folder)
    files = Files(engine.warehouse.path)
    path = random.choice([files.database, files.database, files.log])
    size = path.stat().st_size
    if random.random() < 0.3:
        os.truncate(path, random.randrange(size))
    else:
        overwrite(path, random.randrange(size), random.choice([1, 100, 4096, 300_000]))

    (output,) = finish([start(INGEST, engine.settings.data_dir)])
    if output.startswith("merged"):
        error = later_error(engine)
        if not error:
            return
        # The merge has not read the damaged part; the next read reports it.
        assert "Corrupt database file" in error or "Could not read enough" in error
    else:
        assert output.startswith(f"failed {files.database} "), output
        assert "lfp rebuild" in output
    rebuild_products(engine, LOG)
    assert_invariants_hold(engine, [*FILES, NEXT])


@pytest.mark.parametrize("seed", range(2))
def test_damage_anywhere_is_reported_or_harmless(filled: Path, tmp_path: Path, seed: int) -> None:
    damage_at_random(filled, tmp_path, seed)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_damage_in_many_places_is_reported_or_harmless(filled: Path, tmp_path: Path) -> None:
    for seed in range(2, 150):
        damage_at_random(filled, tmp_path / str(seed), seed)
        shutil.rmtree(tmp_path / str(seed))


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "something").touch()


NO_IDS: dict[str, Callable[[Path], object]] = {
    "many digits": lambda path: path.write_text("x " + "9" * 5000),
    "only digits": lambda path: path.write_text("9" * 5000),
    "bytes": lambda path: path.write_bytes(Random(1).randbytes(5000)),
    "zeros": lambda path: path.write_bytes(bytes(36)),
    "nothing": lambda path: path.touch(),
    "digits of other scripts": lambda path: path.write_text("x \u0663\u00b2"),
    "a folder": _folder,
    "a pipe": os.mkfifo,
    "a link to itself": lambda path: path.symlink_to(path),
    "a file without permissions": lambda path: path.touch(mode=0),
}


@pytest.mark.parametrize("damage", NO_IDS.values(), ids=NO_IDS.keys())
def test_an_unreadable_cached_id_is_written_again(
    filled: Path, tmp_path: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    engine = copy_of(filled, tmp_path)
    before = engine.warehouse.cached_id()
    path = engine.warehouse.path.with_name("products.duckdb.id")
    path.unlink()
    damage(path)
    assert engine.warehouse.cached_id() is None
    assert collect_status(engine).problems == []
    ingest_inbox(engine)
    assert engine.warehouse.cached_id() == before
    assert path.read_text().startswith(f"{before} ")
    assert caplog.text.count("WARNING") == 0
    assert_invariants_hold(engine, FILES)
    assert engine.pending_deliveries(LOG) == []
    path.unlink()
    damage(path)
    remove_id(path)
    assert not path.exists()
