"""A data folder and a Dagster home of an earlier commit keep working.

The archive holds both as commit 456b781 left them; `make_archive.py` made it with that commit. The
tables must hold what that commit published, and the first test compares that with a dict.
"""

import os
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from lfp_pipeline.cli.dagster_home import prepare
from lfp_pipeline.common.project_folder import TEMPLATES
from lfp_pipeline.errors import OperationRefusedError
from lfp_pipeline.operations.rebuild import rebuild_products
from lfp_pipeline.operations.revert import reinstate_delivery, revert_delivery
from lfp_pipeline.operations.status import collect_status
from lfp_pipeline.operations.status_text import render_status
from lfp_pipeline.operations.verify import verify
from testing.dagster_project import HEADER, NAME_COUNTS, PRODUCTS, Project, drop, project_of, query
from testing.engine import LOG

pytestmark = pytest.mark.skipif(
    duckdb.__version__ < "2", reason="DuckDB 2 wrote the archive, which DuckDB 1 cannot read"
)

ARCHIVE = Path(__file__).with_name("project-456b781.tar.xz")

DELETIONS = "FROM deletions ORDER BY ALL"
STATUSES = "SELECT status, count(*) FROM deliveries GROUP BY status"
ID = "SELECT delivery_id FROM deliveries WHERE partition_key = "

APRIL = 1_743_465_600_000_000
"""The time of both versions of same.csv, in microseconds."""
AUGUST = 1_754_006_400_000_000
"""A time after that of all files in the archive except one."""

Table = list[tuple[Any, ...]]


def products_of_the_archive() -> dict[str, tuple[str, str]]:
    """Return the product of each sku, as the texts of the files in `make_archive.py` have them."""
    catalogue = {
        f"c{number}": (("Lamp", "Chair", "Desk")[number % 3], f"{edition} {number}")
        for edition, products in (("first", 12), ("second", 8))
        for number in range(1, products + 1)
    }
    del catalogue["c6"]  # Purged; so are n1, p1 and p2.
    return catalogue | {
        "c2": ("Bench", "of the future"),
        "c5": ("Sofa", ""),
        "c10": ("Sofa", ""),
        "f1": ("Bench", ""),
        **dict.fromkeys(("l1", "l2", "l3"), ("Lamp", "")),
        **{f"m{number}": ("Rug", str(number)) for number in range(1, 20)},
        "n2": ("Stool", ""),
        **dict.fromkeys(("o1", "o2"), ("Vase", "new")),
        "t1": ("One", "1"),  # Of two versions with the same time, the digest decided.
    }


LATE = {"c7": ("Late", ""), "z1": ("Late", "")}
"""Deliveries that have landed and are not merged."""


@dataclass(frozen=True)
class Old:
    """A project of an earlier commit, and its tables as that commit published them."""

    project: Project
    products: Table
    deletions: Table

    @property
    def data(self) -> Path:
        return self.project.data

    def assert_tables(self, changes: dict[str, tuple[str, str]] | None = None) -> None:
        """Assert that the tables are those that were published, with these changes."""
        changed = changes or {}
        found = self.project.products
        assert [row for row in found if row[0] not in changed] == [
            row for row in self.products if row[0] not in changed
        ]
        assert texts(found) == texts(self.products) | changed
        counts = Counter(name for name, _ in texts(found).values())
        assert query(self.data, NAME_COUNTS) == sorted(counts.items())
        assert query(self.data, DELETIONS) == self.deletions

    def id_of(self, key: str) -> str:
        ((delivery_id,),) = query(self.data, f"{ID} '{key}'")
        return str(delivery_id)


def texts(products: Table) -> dict[str, tuple[str, str]]:
    found = {sku: (name, description) for sku, name, description, *_ in products}
    assert len(found) == len(products)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Unpack the archive as if its files had always been there."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    shutil.copy(TEMPLATES / "dagster.yaml", tmp_path / "home")
    # Unpacked files have a new ctime. Status notes must be newer than the files of the inbox.
    for note in (*tmp_path.glob("data/raw/*/*.outcome"), *tmp_path.glob("data/raw/*/*.pruned")):
        os.utime(note)
    return tmp_path


@pytest.fixture
def old(folder: Path) -> Iterator[Old]:
    published = folder / "data" / "published"
    products, deletions = query(published, PRODUCTS), query(published, DELETIONS)
    assert prepare(folder / "home") == []
    with dg.DagsterInstance.from_config(str(folder / "home")) as instance:
        project = project_of(
            folder / "data", instance, folder / "home", other_process_wait_seconds=0
        )
        project.cursors.update(cursors(instance))
        yield Old(project, products, deletions)


def cursors(instance: dg.DagsterInstance) -> dict[str, str | None]:
    """Return the cursors of the sensors."""
    states = {state.instigator_name: state for state in instance.all_instigator_state()}
    return {name: state.instigator_data.cursor for name, state in states.items()}


