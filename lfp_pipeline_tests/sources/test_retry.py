"""`Retry-After`: the next attempt waits as long as the server asks, within the time limit."""

import time
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest

from lfp_pipeline.errors import LandingError
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.sources.base import DownloadLimits
from lfp_pipeline.sources.http_download import HttpFile
from lfp_pipeline.sources.http_poll import get_once
from testing.engine import LOG
from testing.http_server import LOOPBACK, Answer, Exchange, content_of, serving, status

LIMITS = DownloadLimits(3, 60, 10**9, LOOPBACK, longest_pause_seconds=0.01)


def land(tmp_path: Path, *answers: Answer, limits: DownloadLimits = LIMITS) -> tuple[int, float]:
    """Return the number of requests and the seconds of a download."""
    started = time.monotonic()
    with serving(*answers) as server:
        RawZone(tmp_path).land(HttpFile(server.url(), limits), "a.csv", LOG)
    return len(server.requests), time.monotonic() - started


def refusal(tmp_path: Path, answer: Answer, limits: DownloadLimits = LIMITS) -> LandingError:
    started = time.monotonic()
    with pytest.raises(LandingError) as caught:
        land(tmp_path, answer, limits=limits)
    assert time.monotonic() - started < 5
    return caught.value


@pytest.mark.parametrize("code", [429, 503, 500])
def test_the_next_attempt_waits_for_the_given_seconds(tmp_path: Path, code: int):
    requests, seconds = land(tmp_path, status(code, Retry_After=1), content_of(b"x"))
    assert requests == 2
    assert 1 <= seconds < 5


def test_the_next_attempt_waits_for_a_date_by_the_clock_of_the_server(tmp_path: Path):
    # The server's clock is an hour fast; `Date` is its time.
    date = formatdate(time.time() + 3600, usegmt=True)
    later = formatdate(time.time() + 3601, usegmt=True)

    def busy(exchange: Exchange) -> None:
        exchange.send_response_only(503)
        for name, value in {"Date": date, "Retry-After": later, "Content-Length": "0"}.items():
            exchange.send_header(name, value)
        exchange.end_headers()

    requests, seconds = land(tmp_path, busy, content_of(b"x"))
    assert requests == 2
    assert 1 <= seconds < 5


@pytest.mark.parametrize(
    "value", ["0", "", "soon", "-1", "Fri, 20 Nov 1999 08:19:52 GMT", "Fri, 32 Nov", "1" * 5000]
)
def test_a_retry_after_without_a_pause_is_ignored(tmp_path: Path, value: str):
    requests, seconds = land(tmp_path, status(503, Retry_After=value), content_of(b"x"))
    assert requests == 2
    assert seconds < 1


@pytest.mark.parametrize("value", ["3600", "9" * 12, "date"])
def test_a_retry_after_beyond_the_time_limit_ends_the_download(tmp_path: Path, value: str):
    value = value.replace("date", formatdate(time.time() + 7200, usegmt=True))
    error = refusal(tmp_path, status(503, Retry_After=value))
    assert not error.permanent
    assert error.retry_after is not None
    assert error.retry_after > 3000
    assert "Unavailable. It asks to be tried again after 2" in str(error)
    assert "later than this download may take, 60 s in all" in str(error)
    assert "LFP_DOWNLOAD_TIMEOUT_SECONDS" in str(error)
    assert "tries" not in str(error)


def test_the_error_of_the_last_attempt_has_the_retry_after(tmp_path: Path):
    error = refusal(tmp_path, status(429, Retry_After=0), replace(LIMITS, attempts=2))
    assert error.retry_after == 0
    assert "(2 tries.)" in str(error)
    assert "LFP_DOWNLOAD_TIMEOUT_SECONDS" not in str(error)


def test_a_permanent_error_ignores_retry_after(tmp_path: Path):
    error = refusal(tmp_path, status(404, Retry_After=1))
    assert error.permanent
    assert error.retry_after is None


def test_a_poll_has_the_retry_after_of_the_server():
    with (
        serving(status(503, Retry_After=120)) as server,
        pytest.raises(LandingError, match="It asks to be tried again after") as caught,
    ):
        get_once(server.url(), LIMITS)
    assert caught.value.retry_after == 120
