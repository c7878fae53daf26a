"""Downloads give the whole file of one version, or an error without secrets."""

import gzip
import logging
import os
import time
import tracemalloc
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.errors import LandingError
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.sources.base import DownloadLimits
from lfp_pipeline.sources.http_download import HttpFile
from lfp_pipeline.sources.redaction import public_url
from testing.engine import LOG
from testing.http_server import (
    LOOPBACK,
    Answer,
    Exchange,
    Server,
    chunked,
    content_of,
    cut_off,
    dripping,
    dripping_headers,
    rest_of,
    serving,
    status,
)
from testing.processes import finish, start

CONTENT = os.urandom(300_000)
MODIFIED = "Fri, 20 Nov 2026 08:19:52 GMT"
MODIFIED_AT = datetime(2026, 11, 20, 8, 19, 52)  # noqa: DTZ001
LIMITS = DownloadLimits(
    attempts=3, seconds=60, max_bytes=10**9, network_policy=LOOPBACK, longest_pause_seconds=0.01
)


def land(tmp_path: Path, url: str, limits: DownloadLimits = LIMITS) -> Delivery:
    return RawZone(tmp_path / "raw").land(HttpFile(url, limits), "products.csv", LOG)


def files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "raw").rglob("*") if path.is_file()]


def refused(
    tmp_path: Path,
    match: str,
    *answers: Answer,
    permanent: bool = True,
    limits: DownloadLimits = LIMITS,
) -> Server:
    """Assert that a download is refused within the time limit and leaves no file."""
    started = time.monotonic()
    with serving(*answers) as server, pytest.raises(LandingError, match=match) as caught:
        land(tmp_path, server.url(), limits)
    assert time.monotonic() - started < limits.seconds + 3
    assert caught.value.permanent is permanent
    assert files(tmp_path) == []
    return server


def download(tmp_path: Path, *answers: Answer) -> tuple[Delivery, Server]:
    with serving(*answers) as server:
        delivery = land(tmp_path, server.url())
    return delivery, server


def test_a_file_lands_byte_for_byte(tmp_path: Path) -> None:
    delivery, server = download(tmp_path, content_of(CONTENT, Last_Modified=MODIFIED))
    assert delivery.path.read_bytes() == CONTENT
    assert delivery.delivered_at == MODIFIED_AT
    assert delivery.source == server.url()


def test_an_empty_file_lands(tmp_path: Path) -> None:
    delivery, _ = download(tmp_path, content_of(b""))
    assert delivery.size_bytes == 0


def test_without_last_modified_the_time_is_that_of_the_download(tmp_path: Path) -> None:
    before = utc_now()
    delivery, _ = download(tmp_path, content_of(CONTENT))
    assert before <= delivery.delivered_at <= utc_now()


@pytest.mark.parametrize(
    "modified", ["", "yesterday", "Fri, 32 Nov 2026 08:19:52 GMT", "Fri, 20 Nov 2026 08:19 +9999"]
)
def test_an_invalid_last_modified_is_ignored(tmp_path: Path, modified: str) -> None:
    before = utc_now()
    delivery, _ = download(tmp_path, content_of(CONTENT, Last_Modified=modified))
    assert delivery.delivered_at >= before


