"""Progress messages in the log."""

import logging
import threading
import time

import pytest

from lfp_pipeline.common import progress
from lfp_pipeline.common.progress import (
    Progress,
    TransferProgress,
    announce,
    heartbeat,
    listening,
)
from lfp_pipeline.common.text import format_size
from testing.engine import LOG


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(progress, "INTERVAL_SECONDS", 0.02)
    caplog.set_level(logging.INFO)


def test_the_heartbeat_ends_with_the_block(caplog: pytest.LogCaptureFixture):
    with heartbeat(LOG, lambda seconds: f"100 % after {seconds:.0f} s"):
        time.sleep(0.1)
    beats = len(caplog.messages)
    time.sleep(0.05)
    assert beats == len(caplog.messages) >= 1
    assert caplog.messages[0] == "100 % after 0 s"


def test_short_work_logs_nothing(caplog: pytest.LogCaptureFixture):
    with heartbeat(LOG, str):
        pass
    TransferProgress(LOG, "file")(1, 2)
    assert caplog.messages == []


def test_an_error_passes_through_the_heartbeat():
    with pytest.raises(ValueError, match="mine"), heartbeat(LOG, str):
        raise ValueError("mine")


@pytest.mark.parametrize(("total", "shown"), [(4_000_000, " of 4.0 MB (25%)"), (None, "")])
def test_a_transfer_logs_bytes_percentage_and_rate(
    caplog: pytest.LogCaptureFixture, total: int | None, shown: str
):
    transfer = TransferProgress(LOG, "file")
    time.sleep(0.03)
    transfer(1_000_000, total)
    transfer(1_000_000, total)
    (message,) = caplog.messages
    assert message.startswith(f"file: 1.0 MB{shown}, ")
    assert message.endswith(" MB/s")


def test_a_size_is_in_megabytes():
    assert format_size(1_234_567_890) == "1,234.6 MB"


def test_a_listener_gets_events_of_all_threads_until_its_block_ends():
    seen: list[object] = []
    with listening(seen.append):
        announce("here")
        thread = threading.Thread(target=announce, args=["there"])
        thread.start()
        thread.join()
    announce("later")
    assert seen == ["here", "there"]


def test_a_transfer_is_announced_with_each_chunk():
    seen: list[object] = []
    transfer = TransferProgress(LOG, "file", "a.csv")
    with listening(seen.append):
        transfer(1, 2)
        transfer(2, 2)
    assert seen == [Progress("a.csv", "landing", 1, 2), Progress("a.csv", "landing", 2, 2)]


def test_work_is_measured_for_a_listener_only(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress, "FRAME_SECONDS", 0.01)
    measured = []

    def measure() -> Progress:
        measured.append(threading.get_ident())
        return Progress("a.csv", "reading", len(measured), 100)

    with heartbeat(LOG, str, measure):
        time.sleep(0.05)
    assert measured == []
    seen: list[object] = []
    with listening(seen.append), heartbeat(LOG, str, measure):
        time.sleep(0.05)
    assert len(measured) > 1
    assert seen[0] == Progress("a.csv", "reading", 1, 100)
    assert threading.get_ident() not in measured