def test_the_archive_has_every_state_of_a_delivery(folder: Path) -> None:
    data = folder / "data"
    assert query(data, "SELECT max(version) FROM schema_version") == [(3,)]
    assert texts(query(data, PRODUCTS)) == products_of_the_archive()
    assert query(data, PRODUCTS) == query(data / "published", PRODUCTS)
    assert [sku for sku, *_ in query(data, DELETIONS)] == ["c6", "n1", "p1", "p2"]
    assert dict(query(data, STATUSES)) == {"merged": 12, "refused": 1, "reverted": 1, "failed": 1}
    assert len(list(data.glob("raw/*/*.pruned"))) == 2
    assert len(list(data.glob("raw/*/*.reverted"))) == 1
    outcomes = Counter(note.read_text().split()[0] for note in data.glob("raw/*/*.outcome"))
    assert outcomes == {"merged": 12, "refused": 1, "reverted": 1}


def test_the_status_names_pending_files_and_those_that_need_attention(old: Old) -> None:
    state = collect_status(old.project.engine)
    assert [file.name for file in state.pending] == ["late.csv"]
    assert state.problems == []
    assert state.tables
    keys = [row["partition_key"] for row in state.tables.needs_attention]
    assert keys == ["broken.csv", "old.csv"]
    assert "late.csv" in render_status(state)
    old.assert_tables()


def test_verify_finds_no_problem(old: Old) -> None:
    assert verify(old.project.engine, LOG, full=True).problems == ()
    old.assert_tables()


def test_a_rebuild_gives_the_same_tables(old: Old) -> None:
    rebuild_products(old.project.engine, LOG)
    old.assert_tables(LATE)
    assert verify(old.project.engine, LOG).problems == ()


def test_a_rebuild_without_the_database_gives_the_same_tables(old: Old) -> None:
    for path in old.data.glob("products.duckdb*"):
        path.unlink()
    rebuild_products(old.project.engine, LOG)
    old.assert_tables(LATE)


def test_the_sensor_requests_only_pending_files(old: Old) -> None:
    assert "file_drop_sensor" in old.project.cursors
    runs = old.project.instance.get_runs()
    tick = old.project.tick()
    (request,) = tick.run_requests
    assert request.partition_key == "late.csv"
    # Dagster skips a request with the key of an earlier run.
    assert request.run_key not in {run.tags.get("dagster/run_key") for run in runs}
    (run,) = old.project.do(tick)
    assert run.success
    assert old.project.tick().run_requests == []
    old.assert_tables(LATE)


def test_a_run_ingests_only_pending_files(old: Old) -> None:
    run = old.project.run("ingest_inbox")
    assert "broken.csv was refused" in old.project.error(run)
    old.assert_tables(LATE)
    assert verify(old.project.engine, LOG).problems == ()


def test_earlier_runs_and_partitions_still_show(old: Old) -> None:
    project = old.project
    before = project.materialized("products")
    assert {"catalogue.csv", "lamps.zip", "future.csv"} <= before
    assert set(project.registered) == {path.name for path in old.data.glob("raw/*")} - {"purges"}
    runs = {run.run_id for run in project.instance.get_runs()}
    assert len(runs) > len(before)
    assert project.metadata("products", "lamps.zip")["rows_read"] == 3
    new_version(old)
    assert project.ingest("catalogue.csv").success
    assert project.metadata("products", "catalogue.csv")["rows_read"] == 2
    assert project.materialized("products") == before
    assert runs < {run.run_id for run in project.instance.get_runs()}


def new_version(old: Old) -> None:
    """Drop a new version of a file. Its second sku keeps its row, which has a future date."""
    drop(old.project.inbox, "catalogue.csv", f"{HEADER}c1,Chair,third\nc2,Chair,third\n", AUGUST)


def test_new_versions_of_old_files_are_merged(old: Old) -> None:
    new_version(old)
    # Two versions have this time already: the one that lands last is the newest.
    drop(old.project.inbox, "same.csv", f"{HEADER}t1,Three,333\n", APRIL)
    (run,) = old.project.do(old.project.tick())
    assert run.success
    old.assert_tables(LATE | {"c1": ("Chair", "third"), "t1": ("Three", "333")})
    assert verify(old.project.engine, LOG).problems == ()


def test_a_reverted_delivery_is_reinstated(old: Old) -> None:
    reinstate_delivery(old.project.engine, old.id_of("wrong.csv"), LOG)
    old.assert_tables({"c3": ("Wrong", ""), "c4": ("Wrong", "")})


def test_a_reversal_needs_a_rebuild_first(old: Old) -> None:
    engine, again = old.project.engine, old.id_of("again.csv")
    with pytest.raises(OperationRefusedError, match="lfp rebuild"):
        revert_delivery(engine, again, LOG, ignore_pruned_history=True)
    old.assert_tables()
    rebuild_products(engine, LOG)
    revert_delivery(engine, again, LOG, ignore_pruned_history=True)
    old.assert_tables(LATE | {"c5": ("Desk", "second 5"), "c10": ("Chair", "first 10")})
    assert verify(engine, LOG, full=True).problems == ()