@pytest.mark.parametrize("zone", ["-0000", "UTC", "+0000"])
def test_last_modified_does_not_depend_on_the_local_time_zone(
    tmp_path: Path, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        modified = MODIFIED.replace("GMT", zone)
        delivery, _ = download(tmp_path, content_of(CONTENT, Last_Modified=modified))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert delivery.delivered_at == MODIFIED_AT


def test_an_interrupted_download_is_resumed(tmp_path: Path) -> None:
    delivery, server = download(
        tmp_path, cut_off(CONTENT, 200_000, ETag='"v1"'), rest_of(CONTENT, ETag='"v1"')
    )
    assert delivery.path.read_bytes() == CONTENT
    assert server.requests[1]["Range"] == "bytes=200000-"
    assert server.requests[1]["If-Range"] == '"v1"'


def test_a_resumed_download_keeps_the_last_modified_of_the_first_answer(tmp_path: Path) -> None:
    delivery, _ = download(
        tmp_path,
        cut_off(CONTENT, 1000, ETag='"v1"', Last_Modified=MODIFIED),
        rest_of(CONTENT, ETag='"v1"'),
    )
    assert delivery.delivered_at == MODIFIED_AT


def test_a_download_survives_several_interruptions(tmp_path: Path) -> None:
    def some_more(exchange: Exchange) -> None:
        start = exchange.range_start
        spread = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        exchange.head(206, Content_Length=len(CONTENT) - start, Content_Range=spread)
        exchange.wfile.write(CONTENT[start : start + 100_000])

    delivery, server = download(
        tmp_path, cut_off(CONTENT, 100_000, Last_Modified=MODIFIED), some_more
    )
    assert delivery.path.read_bytes() == CONTENT
    assert [request.get("Range") for request in server.requests] == [
        None,
        "bytes=100000-",
        "bytes=200000-",
    ]


INTERRUPTED = cut_off(CONTENT, 1000, ETag='"v1"')


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([INTERRUPTED, content_of(CONTENT, ETag='"v1"')], id="ignores ranges"),
        pytest.param([INTERRUPTED, status(416), content_of(CONTENT)], id="has no such range"),
        pytest.param([chunked(CONTENT[:7], CONTENT[7:], ended=True)], id="sends chunks"),
        pytest.param(
            [chunked(CONTENT[:7], CONTENT[7:], ended=False), content_of(CONTENT)],
            id="sends no last chunk",
        ),
        pytest.param([status(503), status(429), content_of(CONTENT)], id="is busy"),
    ],
)
def test_the_whole_file_lands_if_the_server(tmp_path: Path, answers: list[Answer]) -> None:
    delivery, server = download(tmp_path, *answers)
    assert delivery.path.read_bytes() == CONTENT
    assert len(server.requests) == len(answers)


def test_a_file_that_changed_meanwhile_is_downloaded_from_its_start(tmp_path: Path) -> None:
    newer = os.urandom(250_000)
    delivery, _ = download(
        tmp_path,
        cut_off(CONTENT, 200_000, ETag='"v1"'),
        content_of(newer, ETag='"v2"', Last_Modified=MODIFIED),
    )
    assert delivery.path.read_bytes() == newer
    assert delivery.delivered_at == MODIFIED_AT


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"ETag": '"v1"'}, {"ETag": '"v2"'}),
        ({"Last_Modified": MODIFIED}, {"Last_Modified": MODIFIED.replace("52", "53")}),
    ],
)
def test_two_versions_are_not_mixed_when_a_server_ignores_if_range(
    tmp_path: Path, first: dict[str, str], second: dict[str, str]
) -> None:
    newer = os.urandom(len(CONTENT))
    delivery, _ = download(
        tmp_path,
        cut_off(CONTENT, 200_000, **first),
        rest_of(newer, **second),
        content_of(newer, **second),
    )
    assert delivery.path.read_bytes() == newer


def test_a_range_of_a_file_of_another_size_is_refused(tmp_path: Path) -> None:
    newer = os.urandom(len(CONTENT) + 1)
    delivery, _ = download(
        tmp_path, cut_off(CONTENT, 1000, ETag='"v1"'), rest_of(newer), content_of(newer)
    )
    assert delivery.path.read_bytes() == newer


@pytest.mark.parametrize("spread", ["bytes 7-299999/300000", "bytes 1000-2000/300000", "", "x"])
def test_a_wrong_range_is_refused(tmp_path: Path, spread: str) -> None:
    delivery, server = download(
        tmp_path,
        cut_off(CONTENT, 1000, ETag='"v1"'),
        rest_of(CONTENT, Content_Range=spread),
        content_of(CONTENT),
    )
    assert delivery.path.read_bytes() == CONTENT
    assert "Range" not in server.requests[2]


