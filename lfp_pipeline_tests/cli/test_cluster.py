"""The commands for several hosts, on real servers."""

import signal
from pathlib import Path

import pytest
from pydantic import SecretStr

from examples.processes import free_port
from lfp_pipeline.hosts.liveness import Kind, liveness_of
from lfp_pipeline.settings import load_settings
from testing.cluster import Cluster
from testing.command_line import CommandLine
from testing.processes import until

pytest.importorskip("dagster_celery")


@pytest.mark.slow
def test_init_creates_the_tables_once_and_may_run_at_the_same_time(cluster: Cluster) -> None:
    inits = [cluster.start("cluster", "init") for _ in range(3)]
    for init in inits:
        assert init.process.wait(120) == 0, init.output()
    with cluster.instance() as instance:
        assert instance.get_runs() == []


def test_commands_for_several_hosts_need_a_catalog(lfp: CommandLine) -> None:
    for command in (["cluster", "init"], ["cluster", "status"], ["worker"]):
        ended = lfp(*command)
        assert ended.code == 1
        assert ended.err.startswith("LFP_CATALOG is not set")


def test_an_unreachable_catalog_is_named_without_its_password(lfp: CommandLine) -> None:
    port = free_port()
    lfp.set(catalog=f"postgresql://lfp:s3cret@127.0.0.1:{port}/lfp", broker="redis://127.0.0.1:1")
    for command in (["cluster", "init"], ["cluster", "head"], ["cluster", "status"], ["worker"]):
        ended = lfp(*command)
        assert ended.code == 5
        assert f"The catalog at 127.0.0.1:{port}/lfp cannot be reached" in ended.err
        assert "s3cret" not in ended.err


@pytest.mark.slow
def test_a_job_without_the_catalog_ends_as_other_commands(lfp: CommandLine) -> None:
    port = free_port()
    lfp.set(catalog=f"postgresql://lfp:s3cret@127.0.0.1:{port}/lfp")
    ended = lfp("verify")
    assert ended.code == 5
    assert ended.err.splitlines()[-1].startswith(f"The catalog at 127.0.0.1:{port}/lfp cannot be")
    assert "s3cret" not in ended.err


