"""Runs that commands make in their process: how they show, fail and end."""

import json
import os
import signal
import subprocess
import sys
import time

import dagster as dg
import pytest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from lfp_pipeline.cli.run_job import run_job
from lfp_pipeline.dagster_support.partitions import product_files
from testing.command_line import CommandLine, start
from testing.dagster_project import PRODUCTS, drop, query
from testing.engine import LOG
from testing.expected_tables import File, expected_products
from testing.processes import HOLD_WRITER_LOCK, running

pytestmark = pytest.mark.slow  # Each starts processes.

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y")))


def test_a_run_shows_under_its_job_with_its_events(lfp: CommandLine):
    lfp.drop(A)
    ended = run_job("ingest_inbox")
    assert ended.succeeded
    with dg.DagsterInstance.from_config(str(lfp.home)) as instance:
        # The UI lists the runs of a job by its name and the label of its code location.
        label = {".dagster/repository": "__repository__@lfp_pipeline"}
        (run,) = instance.get_runs(dg.RunsFilter(job_name="ingest_inbox", tags=label))
        assert (run.run_id, run.status.value) == (ended.run_id, "SUCCESS")
        assert instance.get_materialized_partitions(dg.AssetKey("products")) == {"a.csv"}
        assert instance.all_logs(run.run_id)


def test_messages_are_short_unless_verbose_and_have_no_warnings(
    lfp: CommandLine,
):
    lfp.drop(A)
    process = start("ingest")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "a.csv" in out
    assert err.splitlines()[1:] == [
        "Ingesting 1 inbox file and 0 landed deliveries",
        *(line for line in err.splitlines() if line.startswith("Published the tables: ")),
    ]
    lfp.drop(File("b.csv", 2_000_000, A.rows))
    process = start("ingest", "--verbose")
    _, err = process.communicate(timeout=120)
    assert "INFO" in err
    assert "Warning" not in err


FIRST_LINES = {
    ("ingest",): "Looking at the inbox",
    ("revert", "a.csv"): "Reverting a.csv",
    ("reinstate", "a.csv", "--dry-run"): "Reinstating a.csv (dry run)",
    ("dismiss", "a.csv"): "Dismissing a.csv",
    ("purge", "s1"): "Purging products",
    ("rebuild",): "Rebuilding the database",
    ("prune",): "Pruning the raw zone",
    ("export",): "Exporting the tables",
    ("verify",): "Verifying the tables and the raw zone",
    ("publish",): "Publishing the tables",
}
LARGE = {"dagster", "duckdb", "pydantic", "rich"}

_UP_TO_THE_FIRST_LINE = """
import json, sys
from lfp_pipeline.cli import output
from lfp_pipeline.cli.main import main

def say(text):
    print(json.dumps([text, sorted(sys.modules)]))
    sys.exit()

output.say = say  # Before the modules of commands import it.
for command in json.loads(sys.argv[1]):
    try:
        main(command)
    except SystemExit:
        pass
"""


def test_the_first_line_comes_before_anything_large_is_imported(lfp: CommandLine):
    assert lfp.data.exists()
    code = [sys.executable, "-c", _UP_TO_THE_FIRST_LINE, json.dumps(list(FIRST_LINES))]
    done = subprocess.run(code, capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line for line, _ in found] == list(FIRST_LINES.values()), done.stderr
    for line, modules in found:
        assert not LARGE & {*modules}, line