def test_a_range_that_was_not_requested_is_refused(tmp_path: Path) -> None:
    answer = rest_of(CONTENT, Content_Range="bytes 0-299999/900000")
    refused(tmp_path, "sent the range", answer, permanent=False)


def test_a_weak_etag_does_not_allow_resumption(tmp_path: Path) -> None:
    _, server = download(tmp_path, cut_off(CONTENT, 200_000, ETag='W/"v1"'), content_of(CONTENT))
    assert "Range" not in server.requests[1]


def test_fewer_bytes_than_the_content_length_are_an_interruption(tmp_path: Path) -> None:
    match = r"could not be downloaded: .*\(3 tries\.\)"
    refused(tmp_path, match, cut_off(CONTENT, 200_000), permanent=False)


def test_retries_of_a_busy_server_are_limited(tmp_path: Path) -> None:
    server = refused(tmp_path, "answered 503", status(503), permanent=False)
    assert len(server.requests) == 3


@pytest.mark.parametrize("code", [204, 401, 403, 404, 410])
def test_a_permanent_error_is_not_retried(tmp_path: Path, code: int) -> None:
    server = refused(tmp_path, f"answered {code}", status(code))
    assert len(server.requests) == 1


def test_a_redirect_is_followed(tmp_path: Path) -> None:
    delivery, server = download(tmp_path, status(302, Location="/there"), content_of(CONTENT))
    assert delivery.path.read_bytes() == CONTENT
    assert [request["path"] for request in server.requests] == ["/products.csv", "/there"]


@pytest.mark.parametrize(
    ("location", "match"), [("/products.csv", "redirects"), ("file:///etc/passwd", "protocol")]
)
def test_a_redirect_to_itself_or_to_a_local_file_is_an_error(
    tmp_path: Path, location: str, match: str
) -> None:
    refused(tmp_path, match, status(302, Location=location))


def test_a_redirect_to_another_protocol_is_not_followed(tmp_path: Path) -> None:
    with serving(content_of(CONTENT)) as other:
        location = other.url().replace("http", "ws")
        refused(tmp_path, "protocol 'ws'", status(302, Location=location))
    assert other.requests == []


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_the_body_of_a_redirect_is_not_read(tmp_path: Path, encoding: str) -> None:
    piece = bytes(1 << 20)
    bodies = {"identity": [piece] * 100, "gzip": [gzip.compress(piece * 100, 1)]}

    def redirect(exchange: Exchange) -> None:
        exchange.head(302, Location="/there", Content_Encoding=encoding)
        for part in bodies[encoding]:
            exchange.wfile.write(part)

    tracemalloc.start()
    try:
        delivery, _ = download(tmp_path, redirect, content_of(CONTENT))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert delivery.path.read_bytes() == CONTENT
    assert peak < 20_000_000


def test_a_refused_connection_is_a_transient_error(tmp_path: Path) -> None:
    with serving(content_of(CONTENT)) as server:
        url = server.url()
    with pytest.raises(LandingError, match=r"refused\. \(3 tries\.\)") as caught:
        land(tmp_path, url)
    assert not caught.value.permanent


def test_a_declared_size_above_the_limit_is_refused_at_once(tmp_path: Path) -> None:
    limits = replace(LIMITS, max_bytes=1000)
    refused(tmp_path, "LFP_MAX_DOWNLOAD_BYTES", content_of(CONTENT), limits=limits)


def test_a_file_that_exceeds_the_limit_is_refused(tmp_path: Path) -> None:
    def endless(exchange: Exchange) -> None:
        exchange.head(200)
        while True:
            exchange.wfile.write(bytes(10_000))

    limits = replace(LIMITS, max_bytes=1_000_000)
    refused(tmp_path, "larger than 1,000,000 bytes", endless, limits=limits)


