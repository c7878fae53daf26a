"""Failed runs are posted to a webhook, which is a real server here."""

import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from lfp_pipeline.dagster_support import webhook as webhooks
from lfp_pipeline.dagster_support.runs import fail_dead_runs
from testing.dagster_project import NO_SKU, PARTITION_TAG, Project, drop
from testing.engine import LOG
from testing.expected_tables import File
from testing.http_server import Answer, Exchange, status
from testing.processes import HOLD_MARK, running
from testing.webhook import HIDDEN, SENSOR, Webhook, webhook

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"),))


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "_LONGEST_PAUSE_SECONDS", 0.01)


@pytest.fixture
def chat(tmp_path: Path, home: Path) -> Iterator[Webhook]:
    with webhook(tmp_path, home) as found:
        yield found


def fail(project: Project, name: str = "bad.csv") -> dg.ExecuteInProcessResult:
    drop(project.inbox, name, NO_SKU)
    run = project.ingest(name)
    assert not run.success
    return run


def test_without_a_webhook_there_is_no_failure_sensor(project: Project) -> None:
    assert not project.repository.has_sensor_def(SENSOR)


def test_the_sensor_runs_by_default(chat: Webhook) -> None:
    sensor = chat.project.repository.get_sensor_def(SENSOR)
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING


def test_a_failed_run_is_posted_once_with_its_reason(chat: Webhook) -> None:
    run = fail(chat.project)
    chat.tick()
    chat.tick()
    (message,) = chat.posted
    assert message["run_id"] == run.run_id
    assert message["job"] == "ingest_products"
    assert message["files"] == ["bad.csv"]
    why = "1 file is not merged.\nbad.csv was refused: The header has no column sku."
    assert message["error"].startswith(why)
    assert message["host"] == socket.gethostname()
    since_end = datetime.now(UTC) - datetime.fromisoformat(message["ended_at"])
    assert 0 <= since_end.total_seconds() < 120
    text = f"ingest_products (bad.csv) failed on {message['host']}:\n```\n{message['error']}\n```"
    assert message["text"].replace("'", "`") == text.replace("'", "`")
    (request,) = chat.server.requests
    assert request["method"] == "POST"
    assert request["Content-Type"] == "application/json"


def test_a_successful_run_is_not_posted(chat: Webhook) -> None:
    chat.project.drop(A)
    assert chat.project.ingest(A.key).success
    chat.tick()
    assert chat.server.requests == []


def test_failed_runs_are_posted_in_order(chat: Webhook) -> None:
    runs = [fail(chat.project, f"bad{number}.csv").run_id for number in range(3)]
    chat.tick()
    assert [message["run_id"] for message in chat.posted] == runs


@pytest.mark.parametrize("by", ["the sensor", "hand"])
def test_the_post_names_only_the_failed_files(chat: Webhook, by: str) -> None:
    for name in ("bad1.csv", "bad2.csv", "bad3.csv"):
        drop(chat.project.inbox, name, NO_SKU)
    chat.project.drop(A)
    if by == "hand":
        chat.project.run("ingest_inbox")
    else:
        chat.project.do(chat.project.tick())
    chat.tick()
    (message,) = chat.posted
    assert message["files"] == ["bad1.csv", "bad2.csv", "bad3.csv"]
    assert message["text"].startswith("ingest_inbox (bad1.csv and 2 more) failed on ")
    assert "bad1.csv was refused" in message["error"]


def test_an_unexpected_error_is_posted_without_its_traceback(chat: Webhook) -> None:
    chat.project.drop(A)
    (chat.project.data / "products.duckdb").write_bytes(b"no database" * 1_000)
    assert not chat.project.ingest(A.key).success
    chat.tick()
    (message,) = chat.posted
    assert "not a valid DuckDB database file" in message["error"]
    assert "Traceback" not in message["error"]


@pytest.mark.slow
def test_a_run_from_the_command_line_is_posted(chat: Webhook, tmp_path: Path, home: Path) -> None:
    shutil.copytree(home, tmp_path / "home")
    drop(chat.project.inbox, "bad.csv", NO_SKU)
    arguments = ["dagster", "job", "execute", "-m", "lfp_pipeline.definitions", "-j"]
    environment = {"DAGSTER_HOME": str(tmp_path / "home"), "LFP_DATA_DIR": str(chat.project.data)}
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        chat.project = replace(chat.project, instance=instance)
        chat.project.cursors.clear()
        chat.tick()
        done = subprocess.run(
            [sys.executable, "-m", *arguments, "ingest_inbox"],
            env={**os.environ, "LFP_INBOX_STABLE_SECONDS": "0", **environment},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 1
        chat.tick()
    (message,) = chat.posted
    assert message["job"] == "ingest_inbox"
    assert "bad.csv was refused" in message["error"]


def test_a_killed_run_is_posted(chat: Webhook) -> None:
    project = chat.project
    run = project.instance.create_run_for_job(
        project.repository.get_job("ingest_products"),
        tags={PARTITION_TAG: A.key},
        status=dg.DagsterRunStatus.STARTED,
    )
    mark = project.engine.settings.run_marks_dir / f"{run.run_id}.run"
    with running(HOLD_MARK, mark):
        fail_dead_runs(project.engine, project.instance, LOG)
        chat.tick()
        assert chat.posted == []
    fail_dead_runs(project.engine, project.instance, LOG)
    chat.tick()
    (message,) = chat.posted
    assert message["run_id"] == run.run_id
    assert message["files"] == [A.key]
    assert message["error"] == "The process of this run is gone: it was killed."


@pytest.mark.parametrize("answer", [status(500), status(503), status(429)])
def test_a_failed_post_is_retried(tmp_path: Path, home: Path, answer: Answer) -> None:
    with webhook(tmp_path, home, answer, answer) as chat:
        fail(chat.project)
        chat.tick()
        assert len(chat.server.requests) == 3
        assert len(chat.posted) == 1


def hang_up(exchange: Exchange) -> None:
    exchange.connection.close()


def never_answer(exchange: Exchange) -> None:
    exchange.rfile.read(int(exchange.headers["Content-Length"]))
    time.sleep(1)


@pytest.mark.parametrize(
    ("answer", "requests", "message"),
    [
        (status(500), 3, "answered 500 Internal Server Error."),
        (status(404), 1, "answered 404 Not Found."),
        (status(302, Location="http://127.0.0.1:9/"), 1, "answered 302 Found."),
        (hang_up, 3, "cannot be reached: "),
        (never_answer, 3, "cannot be reached: ReadTimeout"),
    ],
)
def test_a_webhook_that_remains_down_is_logged_without_secrets(
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    answer: Answer,
    requests: int,
    message: str,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(webhooks, "_SECONDS", 0.5)
    with webhook(tmp_path, home, *[answer] * requests) as chat:
        first, second = fail(chat.project, "bad1.csv"), fail(chat.project, "bad2.csv")
        started = time.monotonic()
        chat.tick()
        assert time.monotonic() - started < 20
        assert len(chat.server.requests) == requests + 1
        assert [post["run_id"] for post in chat.posted] == [second.run_id]
    logged = caplog.text + "".join(capfd.readouterr())
    assert f"The failure of run {first.run_id} was not posted. The webhook at 127.0.0.1" in logged
    assert message in logged
    assert HIDDEN not in logged