def test_nothing_to_do_imports_no_dagster(lfp: CommandLine):
    lfp.drop(A)
    lfp.done("ingest")
    code = (
        "import sys\n"
        "from lfp_pipeline.cli.main import main\n"
        "try:\n    main(['ingest'])\n"
        "finally:\n    print('dagster' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Nothing to do" in done.stderr
    assert done.stdout == "False\n"


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_a_run_and_leaves_nothing_half_done(lfp: CommandLine, ending: int):
    lfp.drop(A)
    lfp.done("ingest")
    drop(lfp.data / "inbox", "b.csv", "sku,name,description\ns9,Zoe,\n")
    with running(HOLD_WRITER_LOCK, str(lfp.data / "products.duckdb")):
        process = start("ingest")
        while not list(lfp.data.glob("products.duckdb.waiting/*")):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(ending)
        time.sleep(0.5)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert "Interrupted" in err
    assert "Traceback" not in err
    assert [run.status.value for run in lfp.runs()] == ["FAILURE", "SUCCESS"]
    assert query(lfp.data, PRODUCTS) == expected_products([A])
    lfp.done("ingest")
    assert len(query(lfp.data, PRODUCTS)) == 3


def test_a_second_ctrl_c_ends_at_once_and_the_next_run_completes_the_work(lfp: CommandLine):
    lfp.set(threads=1)
    lfp.done("sample", "--rows", "300000")
    process = start("ingest")
    assert process.stderr
    while not list(lfp.data.glob("raw/*/*.json")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    lines = []
    while "Stopping" not in "".join(lines):
        lines.append(process.stderr.readline())
        assert lines[-1], lines
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Interrupted" in err
    assert "Traceback" not in err
    assert lfp.runs()[0].status.value == "FAILURE"
    lfp.done("ingest")
    lfp.done("verify")
    (deliveries,) = query(lfp.data, "SELECT count(*), sum(rows_read) FROM deliveries")
    assert deliveries == (1, 300_000)


_SIGNALS_AT_AN_EVENT = """
import signal, sys
import dagster as dg
from lfp_pipeline.cli.main import main

remaining, signals = map(int, sys.argv[1:])
handle = dg.DagsterInstance.handle_new_event

def handle_with_signals(*arguments, **options):
    global remaining
    remaining -= 1
    for _ in range(0 if remaining else signals):
        signal.raise_signal(signal.SIGINT)
    return handle(*arguments, **options)

dg.DagsterInstance.handle_new_event = handle_with_signals
main(["ingest"])
"""


def test_ctrl_c_ends_a_run_also_while_dagster_stores_an_event(lfp: CommandLine):
    lfp.drop(A)
    moments = ((1, 1), (1, 2), (5, 2), (10, 2), (16, 2))  # From before the step to after the merge.
    for moment in moments:
        code = [sys.executable, "-c", _SIGNALS_AT_AN_EVENT, *map(str, moment)]
        ended = subprocess.run(code, capture_output=True, text=True, check=False, timeout=60)
        assert ended.returncode == 1, (moment, ended.stderr)
        assert "Interrupted" in ended.stderr, (moment, ended.stderr)
        assert "Traceback" not in ended.stderr, (moment, ended.stderr)
        assert lfp.runs()[0].status.value == "FAILURE", moment
        lfp.drop(File(f"{moment}.csv", 2_000_000, A.rows))
    assert len(lfp.runs()) == len(moments)
    lfp.done("ingest")
    lfp.done("verify")
    assert query(lfp.data, "SELECT count(*) FROM deliveries") == [(1 + len(moments),)]


def test_one_ctrl_c_shows_what_is_still_merged_and_the_next_run_the_totals(lfp: CommandLine):
    lfp.set(threads=1)
    lfp.done("sample", "--rows", "200000")
    process = start("ingest")
    while not list(lfp.data.glob("raw/*/*.json")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    ((rows,),) = query(lfp.data, "SELECT count(*) FROM products")
    assert rows
    keys = {key for (key,) in query(lfp.data, "SELECT partition_key FROM deliveries")}
    lfp.done("ingest")
    with dg.DagsterInstance.from_config(str(lfp.home)) as instance:
        assert instance.get_materialized_partitions(dg.AssetKey("products")) == keys
        (latest,) = instance.fetch_materializations(dg.AssetKey("products"), limit=1).records
        assert latest.asset_materialization
        assert latest.asset_materialization.metadata["dagster/row_count"].value == rows
    assert "Nothing to do" in lfp.done("ingest").err


_KILLED_AT = """
import os
from lfp_pipeline.cli.main import main
from lfp_pipeline.defs import jobs

jobs.{step} = lambda *_: os._exit(9)
main(["ingest"])
"""


@pytest.mark.parametrize("step", ["_report_result", "show_tables"])
def test_what_a_killed_run_could_not_show_the_next_one_shows(lfp: CommandLine, step: str):
    lfp.drop(A)
    lfp.done("ingest")
    drop(lfp.data / "inbox", "b.csv", "sku,name,description\ns9,Zoe,\n")
    code = _KILLED_AT.format(step=step)
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert len(query(lfp.data, PRODUCTS)) == 3
    lfp.done("ingest")
    products = dg.AssetKey("products")
    with dg.DagsterInstance.from_config(str(lfp.home)) as instance:
        assert instance.get_materialized_partitions(products) == {"a.csv", "b.csv"}
        for asset in ("products", "name_counts"):
            (latest,) = instance.fetch_materializations(dg.AssetKey(asset), limit=1).records
            assert latest.asset_materialization
            assert latest.asset_materialization.metadata["dagster/row_count"].value == 3
    runs = len(lfp.runs())
    assert "Nothing to do" in lfp.done("ingest").err
    assert len(lfp.runs()) == runs


def test_a_file_that_a_killed_run_refused_is_a_failed_partition(lfp: CommandLine):
    lfp.drop(A)
    lfp.done("ingest")
    drop(lfp.data / "inbox", "bad.csv", "name,description\nZoe,\n")
    code = _KILLED_AT.format(step="_report_result")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    (lfp.data / "inbox" / "bad.csv").unlink()
    lfp.done("ingest")
    with dg.DagsterInstance.from_config(str(lfp.home)) as instance:
        status = get_and_update_asset_status_cache_value(
            instance, dg.AssetKey("products"), product_files
        )
        assert status
        failed = status.deserialize_failed_partition_subsets(product_files)
        assert list(failed.get_partition_keys()) == ["bad.csv"]
    assert "Nothing to do" in lfp.done("ingest").err


@pytest.mark.parametrize("json", [(), ("--json",)])
def test_a_wrong_setting_prints_at_most_three_lines(lfp: CommandLine, json: tuple[str, ...]):
    lfp.set(threads=0)
    for command in (["ingest"], ["verify"], ["purge", "s1"]):
        ended = lfp(*command, *json)
        assert ended.code == 1
        assert "LFP_THREADS" in ended.err
        assert len(ended.err.splitlines()) <= 4
        assert ended.out == ""


_INTERRUPTED_AFTER = """
import signal, sys
from lfp_pipeline.engine import Engine
from lfp_pipeline.cli.main import main

Engine.ingest = lambda *_: signal.raise_signal(signal.SIGINT)
main(sys.argv[1:])
"""


def test_an_interrupted_request_says_that_the_next_ingest_completes_it(lfp: CommandLine):
    lfp.drop(A)
    lfp.done("ingest")
    for command, skus in ((["purge", "s1"], {"s2"}), (["revert", "a.csv"], set())):
        done = subprocess.run(
            [sys.executable, "-c", _INTERRUPTED_AFTER, *command],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1, done.stderr
        assert "as it was" not in done.stderr
        (request,) = lfp.engine.pending_deliveries(LOG)
        assert f"The next `lfp ingest` completes what was recorded: {request.label}." in (
            done.stderr
        )
        lfp.done("ingest")
        assert {sku for sku, *_ in query(lfp.data, PRODUCTS)} == skus


@pytest.mark.parametrize("command", [["ingest"], ["purge", "s1"]])
def test_a_run_does_not_fail_since_nobody_reads_its_messages(lfp: CommandLine, command: list[str]):
    lfp.drop(File("first.csv", 1_000_000, A.rows))
    lfp.done("ingest")
    lfp.drop(*(File(f"{number}.csv", 2_000_000 + number, A.rows) for number in range(3)))
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as unread:
        done = subprocess.run(
            [sys.executable, "-m", "lfp_pipeline", *command],
            stdout=subprocess.PIPE,
            stderr=unread,
            check=False,
        )
    assert done.returncode == 0
    assert done.stdout
    assert [run.status.value for run in lfp.runs()] == ["SUCCESS", "SUCCESS"]