@pytest.mark.parametrize(
    ("page", "title"),
    [
        (b"<!DOCTYPE html><html><title>Log in &amp; go</title>", r" \('Log in & go'\)"),
        (b"\xef\xbb\xbf\n <HTML><head><TITLE>\nPlease\n wait</TITLE>", r" \('Please wait'\)"),
        (b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "x"><html><p>none</p>', ""),
        (b"<!-- cached -->\n<html><head><script>var title = '<title>'</script>", ""),
        (b"<!doctype html><body>" + bytes(10**6), ""),
        (b"<!doctype html><title>Odd</title><![odd[", r" \('Odd'\)"),
        (b"<!---->" * 5000 + b"<html>", ""),
        (b"<html><form id='x' action='http://[bad'></form>", ""),
    ],
)
@pytest.mark.parametrize("media_type", ["text/html", "Text/HTML;charset=utf-8"])
def test_a_web_page_instead_of_a_file_is_refused(
    tmp_path: Path, page: bytes, title: str, media_type: str
) -> None:
    answer = content_of(page, Content_Type=media_type)
    server = refused(tmp_path, f"answered with a web page{title}, not a file", answer)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (CONTENT, "text/html"),
        (b"", "text/html"),
        (b"sku,name,description\ns1,<html>,x\n", "text/html; charset=utf-8"),
        (b"<!---->" * 5000 + b"name", "text/html"),
        (b"<html><body>a file all the same", "application/octet-stream"),
        (b"<html><body>a file all the same", "text/csv"),
    ],
)
def test_a_file_is_not_taken_for_a_web_page(
    tmp_path: Path, content: bytes, media_type: str
) -> None:
    delivery, _ = download(tmp_path, content_of(content, Content_Type=media_type))
    assert delivery.path.read_bytes() == content


def test_a_web_page_instead_of_the_rest_of_a_file_is_refused(tmp_path: Path) -> None:
    page = content_of(b"<html><title>Bye</title>", Content_Type="text/html")
    first = cut_off(CONTENT, 1000, ETag='"v1"')
    refused(tmp_path, r"a web page \('Bye'\), not a file", first, page)


def test_an_error_status_takes_precedence_over_a_web_page(tmp_path: Path) -> None:
    def busy(exchange: Exchange) -> None:
        exchange.head(503, Content_Type="text/html", Content_Length=6)
        exchange.wfile.write(b"<html>")

    delivery, _ = download(tmp_path, busy, content_of(CONTENT))
    assert delivery.path.read_bytes() == CONTENT


def test_a_full_disk_is_not_retried(tmp_path: Path) -> None:
    code = """
import logging, resource, signal, sys
from pathlib import Path
from lfp_pipeline.errors import LandingError
from lfp_pipeline.sources.http_download import HttpFile
from lfp_pipeline.sources.base import DownloadLimits
from lfp_pipeline.raw_zone.raw_zone import RawZone
from testing.http_server import LOOPBACK
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
limits = DownloadLimits(3, 60, 10**9, LOOPBACK, longest_pause_seconds=0.01)
try:
    RawZone(Path(sys.argv[1])).land(HttpFile(sys.argv[2], limits), "x", logging.getLogger())
except LandingError as error:
    print(error)
"""
    with serving(content_of(CONTENT)) as server:
        (output,) = finish([start(code, tmp_path / "raw", server.url())])
    assert output.startswith(f"The folder {tmp_path / 'raw'} cannot be written")
    assert len(server.requests) == 1
    assert files(tmp_path) == []


def test_a_dripping_server_does_not_exceed_the_time_limit(tmp_path: Path) -> None:
    limits = replace(LIMITS, seconds=0.3, longest_pause_seconds=30)
    refused(tmp_path, "LFP_DOWNLOAD_TIMEOUT_SECONDS", dripping(bytes(100), 0.05), limits=limits)


