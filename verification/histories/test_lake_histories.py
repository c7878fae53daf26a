"""Some random histories of lakes, and faults that they must detect."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lfp_pipeline.engine import Engine
from lfp_pipeline.warehouse import lake, lake_maintenance, merge
from lfp_pipeline.warehouse.name_counts import recount_names
from testing.postgres import PostgresServer
from testing.processes import run_module
from verification.histories import history
from verification.histories.actions import Action, Deliver
from verification.histories.expected_state import ExpectedState
from verification.histories.history import BATCHES, Case, DifferenceError, run_history
from verification.histories.kill_points import KilledError
from verification.histories.lake_actions import LookBack, Maintain
from verification.histories.lake_storage import LakeStorage
from verification.histories.lakes import Lakes
from verification.histories.rules import Version

pytest.importorskip("psycopg")
pytest.importorskip("duckdb_extension_ducklake")

SEED = 4

OLD = Version("a", 1, (("s1", "Ann", "x"), ("s2", "Bob", "x")))
NEW = Version("a", 2, (("s1", "Eva", "x"), ("s2", "Bob", "y")))


@pytest.fixture
def lakes(postgres: PostgresServer, bucket_place: str) -> Lakes:
    return Lakes(postgres, bucket_place)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_history_of_a_lake_gives_the_expected_tables(lakes: Lakes, tmp_path: Path) -> None:
    case = Case(SEED, 1, tuple(range(4)))
    assert len(list(run_history(case, tmp_path, lakes))) == 4
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", range(2, 12))
def test_many_histories_of_lakes_give_the_expected_tables(
    lakes: Lakes, number: int, tmp_path: Path
) -> None:
    assert len(list(run_history(Case(SEED, number), tmp_path, lakes))) == BATCHES


def difference_of(
    lakes: Lakes,
    monkeypatch: pytest.MonkeyPatch,
    parent: Path,
    *actions: Action,
) -> DifferenceError:
    """Do these actions, the last of which must give a difference, and return it."""
    rest = list(actions)
    monkeypatch.setattr(history, "KILL_SHARE", 0)
    monkeypatch.setattr(history, "draw_action", lambda *_: rest.pop(0))
    with pytest.raises(DifferenceError) as found:
        list(run_history(Case(SEED, 0, tuple(range(len(actions)))), parent, lakes))
    assert not rest
    return found.value


@dataclass(frozen=True)
class LookBackAtOldest(LookBack):
    """Looks at the oldest snapshot that was checked."""

    snapshot: int = 0

    def do(self, engine: Engine, state: ExpectedState) -> None:
        LookBack(min(state.snapshots)).do(engine, state)


@pytest.mark.slow
def test_a_snapshot_that_changes_is_detected(
    lakes: Lakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = LakeStorage.newest_snapshot
    # As if what was found after the first delivery had been the tables of the second one.
    monkeypatch.setattr(LakeStorage, "newest_snapshot", lambda *found: newest(*found) - 1)
    delivered = [Deliver([file], "one by one") for file in (OLD, NEW)]
    difference = difference_of(lakes, monkeypatch, tmp_path, *delivered, LookBackAtOldest())
    assert "had" in str(difference)


def test_snapshots_that_expire_too_early_are_detected(
    lakes: Lakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def expire_all(connection: Any, now: datetime, _: timedelta, hold: Any) -> Any:  # noqa: ANN401
        return lake_maintenance.maintain_lake(connection, now, timedelta(0), hold)

    monkeypatch.setattr(lake, "maintain_lake", expire_all)
    delivered = [Deliver([file], "one by one") for file in (OLD, NEW)]
    maintained = Maintain(retention_hours=24, dry_run=False)
    actions = (*delivered, maintained, LookBackAtOldest())
    difference = difference_of(lakes, monkeypatch, tmp_path, *actions)
    assert "No snapshot found" in str(difference)


@dataclass(frozen=True)
class LeaveFile(Action):
    """A writer has left a file that the catalog does not know."""

    def do(self, engine: Engine, state: ExpectedState) -> None:
        (Path(engine.settings.lake_place) / "data" / "left.parquet").touch()

    def apply(self, state: ExpectedState, engine: Engine) -> None:
        """Change nothing."""


def test_files_that_maintenance_leaves_are_detected(
    lakes: Lakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_maintenance, "_ORPHANS", "SELECT $time, $dry_run WHERE false")
    maintained = Maintain(retention_hours=0, dry_run=False)
    actions = (Deliver([OLD], "one by one"), LeaveFile(), maintained)
    difference = difference_of(lakes, monkeypatch, tmp_path, *actions)
    assert "left.parquet" in str(difference)


def test_a_merge_into_a_lake_without_a_transaction_is_detected(
    lakes: Lakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def no_transaction(connection: object) -> Iterator[None]:
        del connection
        yield

    kills = iter([True])

    def killed_once(connection: duckdb.DuckDBPyConnection) -> None:
        if next(kills, False):
            raise KilledError
        recount_names(connection)

    monkeypatch.setattr(merge, "transaction", no_transaction)
    monkeypatch.setattr(merge, "recount_names", killed_once)
    delivered = Deliver([OLD], "together")
    difference = difference_of(lakes, monkeypatch, tmp_path, delivered)
    assert "killed after" in difference.report[-1]


@pytest.mark.slow
def test_the_command_runs_histories_of_lakes(tmp_path: Path) -> None:
    options = ["--lake", "--batches", 3, "--seed", SEED, "--processes", 1, "--folder", tmp_path]
    ended = run_module("verification.histories", *options)
    assert ended.returncode == 0, ended.stderr
    assert "3 random batches against the oracle" in ended.stdout
