"""The public commands, as processes that start in an empty folder."""

import time
from logging import getLogger
from random import Random

import pytest
from dagster import DagsterInstance

from lfp_pipeline.warehouse.file_lock import FileWriterLock
from testing.dagster_project import LEDGER, NAME_COUNTS, NO_SKU, PRODUCTS, drop, query
from testing.expected_tables import File, expected_name_counts, expected_products
from testing.shell import Shell, finish, job

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y")))
B = File("b.csv", 2_000_000, (("s1", "Ann", "z"), ("s3", "Ann", "w")))


def test_the_inbox_is_merged_and_bad_files_are_listed_with_how_to_fix_them(shell: Shell) -> None:
    shell.drop(A, B)
    drop(shell.data / "inbox", "nosku.csv", NO_SKU)
    drop(shell.data / "inbox", "empty.csv", "")
    drop(shell.data / "inbox", "noise.csv", Random(7).randbytes(5_000))
    code, output = shell.run(*job("ingest_inbox"))
    assert code == 1
    assert "3 files are not merged." in output
    assert "nosku.csv was refused: The header has no column sku." in output
    assert "give their other names in LFP_COLUMN_ALIASES." in output
    assert "empty.csv was refused: The file is empty: it has no header and no rows." in output
    assert "noise.csv was refused: " in output
    assert "Traceback" not in output
    assert "leaked" not in output  # DuckDB lists uncollected objects at the end.
    assert query(shell.data, PRODUCTS) == expected_products([A, B])
    assert query(shell.data, NAME_COUNTS) == expected_name_counts([A, B])
    ledger = {key: (status, error) for key, status, error in query(shell.data, LEDGER)}
    for key in ("nosku.csv", "empty.csv", "noise.csv"):
        status, error = ledger[key]
        assert status == "refused"
        assert f"{key} was refused: {error.splitlines()[0]}" in output
    assert list(shell.folder.iterdir()) == []


@pytest.mark.slow
def test_the_inbox_is_merged_without_an_instance(shell: Shell) -> None:
    shell.drop(A)
    bare = {name: value for name, value in shell.environment.items() if name != "DAGSTER_HOME"}
    code, output = Shell(shell.folder, bare).run(*job("ingest_inbox"))
    assert code == 0, output
    assert query(shell.data, PRODUCTS) == expected_products([A])


def test_a_new_partition_is_merged_and_shows_in_the_instance(shell: Shell) -> None:
    shell.drop(A)
    code, output = shell.run(*job("ingest_products", A.key))
    assert code == 0, output
    assert query(shell.data, PRODUCTS) == expected_products([A])
    with DagsterInstance.from_config(shell.environment["DAGSTER_HOME"]) as instance:
        assert list(instance.get_dynamic_partitions("product_files")) == [A.key]
        assert [run.status.value for run in instance.get_runs()] == ["SUCCESS"]


def test_a_wrong_setting_is_refused_in_a_few_lines(shell: Shell) -> None:
    code, output = shell.run(*job("ingest_inbox"), threads=0, thread=1)
    assert code == 1
    assert "LFP_THREAD is not a setting; did you mean LFP_THREADS?" in output
    assert "LFP_THREADS = '0': Input should be greater than or equal to 1" in output
    assert "Traceback" not in output
    assert not (shell.data / "products.duckdb").exists()


def test_a_run_waits_for_a_writing_run(shell: Shell) -> None:
    shell.drop(A)
    database = shell.data / "products.duckdb"
    with FileWriterLock(database, wait_seconds=0).held("testing", getLogger(__name__)):
        process = shell.start(*job("ingest_products", A.key))
        while not list(shell.data.glob("raw/*/*.json")):
            assert process.poll() is None, finish(process)
            time.sleep(0.05)
        time.sleep(0.5)
        assert process.poll() is None
        assert not database.exists()
    code, output = finish(process)
    assert code == 0, output
    assert query(shell.data, PRODUCTS) == expected_products([A])
