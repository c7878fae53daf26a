"""The public commands, as processes that start in an empty folder."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from random import Random

import pytest
from dagster import DagsterInstance

from lfp_pipeline.warehouse.writer_lock import WriterLock
from lfp_pipeline_tests.landing.http_server import content_of, serving
from lfp_pipeline_tests.oracle import File, true_counts, true_products
from lfp_pipeline_tests.support import (
    LEDGER,
    NAME_COUNTS,
    NO_SKU,
    PARTITION_TAG,
    PRODUCTS,
    drop,
    query,
)
from lfp_pipeline_tests.support import project as project_in

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y")))
B = File("b.csv", 2_000_000, (("s1", "Ann", "z"), ("s3", "Ann", "w")))

PROJECT = Path(__file__).parents[1]

HOLD = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Shell:
    """A shell in an empty folder, with a data folder and an instance elsewhere."""

    folder: Path
    environment: Mapping[str, str]

    @property
    def data(self) -> Path:
        return Path(self.environment["LFP_DATA_DIR"])

    def drop(self, *files: File) -> None:
        for file in files:
            drop(self.data / "inbox", file.key, file.content, file.microseconds)

    def start(self, *arguments: str, **settings: object) -> subprocess.Popen[str]:
        told = {f"LFP_{name.upper()}": str(value) for name, value in settings.items()}
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=self.folder,
            env={**self.environment, **told},
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, *arguments: str, **settings: object) -> tuple[int, str]:
        """The exit code of a command, and what it said."""
        return finish(self.start(*arguments, **settings))


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def job(name: str, partition: str | None = None) -> list[str]:
    tags = ["--tags", json.dumps({PARTITION_TAG: partition})] if partition else []
    return ["dagster", "job", "execute", "-m", "lfp_pipeline.definitions", "-j", name, *tags]


@pytest.fixture
def shell(tmp_path: Path, home: Path) -> Shell:
    (tmp_path / "empty").mkdir()
    (tmp_path / "data" / "inbox").mkdir(parents=True)
    shutil.copytree(home, tmp_path / "home")
    shutil.copy(PROJECT / "dagster.yaml", tmp_path / "home")
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("LFP_") or name == "LFP_SETTINGS_FILE"
    }
    own = {
        "LFP_DATA_DIR": str(tmp_path / "data"),
        "LFP_INBOX_QUIET_SECONDS": "0",
        "LFP_THREADS": "2",
        "LFP_ALLOWED_HOSTS": "127.0.0.1",
        "DAGSTER_HOME": str(tmp_path / "home"),
    }
    return Shell(tmp_path / "empty", inherited | own)


def test_the_inbox_goes_in_and_bad_files_are_told_with_how_to_mend_them(shell: Shell) -> None:
    shell.drop(A, B)
    drop(shell.data / "inbox", "nosku.csv", NO_SKU)
    drop(shell.data / "inbox", "empty.csv", "")
    drop(shell.data / "inbox", "noise.csv", Random(7).randbytes(5_000))
    code, output = shell.run(*job("ingest_inbox"))
    assert code == 1
    assert "3 files are not in." in output
    assert "nosku.csv was refused: The header has no column sku." in output
    assert "give their other names in LFP_COLUMN_ALIASES." in output
    assert "empty.csv was refused: The file is empty: it has no header and no rows." in output
    assert "noise.csv was refused: " in output
    assert "Traceback" not in output
    assert "leaked" not in output  # DuckDB lists what is not collected at the end.
    assert query(shell.data, PRODUCTS) == true_products([A, B])
    assert query(shell.data, NAME_COUNTS) == true_counts([A, B])
    ledger = {key: (status, error) for key, status, error in query(shell.data, LEDGER)}
    for key in ("nosku.csv", "empty.csv", "noise.csv"):
        status, error = ledger[key]
        assert status == "refused"
        assert f"{key} was refused: {error.splitlines()[0]}" in output
    assert list(shell.folder.iterdir()) == []


@pytest.mark.slow
def test_without_an_instance_the_inbox_goes_in_as_well(shell: Shell) -> None:
    shell.drop(A)
    bare = {name: told for name, told in shell.environment.items() if name != "DAGSTER_HOME"}
    code, output = Shell(shell.folder, bare).run(*job("ingest_inbox"))
    assert code == 0, output
    assert query(shell.data, PRODUCTS) == true_products([A])


def test_a_new_partition_goes_in_and_shows_in_the_instance(shell: Shell) -> None:
    shell.drop(A)
    code, output = shell.run(*job("ingest_products", A.key))
    assert code == 0, output
    assert query(shell.data, PRODUCTS) == true_products([A])
    with DagsterInstance.from_config(shell.environment["DAGSTER_HOME"]) as instance:
        assert list(instance.get_dynamic_partitions("product_files")) == [A.key]
        assert [run.status.value for run in instance.get_runs()] == ["SUCCESS"]


@pytest.mark.slow
def test_a_url_goes_into_the_partition_that_is_named(shell: Shell) -> None:
    modified = "Thu, 01 Jan 1970 00:00:01 GMT"
    with serving(content_of(A.content, Last_Modified=modified)) as server:
        config = {"ops": {"raw_products": {"config": {"source": server.url()}}}}
        (shell.folder / "run.yaml").write_text(json.dumps(config))
        code, output = shell.run(*job("ingest_products", A.key), "-c", "run.yaml")
        source = server.url()
    assert code == 0, output
    assert query(shell.data, PRODUCTS) == true_products([A])
    assert query(shell.data, "SELECT source FROM deliveries") == [(source,)]


@pytest.mark.slow
def test_a_refused_partition_fails_and_says_why(shell: Shell) -> None:
    drop(shell.data / "inbox", "bad.csv", NO_SKU)
    code, output = shell.run(*job("ingest_products", "bad.csv"))
    assert code == 1
    assert "bad.csv was refused: The header has no column sku." in output
    assert [row[:2] for row in query(shell.data, LEDGER)] == [("bad.csv", "refused")]


def test_a_wrong_setting_is_refused_in_a_few_lines(shell: Shell) -> None:
    code, output = shell.run(*job("ingest_inbox"), threads=0, thread=1)
    assert code == 1
    assert "LFP_THREAD is not a setting; did you mean LFP_THREADS?" in output
    assert "LFP_THREADS = '0': Input should be greater than or equal to 1" in output
    assert "Traceback" not in output
    assert not (shell.data / "products.duckdb").exists()


def overlapping_files() -> list[File]:
    random = Random(7)

    def row() -> tuple[str, str, str]:
        return f"s{random.randrange(300)}", f"n{random.randrange(40)}", f"d{random.randrange(3)}"

    return [
        File(f"f{number}.csv", number // 2 * 1_000_000, tuple(row() for _ in range(200)))
        for number in range(5)
    ]


@pytest.mark.slow
def test_five_processes_at_once_come_to_the_same_as_one_after_another(
    shell: Shell, tmp_path: Path, home: Path
) -> None:
    files = overlapping_files()
    found = {}
    for name, order in (("in order", files), ("in reverse", files[::-1])):
        with project_in(tmp_path / name, home) as project:
            for file in order:
                project.drop(file)
                assert project.ingest(file.key).success
            found[name] = project.products, query(project.data, NAME_COUNTS)
    shell.drop(*files)
    processes = [shell.start(*job("ingest_products", file.key)) for file in files]
    for code, output in map(finish, processes):
        assert code == 0, output
    found["at once"] = query(shell.data, PRODUCTS), query(shell.data, NAME_COUNTS)
    truth = true_products(files), true_counts(files)
    assert found == dict.fromkeys(found, truth)


def test_a_run_waits_for_another_that_is_writing_and_then_goes_on(shell: Shell) -> None:
    shell.drop(A)
    database = shell.data / "products.duckdb"
    with WriterLock(database, wait_seconds=0).held("testing", getLogger(__name__)):
        process = shell.start(*job("ingest_products", A.key))
        while not list(shell.data.glob("raw/*/*.json")):
            assert process.poll() is None, finish(process)
            time.sleep(0.05)
        time.sleep(0.5)
        assert process.poll() is None
        assert not database.exists()
    code, output = finish(process)
    assert code == 0, output
    assert query(shell.data, PRODUCTS) == true_products([A])


def test_a_program_that_has_the_database_open_fails_the_run_by_name_and_does_no_harm(
    shell: Shell,
) -> None:
    shell.drop(A)
    shell.run(*job("ingest_inbox"))
    shell.drop(B)
    holding = [sys.executable, "-c", HOLD, shell.data / "products.duckdb"]
    with subprocess.Popen(holding, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"open\n"
        started = time.monotonic()
        code, output = shell.run(*job("ingest_inbox"), foreign_wait_seconds=1)
        assert time.monotonic() - started < 60
        assert code == 1
        assert re.search(rf"is open in another program: .*\(PID {holder.pid}\)", output)
        holder.communicate()
    assert query(shell.data, PRODUCTS) == true_products([A])
    code, output = shell.run(*job("ingest_inbox"))
    assert code == 0, output
    assert query(shell.data, PRODUCTS) == true_products([A, B])


def test_the_demo_shows_exact_tables_and_does_nothing_the_second_time(shell: Shell) -> None:
    code, first = shell.run("lfp_pipeline.demo", "--rows", "2000")
    assert code == 0, first
    assert "2,000 rows read" in first
    assert "Rows, products and names are exactly what the generator says it made." in first
    tables = query(shell.data, PRODUCTS), query(shell.data, NAME_COUNTS)
    code, second = shell.run("lfp_pipeline.demo", "--rows", "2000")
    assert code == 0, second
    assert "Nothing is pending" in second
    assert "exactly what the generator says" in second
    assert (query(shell.data, PRODUCTS), query(shell.data, NAME_COUNTS)) == tables


def test_a_sample_is_made_where_it_is_asked_for(shell: Shell) -> None:
    out = shell.data / "inbox" / "sample.csv.gz"
    code, output = shell.run("lfp_pipeline.sample", "--rows", "2000", "--out", str(out))
    assert code == 0, output
    assert out.exists()
    assert "2,000" in output