@pytest.mark.parametrize("slow", [dripping(bytes(1000), 0.02), dripping_headers(0.02)])
def test_a_server_below_the_minimum_throughput_is_retried(tmp_path: Path, slow: Answer) -> None:
    limits = replace(LIMITS, attempts=2, pace_seconds=0.2)
    match, started = r"timed out: only \d+ bytes came in \d+ s", time.monotonic()
    server = refused(tmp_path, match, slow, permanent=False, limits=limits)
    assert time.monotonic() - started < 3
    assert len(server.requests) == 2


def test_bytes_from_a_slow_server_are_kept(tmp_path: Path) -> None:
    slow = dripping(CONTENT, 0.02, ETag='"v1"')
    with serving(slow, rest_of(CONTENT, ETag='"v1"')) as server:
        delivery = land(tmp_path, server.url(), replace(LIMITS, pace_seconds=0.2))
    assert delivery.path.read_bytes() == CONTENT
    assert server.requests[1]["Range"] != "bytes=0-"


def test_endless_headers_do_not_exceed_the_time_limit(tmp_path: Path) -> None:
    def endless(exchange: Exchange) -> None:
        while True:
            exchange.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 100)
            time.sleep(0.01)

    refused(tmp_path, "took longer than 0.5 s", endless, limits=replace(LIMITS, seconds=0.5))


def test_an_invalid_header_is_ignored(tmp_path: Path) -> None:
    with serving(cut_off(CONTENT, 9, ETag='"\xe9"'), content_of(CONTENT)) as server:
        assert land(tmp_path, server.url(), LIMITS).path.read_bytes() == CONTENT


def test_a_server_above_the_minimum_throughput_is_waited_for(tmp_path: Path) -> None:
    limits = replace(LIMITS, pace_seconds=0.1, least_bytes_per_second=2)
    with serving(dripping(b"0123456789" * 3, 0.02)) as server:
        delivery = land(tmp_path, server.url(), limits)
    assert delivery.size_bytes == 30
    assert len(server.requests) == 1


def test_a_silent_server_does_not_exceed_the_time_limit(tmp_path: Path) -> None:
    limits = replace(LIMITS, seconds=0.3, longest_pause_seconds=30)
    refused(tmp_path, "took longer than 0.3 s", lambda _: time.sleep(4), limits=limits)


def test_all_attempts_together_keep_within_the_time_limit(tmp_path: Path) -> None:
    limits = replace(LIMITS, attempts=100, seconds=1, longest_pause_seconds=0.2)
    started = time.monotonic()
    with (
        serving(status(503)) as server,
        pytest.raises(LandingError, match=r"answered 503|took longer than 1 s"),
    ):
        land(tmp_path, server.url(), limits)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    "answer",
    [
        content_of(CONTENT),
        status(404),
        status(503),
        cut_off(CONTENT, 1000),
        status(302, Location="/loop"),
        status(302, Location="http://[bad"),
    ],
)
def test_no_secret_of_a_url_is_shown(
    tmp_path: Path, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    logging.getLogger().setLevel(logging.INFO)
    output = ""
    with serving(answer) as server:
        url = f"http://user:hunter2@127.0.0.1:{server.port}/products.csv?token=hunter2#hunter2"
        try:
            output += repr(land(tmp_path, url))
        except LandingError as error:
            output += f"{error} {error.__cause__} {error.__context__}"
    output += caplog.text + "".join(
        path.read_text() for path in files(tmp_path) if path.suffix == ".json"
    )
    assert "hunter2" not in output


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///products.csv",
        "http://user:hunt/er2@host/x",
        "http://user:hunter2@host:port/x",
        "http://user:hunter2@host:0/x",
        "http://user:hunter2@host:99999/x",
        "http://user:hunter2@[::/x",
        "http://user:hunter2@host/\x01",
    ],
)
def test_an_invalid_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(LandingError, match="not valid") as caught:
        HttpFile(url, LIMITS)
    assert caught.value.permanent
    assert "hunt" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@host:81/a/b.csv?t=1#f", "https://host:81/a/b.csv"),
        ("http://host", "http://host"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
    ],
)
def test_the_public_url_has_host_and_path_only(url: str, shown: str) -> None:
    assert public_url(url) == shown
