"""The feed sensor on a real instance, with real servers."""

import json
import time
from collections.abc import Iterator
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from click import ClickException

from lfp_pipeline.definitions import definitions
from lfp_pipeline.defs.sensors import feed_sensor
from lfp_pipeline.model.delivery import TextFormat
from lfp_pipeline.sources import http_poll
from testing.dagster_project import Project, drop, project_in
from testing.engine import LOG
from testing.http_server import (
    Answer,
    Exchange,
    Server,
    content_of,
    cut_off,
    dripping,
    serving,
    status,
)
from testing.processes import running
from testing.raw_marks import mark_reverted

FIRST = b"name,sku,description\nAnn,s1,\nBob,s2,x\n"
SECOND = b"name,sku,description\nAnn,s1,\nCid,s2,x\n"

HOLD_LOCK = """
import sys
from pathlib import Path
from filelock import FileLock
Path(sys.argv[1]).parent.mkdir(parents=True, exist_ok=True)
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""

YES, NO = content_of(b'{"changed": true}'), content_of(b'{"changed": false}')


@pytest.fixture
def project(tmp_path: Path, home: Path) -> Iterator[Project]:
    file = tmp_path / "sources.yaml"
    file.write_text("sources: []")
    settings = {
        "sources_file": file,
        "allowed_hosts": "127.0.0.0/8",
        "download_attempts": 1,
        "other_process_wait_seconds": 0,
    }
    with project_in(tmp_path, home, **settings) as project:
        yield project


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.now = time.time

    def __call__(self) -> float:
        return self.now() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time", clock)
    return clock


def feed(senses: list[Answer], reads: list[Answer]) -> Answer:
    """Return the answers to sense and read in turn; the last of each is repeated."""

    def answer(exchange: Exchange) -> None:
        answers = senses if exchange.path == "/feed/sense" else reads
        (answers.pop(0) if len(answers) > 1 else answers[0])(exchange)

    return answer


def write_sources(project: Project, **sources: dict[str, Any]) -> None:
    entries = [{"name": name, "interval": 1, **entry} for name, entry in sources.items()]
    project.engine.settings.sources_path.write_text(json.dumps({"sources": entries}))


def sense_of(server: Server) -> dict[str, str]:
    return {"kind": "sense", "location": server.url("/feed")}


def tick(project: Project) -> Any:  # noqa: ANN401 (Dagster does not export its class)
    return project.tick("feed_sensor")


def names(project: Project) -> list[str]:
    return [row[1] for row in project.products]


def test_a_wrong_sources_file_is_shown_and_can_be_fixed_without_a_restart(project: Project):
    project.engine.settings.sources_path.write_text("sources: [{}]")
    assert "entry 1: name: Field required" in tick(project).skip_message
    project.engine.settings.sources_path.write_text("sources: []")
    assert "nothing to poll" in tick(project).skip_message


def test_a_configured_sources_file_must_exist(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LFP_SOURCES_FILE", "/missing/sources.yaml")
    with pytest.raises(ClickException, match="LFP_SOURCES_FILE"):
        definitions()


def test_an_invalid_entry_is_shown_and_does_not_affect_others(project: Project):
    with serving(feed([NO], [content_of(FIRST)])) as server:
        write_sources(project, bad={"location": "gopher://host/x"}, shop=sense_of(server))
        (request,) = tick(project).run_requests
        assert request.partition_key == "shop"
        project.do(tick(project))
        assert "bad: gopher:// is not supported" in tick(project).skip_message


def test_a_wrong_sources_file_does_not_affect_the_inbox(project: Project):
    project.engine.settings.sources_path.write_text("sources: [{name: a}]")
    drop(project.inbox, "a.csv", FIRST)
    assert project.ingest("a.csv").success
    run = project.ingest("b.csv")
    assert "entry 1: location: Field required" in project.error(run)


def test_an_update_is_read_once_and_the_next_update_again(project: Project, clock: Clock):
    reads = [content_of(FIRST), content_of(SECOND)]
    with serving(feed([YES, NO, YES, NO], reads)) as server:
        write_sources(project, shop=sense_of(server))
        (run,) = project.do(tick(project))
        assert run.success
        assert names(project) == ["Ann", "Bob"]
        clock.ahead = 10
        assert "0 with updates" in tick(project).skip_message
        clock.ahead = 20
        (run,) = project.do(tick(project))
        assert run.success
        assert names(project) == ["Ann", "Cid"]
        assert [asked["path"] for asked in server.requests] == [
            "/feed/sense", "/feed/read", "/feed/sense", "/feed/sense", "/feed/read"
        ]  # fmt: skip
    assert project.registered == ["shop"]


def test_a_feed_gets_no_run_while_its_delivery_is_being_reverted(project: Project, clock: Clock):
    with serving(feed([YES, NO], [content_of(FIRST)])) as server:
        write_sources(project, shop=sense_of(server))
        (run,) = project.do(tick(project))
        assert run.success
        (delivery,) = project.engine.raw_zone.deliveries("shop")
        clock.ahead = 10
        with project.engine.backlog.being_reversed(delivery):
            mark_reverted(delivery.path)
            assert not tick(project).run_requests
        (run,) = project.do(tick(project))
        assert run.success
    assert project.products == []


def test_a_feed_is_polled_at_most_once_per_interval(project: Project, clock: Clock):
    """The first poll, one after a minute, and one after the clock stepped back."""
    with serving(feed([NO], [content_of(FIRST)])) as server:
        write_sources(project, shop=sense_of(server) | {"interval": 60})
        for seconds in (0, 30, 59, 61, 90, -1000):
            clock.ahead = seconds
            tick(project)
        assert len(server.requests) == 3


def test_an_update_is_not_lost_if_its_read_fails(project: Project, clock: Clock):
    reads = [cut_off(FIRST, 20), status(404), content_of(FIRST)]
    with serving(feed([YES, NO], reads)) as server:
        write_sources(project, shop=sense_of(server))
        for seconds in (0, 10):
            clock.ahead = seconds
            (run,) = project.do(tick(project))
            assert not run.success
        clock.ahead = 30
        (run,) = project.do(tick(project))
        assert run.success
        assert names(project) == ["Ann", "Bob"]
        clock.ahead = 60
        assert "0 with updates" in tick(project).skip_message


def test_a_feed_backs_off_exponentially_after_failed_reads(project: Project, clock: Clock):
    with serving(feed([YES, NO], [status(500)])) as server:
        write_sources(project, shop=sense_of(server))
        began = []
        for seconds in range(0, 60, 2):
            clock.ahead = float(seconds)
            if project.do(tick(project)):
                began.append(seconds)
    rests = [after - before for before, after in pairwise(began)]
    assert rests == sorted(rests)
    assert 3 <= len(began) <= 7


@pytest.mark.parametrize(
    "answer",
    [status(500), status(503), content_of(b"<html>"), content_of(b"{}"), lambda _: None],
    ids=["500", "503", "a page", "no answer", "hangs up"],
)
def test_an_unclear_answer_counts_as_an_update(project: Project, answer: Answer):
    with serving(feed([answer], [content_of(FIRST)])) as server:
        write_sources(project, shop=sense_of(server))
        (run,) = project.do(tick(project))
    assert run.success


@pytest.mark.parametrize("code", [404, 408, 429])
def test_a_rejected_poll_loses_no_update_and_is_shown(project: Project, clock: Clock, code: int):
    with serving(feed([NO, status(code)], [content_of(FIRST)])) as server:
        write_sources(project, shop=sense_of(server))
        project.do(tick(project))
        clock.ahead = 10
        message = tick(project).skip_message
    assert "shop: http://127.0.0.1" in message
    assert str(code) in message


def test_an_unreachable_server_loses_no_update_and_is_shown(project: Project, clock: Clock):
    with serving(feed([NO], [content_of(FIRST)])) as server:
        write_sources(project, shop=sense_of(server))
        project.do(tick(project))
    clock.ahead = 10
    assert "did not answer" in tick(project).skip_message


@pytest.mark.parametrize("kind", ["file", "sense"])
def test_an_environment_value_in_the_location_of_a_feed_is_shown_as_its_variable(
    project: Project, monkeypatch: pytest.MonkeyPatch, kind: str
):
    monkeypatch.setenv("SHOP_TOKEN", "hunter2")
    with serving(status(404)) as server:
        url = server.url("/${SHOP_TOKEN}")
        write_sources(project, shop={"kind": kind, "location": url})
        tick(project)
        assert server.requests[0]["path"].startswith("/hunter2")
    (shop,) = project.engine.catalog.feeds()[0]
    assert url in str(shop.memory.polls.error)
    assert "hunter2" not in str(shop.memory.polls.error)
    files = [path.read_bytes() for path in project.data.rglob("*") if path.is_file()]
    assert b"hunter2" not in b"".join(files)


def test_an_unresponsive_feed_is_polled_less_and_less_often(project: Project, clock: Clock):
    with serving(feed([NO, status(500)], [content_of(FIRST)])) as server:
        write_sources(project, shop=sense_of(server))
        for seconds in range(0, 60, 2):
            clock.ahead = float(seconds)
            project.do(tick(project))
        asked = [request for request in server.requests if request["path"].endswith("sense")]
    assert 4 <= len(asked) <= 8


def test_a_slow_feed_does_not_delay_others(
    project: Project, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    go_on = Event()

    def slow(exchange: Exchange) -> None:
        go_on.wait(4)
        YES(exchange)

    senses: list[Answer] = [NO, slow]
    slow_one, other = feed(senses, [content_of(FIRST)]), feed([NO, YES], [content_of(FIRST)])
    with serving(slow_one) as slow_server, serving(other) as server:
        write_sources(project, slow=sense_of(slow_server), shop=sense_of(server))
        assert [run.success for run in project.do(tick(project))] == [True, True]
        monkeypatch.setattr(feed_sensor, "_WAIT_SECONDS", 1)
        clock.ahead = 10
        (request,) = tick(project).run_requests
        assert request.partition_key == "shop"
        clock.ahead = 20
        tick(project)
        assert (
            len(slow_server.requests) == 3
        )  # The third poll is still open, so there is no fourth.
        go_on.set()
        deadline = clock.now() + 5
        while not project.engine.catalog.feeds()[0][0].memory.has_update:
            assert clock.now() < deadline
        assert "slow" in {request.partition_key for request in tick(project).run_requests}


def test_two_processes_never_poll_a_feed_concurrently(project: Project):
    with serving(feed([NO], [content_of(FIRST)])) as server:
        write_sources(project, shop=sense_of(server))
        (shop,) = project.engine.catalog.feeds()[0]
        with running(HOLD_LOCK, shop.memory.folder / "shop.lock"):
            shop.poll()
            assert not server.requests
        shop.poll()
        assert len(server.requests) == 1


def test_a_changed_location_of_a_source_is_read(project: Project, clock: Clock):
    def dated(content: bytes, when: str) -> Answer:
        return content_of(content, Last_Modified=f"Mon, 02 Nov {when} 10:00:00 GMT")

    def not_modified(content: bytes, when: str) -> Answer:
        whole = dated(content, when)
        return lambda one: one.head(304) if "If-Modified-Since" in one.headers else whole(one)

    with serving(dated(FIRST, "2025")) as server, serving(not_modified(SECOND, "2026")) as other:
        write_sources(project, shop={"location": server.url()})
        project.do(tick(project))
        write_sources(project, shop={"location": other.url()})
        clock.ahead = 10
        assert [run.success for run in project.do(tick(project))] == [True]
    assert names(project) == ["Ann", "Cid"]


def test_a_version_with_only_a_recent_time_may_change_within_its_second(
    project: Project, clock: Clock
):
    now = formatdate(usegmt=True)
    with serving(content_of(FIRST, Last_Modified=now)) as server:
        write_sources(project, shop={"location": server.url()})
        for seconds in (0, 10):
            clock.ahead = seconds
            assert [run.success for run in project.do(tick(project))] == [True]
    assert len(project.engine.raw_zone.deliveries("shop")) == 1


LONG_AGO = "Tue, 01 Jan 1980 00:00:00 GMT"


@pytest.mark.parametrize(
    ("modified", "again"),
    [(LONG_AGO, [[True]]), ("Fri, 01 Jan 2100 00:00:00 GMT", [[]])],
    ids=["long ago", "in the future"],
)
def test_a_server_with_one_time_for_all_versions_is_read_when_the_bytes_differ(
    project: Project, clock: Clock, modified: str, again: list[list[bool]]
):
    """One more read at first: only the second answer shows that the time does not change."""
    other = FIRST.replace(b"Ann", b"Eve")  # Of the same size.
    content = [FIRST]

    def answer(exchange: Exchange) -> None:
        exchange.whole(content[0], Last_Modified=modified)

    with serving(answer) as server:
        write_sources(project, shop={"location": server.url()})
        runs = []
        for seconds in range(0, 80, 10):
            clock.ahead = seconds
            content[0] = FIRST if seconds < 40 else other
            runs.append([run.success for run in project.do(tick(project))])
    assert runs == [[True], *again, [], [], [True], [], [], []]
    assert names(project) == ["Eve", "Bob"]
    assert len(project.engine.raw_zone.deliveries("shop")) == 2


def test_a_file_too_large_to_compare_in_a_poll_is_read_each_time(
    project: Project, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    """The bytes take longer than a poll may, and shorter than a read may."""
    monkeypatch.setattr(http_poll, "_SECONDS", 0.5)
    with serving(dripping(FIRST, 0.02, Last_Modified=LONG_AGO)) as server:
        write_sources(project, shop={"location": server.url()})
        for seconds in (0, 10, 20):
            clock.ahead = seconds
            assert [run.success for run in project.do(tick(project))] == [True]
    assert len(project.engine.raw_zone.deliveries("shop")) == 1


def test_a_polled_file_is_read_when_its_version_changes(project: Project, clock: Clock):
    def file(etag: str, content: bytes) -> Answer:
        def answer(exchange: Exchange) -> None:
            if exchange.headers.get("If-None-Match") == etag:
                exchange.head(304)
            else:
                exchange.whole(content, ETag=etag)

        return answer

    one, two = file('"1"', FIRST), file('"2"', SECOND)
    with serving(one, one, one, two, two, two) as server:
        write_sources(project, shop={"location": server.url()})
        assert [run.success for run in project.do(tick(project))] == [True]
        clock.ahead = 10
        assert not tick(project).run_requests
        clock.ahead = 20
        assert [run.success for run in project.do(tick(project))] == [True]
        clock.ahead = 30
        assert not tick(project).run_requests
    assert names(project) == ["Ann", "Cid"]


def test_a_server_without_versions_is_read_each_time_and_equal_bytes_are_no_delivery(
    project: Project, clock: Clock
):
    with serving(content_of(FIRST)) as server:
        write_sources(project, shop={"location": server.url()})
        for seconds in (0, 10, 20):
            clock.ahead = seconds
            assert [run.success for run in project.do(tick(project))] == [True]
    assert len(project.engine.raw_zone.deliveries("shop")) == 1


def test_a_local_file_can_be_polled(project: Project, clock: Clock, tmp_path: Path):
    file = tmp_path / "products.csv"
    file.write_bytes(FIRST)
    write_sources(project, shop={"location": str(file)})
    assert [run.success for run in project.do(tick(project))] == [True]
    clock.ahead = 10
    assert not tick(project).run_requests
    file.write_bytes(SECOND + b"Dot,s3,\n")
    clock.ahead = 20
    assert [run.success for run in project.do(tick(project))] == [True]
    assert names(project) == ["Ann", "Cid", "Dot"]


def test_a_pending_delivery_of_a_feed_is_merged_later(project: Project, clock: Clock):
    with serving(feed([YES, NO], [content_of(FIRST), content_of(SECOND)])) as server:
        write_sources(project, shop=sense_of(server))
        tick(project)
        engine = project.engine
        engine.land(engine.catalog.named_sources(["shop"])["shop"], "shop", LOG)
        assert not engine.catalog.feeds()[0][0].memory.has_update
        clock.ahead = 10
        assert [run.success for run in project.do(tick(project))] == [True]
    assert names(project) == ["Ann", "Cid"]


@pytest.mark.parametrize("kind", ["file", "sense"])
def test_the_text_format_of_a_feed_combines_server_and_entry(project: Project, kind: str):
    read = content_of(FIRST, Content_Type="text/csv; charset=Windows-1251")
    with serving(feed([YES], [read])) as server:
        location = server.url("/feed")
        write_sources(project, shop={"kind": kind, "location": location, "delimiter": ","})
        assert [run.success for run in project.do(tick(project))] == [True]
    (delivery,) = project.engine.raw_zone.deliveries("shop")
    assert delivery.text_format == TextFormat(charset="cp1251", delimiter=",")


def test_a_feed_whose_declared_format_changes_is_read_again(project: Project, clock: Clock):
    with serving(feed([NO], [content_of(FIRST)])) as server:
        write_sources(project, shop=sense_of(server))
        assert [run.success for run in project.do(tick(project))] == [True]
        clock.ahead = 10
        assert not tick(project).run_requests
        write_sources(project, shop=sense_of(server) | {"encoding": "utf-8"})
        clock.ahead = 20
        assert len(tick(project).run_requests) == 1


def test_a_server_that_asks_for_a_pause_is_not_polled_during_it(project: Project, clock: Clock):
    with serving(feed([status(503, Retry_After=1000), NO], [content_of(FIRST)])) as server:
        write_sources(project, shop=sense_of(server))
        tick(project)
        polls = len(server.requests)
        clock.ahead = 990
        tick(project)
        assert len(server.requests) == polls
        clock.ahead = 1010
        tick(project)
        assert len(server.requests) == polls + 1
        clock.ahead = 1020
        tick(project)
        assert len(server.requests) == polls + 2


def test_a_named_source_is_fetched_by_its_partition_key(project: Project):
    with serving(content_of(FIRST)) as server:
        write_sources(project, shop={"location": server.url(), "interval": None})
        assert "nothing to poll" in tick(project).skip_message
        assert project.ingest("shop").success
    assert names(project) == ["Ann", "Bob"]