@pytest.mark.slow
def test_tables_broker_and_bucket_are_checked_in_turn(
    lfp: CommandLine, catalog_url: SecretStr, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    lfp.set(catalog=catalog_url.get_secret_value())
    assert "lfp cluster init" in lfp("worker").err
    lfp.done("cluster", "init")
    assert lfp("worker").err.startswith("LFP_BROKER is not set")
    lfp.set(broker=f"redis://:s3cret@127.0.0.1:{port}/0")
    ended = lfp("worker")
    assert ended.code == 5
    assert f"The broker at 127.0.0.1:{port} cannot be used: ConnectionError." in ended.err
    assert "s3cret" not in ended.err
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    lfp.set(lake="s3://a-bucket/lake")
    ended = lfp("cluster", "init")
    assert ended.code == 5
    assert f"http://127.0.0.1:{port}" in ended.err
    assert "s3cret" not in ended.err


@pytest.mark.slow
def test_other_places_of_the_lake_and_the_raw_zone_are_refused_and_stay_empty(
    lfp: CommandLine, catalog_url: SecretStr
) -> None:
    lfp.set(catalog=catalog_url.get_secret_value())
    init = lfp.done("cluster", "init")
    assert "LFP_BROKER is not set" in init.err
    lfp.done("cluster", "init")
    file = lfp.folder / "a.csv"
    file.write_text("name,sku,description\nLamp,s1,x\n")
    lfp.done("ingest", str(file))
    file.write_text("name,sku,description\nSofa,s2,y\n")
    for setting, words, commands in (
        ("raw", "has its raw zone in", (["ingest", str(file)], ["status"], ["cluster", "init"])),
        ("lake", "has its files in", (["ingest", str(file)], ["query", "FROM products"])),
        ("lake", "has its files in", (["cluster", "init"], ["status"])),
    ):
        other = lfp.folder / f"other-{setting}"
        with lfp.environment.context() as patch:
            patch.setenv(f"LFP_{setting.upper()}", str(other))
            for command in commands:
                ended = lfp(*command)
                assert ended.code, command
                assert words in ended.err + ended.out, command
                assert f"and not in {other}" in ended.err + ended.out, command
        assert not [path for path in other.rglob("*") if path.is_file()]
    assert '"sku": "s1"' in lfp.done("query", "FROM products", "--json").out


def test_the_catalog_is_tried_before_a_bucket_is_created(
    lfp: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lfp.set(catalog="postgresql://lfp@127.0.0.1:1/lfp", lake="s3://a-bucket/lake")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert lfp("cluster", "init").err.startswith("The catalog at 127.0.0.1:1/lfp cannot be reached")


def test_an_endpoint_without_a_scheme_is_refused(
    lfp: CommandLine, catalog_url: SecretStr, monkeypatch: pytest.MonkeyPatch
) -> None:
    lfp.set(catalog=catalog_url.get_secret_value(), lake="s3://a-bucket/lake")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "127.0.0.1:9000")
    ended = lfp("cluster", "init")
    assert ended.code == 1
    assert ended.err.startswith("AWS_ENDPOINT_URL = '127.0.0.1:9000': a URL such as https://")


def test_no_demo_writes_into_a_bucket(lfp: CommandLine) -> None:
    lfp.set(catalog="postgresql://lfp@127.0.0.1:1/lfp", inbox="s3://a-bucket/inbox")
    ended = lfp("demo")
    assert ended.code == 2
    assert "lfp sample --out FILE" in ended.err


@pytest.mark.slow
def test_without_its_bucket_the_status_is_shown_and_a_query_names_the_bucket(
    lfp: CommandLine, catalog_url: SecretStr, bucket_place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {name: f"{bucket_place}/{name}" for name in ("lake", "raw", "inbox")}
    lfp.set(catalog=catalog_url.get_secret_value(), **places)
    lfp.done("cluster", "init")
    file = lfp.folder / "a.csv"
    file.write_text("name,sku,description\nLamp,s1,x\n")
    lfp.done("ingest", str(file))
    state = lfp("cluster", "status", "--json").json
    assert state["lag"] == {"pending_files": 0, "oldest_seconds": None, "pending_deliveries": 0}
    status = lfp.done("status").out
    assert status.startswith(f"The lake in {bucket_place}/lake, with its catalog at")
    assert " free" not in status
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    ended = lfp("cluster", "status")
    assert ended.code == 1
    assert "No head runs" in ended.out
    assert "Lag\n  unknown" in ended.out
    assert "/ could not be reached: EndpointConnectionError" in ended.out
    assert lfp("cluster", "status", "--json").json["lag"]["pending_files"] is None
    ended = lfp("query", "FROM products")
    assert ended.code == 5
    assert f"{bucket_place}/lake/ could not be reached" in ended.err


def test_whether_this_host_works_is_printed(lfp: CommandLine, catalog_url: SecretStr) -> None:
    lfp.set(catalog=catalog_url.get_secret_value())
    lfp.done("cluster", "init")
    ended = lfp("cluster", "alive")
    assert ended.code == 1
    assert "No head and no worker" in ended.err
    with liveness_of(load_settings()).hold(Kind.HOST, "worker a"):
        assert lfp.done("cluster", "alive").out.startswith("worker a on ")


@pytest.mark.slow
def test_one_head_runs_at_a_time(cluster: Cluster) -> None:
    first = cluster.start_head()
    second = cluster.start("cluster", "head", "--port", str(free_port()))
    assert second.process.wait(60) == 5
    assert "Another `lfp cluster head` uses the Dagster home" in second.output()
    cluster.environment["DAGSTER_HOME"] = str(cluster.folder / "other")
    second = cluster.start("cluster", "head", "--port", str(free_port()))
    assert second.process.wait(60) == 5
    assert "Another head runs on the host" in second.output()
    first.send(signal.SIGTERM)
    assert first.process.wait(60) == 0
    assert cluster.names_of_hosts() == []
    third = cluster.start_head()
    third.send(signal.SIGTERM)
    assert third.process.wait(60) == 0


@pytest.mark.slow
def test_a_dropped_file_is_ingested_by_a_worker_and_no_secret_is_shown(cluster: Cluster) -> None:
    cluster.start_head()
    worker = cluster.start_worker("one", 2)
    assert cluster.lfp("cluster", "status").returncode == 0
    cluster.drop("a.csv", "s1,Ann,x", "s2,Bob,y")
    until(lambda: [run.status.value for run in cluster.runs()][:1] == ["SUCCESS"], 90)
    assert cluster.query("SELECT sku, name FROM products ORDER BY sku") == [
        {"sku": "s1", "name": "Ann"},
        {"sku": "s2", "name": "Bob"},
    ]
    (run,) = cluster.runs()[:1]
    assert f"Run {run.run_id[:8]}: ingest_products a.csv" in worker.output()
    _assert_no_secret(cluster)
    worker.send(signal.SIGTERM)
    assert worker.process.wait(60) == 0, worker.output()
    state = cluster.status()
    assert [host["name"] for host in state["hosts"]] == ["head"]
    assert any("No worker runs" in problem for problem in state["problems"])


def _assert_no_secret(cluster: Cluster) -> None:
    """Look for the passwords in logs, files, process titles, and Dagster's tables."""
    from lfp_pipeline.hosts.postgres import session  # noqa: PLC0415

    texts = {str(host.log): host.output() for host in cluster.hosts}
    for host in cluster.hosts:
        for pid in host.processes():
            texts[f"title of {pid}"] = Path(f"/proc/{pid}/cmdline").read_text()
    for file in (cluster.folder / ".dagster_home").rglob("*"):
        if file.is_file():
            texts[str(file)] = file.read_bytes().decode(errors="replace")
    with session(SecretStr(cluster.environment["LFP_CATALOG"]), "a test") as connection:
        for table in ("dagster.runs", "dagster.event_logs", "dagster.run_tags", "lfp.marks"):
            rows = connection.execute(f"SELECT t::text FROM {table} AS t").fetchall()
            texts[table] = "\n".join(text for (text,) in rows)
    assert texts["dagster.event_logs"]
    assert [where for where, text in texts.items() if "s3cret" in text] == []


@pytest.mark.slow
def test_other_commands_work_on_any_host_without_a_head_and_a_broker(cluster: Cluster) -> None:
    del cluster.environment["LFP_BROKER"]
    cluster.drop("a.csv", "s1,Ann,x", "s2,Bob,y")
    for command in (["ingest"], ["status"], ["verify"], ["names"], ["show", "s1"]):
        done = cluster.lfp(*command)
        assert done.returncode == 0, done.stderr
    assert [run.status.value for run in cluster.runs()] == ["SUCCESS", "SUCCESS"]
    assert cluster.names_of_hosts() == []
