"""Downloads: whole files of one version, or an error without secrets."""

import gzip
import logging
import os
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.errors import LandingError
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.sources.base import DownloadLimits, public_url
from lfp_pipeline.sources.http_download import HttpFile
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

LOG = logging.getLogger("test")
CONTENT = os.urandom(300_000)
MODIFIED = "Fri, 20 Nov 2026 08:19:52 GMT"
MODIFIED_AT = datetime(2026, 11, 20, 8, 19, 52)  # noqa: DTZ001
LIMITS = DownloadLimits(
    attempts=3, seconds=60, max_bytes=10**9, fence=LOOPBACK, longest_pause_seconds=0.01
)


def land(tmp_path: Path, url: str, limits: DownloadLimits = LIMITS) -> Delivery:
    return RawZone(tmp_path / "raw").land(HttpFile(url, limits), "products.csv", LOG)


def files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "raw").rglob("*") if path.is_file()]


@contextmanager
def refused(tmp_path: Path, *, permanent: bool, match: str) -> Iterator[None]:
    with pytest.raises(LandingError, match=match) as caught:
        yield
    assert caught.value.permanent is permanent
    assert files(tmp_path) == []


def download(tmp_path: Path, *answers: Answer) -> tuple[Delivery, Server]:
    with serving(*answers) as server:
        delivery = land(tmp_path, server.url())
    return delivery, server


def test_the_bytes_land_as_they_are(tmp_path: Path) -> None:
    delivery, server = download(tmp_path, content_of(CONTENT, Last_Modified=MODIFIED))
    assert delivery.path.read_bytes() == CONTENT
    assert delivery.delivered_at == MODIFIED_AT
    assert delivery.source == server.url()


def test_an_empty_file_lands(tmp_path: Path) -> None:
    delivery, _ = download(tmp_path, content_of(b""))
    assert delivery.size_bytes == 0


def test_without_last_modified_the_time_of_the_fetch_counts(tmp_path: Path) -> None:
    before = utc_now()
    delivery, _ = download(tmp_path, content_of(CONTENT))
    assert before <= delivery.delivered_at <= utc_now()


@pytest.mark.parametrize(
    "modified", ["", "yesterday", "Fri, 32 Nov 2026 08:19:52 GMT", "Fri, 20 Nov 2026 08:19 +9999"]
)
def test_a_last_modified_that_is_no_time_is_as_none(tmp_path: Path, modified: str) -> None:
    before = utc_now()
    delivery, _ = download(tmp_path, content_of(CONTENT, Last_Modified=modified))
    assert delivery.delivered_at >= before


@pytest.mark.parametrize("zone", ["-0000", "UTC", "+0000"])
def test_last_modified_does_not_depend_on_the_zone_of_this_machine(
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


def test_a_compressed_file_is_not_decompressed_on_the_way(tmp_path: Path) -> None:
    delivery, server = download(tmp_path, content_of(CONTENT, Content_Encoding="gzip"))
    assert delivery.path.read_bytes() == CONTENT
    assert server.requests[0]["Accept-Encoding"] == "identity"


def test_a_download_that_was_cut_off_goes_on_where_it_broke(tmp_path: Path) -> None:
    delivery, server = download(
        tmp_path, cut_off(CONTENT, 200_000, ETag='"v1"'), rest_of(CONTENT, ETag='"v1"')
    )
    assert delivery.path.read_bytes() == CONTENT
    assert server.requests[1]["Range"] == "bytes=200000-"
    assert server.requests[1]["If-Range"] == '"v1"'


def test_a_rest_that_repeats_no_last_modified_keeps_the_time_of_the_first_answer(
    tmp_path: Path,
) -> None:
    delivery, _ = download(
        tmp_path,
        cut_off(CONTENT, 1000, ETag='"v1"', Last_Modified=MODIFIED),
        rest_of(CONTENT, ETag='"v1"'),
    )
    assert delivery.delivered_at == MODIFIED_AT


def test_several_cuts_after_a_few_bytes_each_end_in_the_whole_file(tmp_path: Path) -> None:
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


def test_a_server_that_ignores_ranges_is_asked_for_the_whole_file(tmp_path: Path) -> None:
    delivery, _ = download(
        tmp_path, cut_off(CONTENT, 200_000, ETag='"v1"'), content_of(CONTENT, ETag='"v1"')
    )
    assert delivery.path.read_bytes() == CONTENT


def test_a_file_that_became_another_meanwhile_is_taken_anew(tmp_path: Path) -> None:
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
def test_a_server_that_ignores_if_range_does_not_mix_two_versions(
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


def test_a_rest_of_a_file_of_another_size_is_not_taken(tmp_path: Path) -> None:
    newer = os.urandom(len(CONTENT) + 1)
    delivery, _ = download(
        tmp_path, cut_off(CONTENT, 1000, ETag='"v1"'), rest_of(newer), content_of(newer)
    )
    assert delivery.path.read_bytes() == newer


@pytest.mark.parametrize("spread", ["bytes 7-299999/300000", "bytes 1000-2000/300000", "", "x"])
def test_a_wrong_range_is_not_taken(tmp_path: Path, spread: str) -> None:
    delivery, server = download(
        tmp_path,
        cut_off(CONTENT, 1000, ETag='"v1"'),
        rest_of(CONTENT, Content_Range=spread),
        content_of(CONTENT),
    )
    assert delivery.path.read_bytes() == CONTENT
    assert "Range" not in server.requests[2]


def test_a_part_that_nobody_asked_for_is_not_taken(tmp_path: Path) -> None:
    with (
        serving(rest_of(CONTENT, Content_Range="bytes 0-299999/900000")) as server,
        refused(tmp_path, permanent=False, match="sent the range"),
    ):
        land(tmp_path, server.url())


def test_a_weak_etag_is_no_reason_to_resume(tmp_path: Path) -> None:
    _, server = download(tmp_path, cut_off(CONTENT, 200_000, ETag='W/"v1"'), content_of(CONTENT))
    assert "Range" not in server.requests[1]


def test_a_range_that_cannot_be_had_starts_anew(tmp_path: Path) -> None:
    delivery, _ = download(
        tmp_path, cut_off(CONTENT, 1000, ETag='"v1"'), status(416), content_of(CONTENT)
    )
    assert delivery.path.read_bytes() == CONTENT


def test_a_content_length_that_is_too_long_is_a_file_cut_off(tmp_path: Path) -> None:
    with (
        serving(cut_off(CONTENT, 200_000)) as server,
        refused(tmp_path, permanent=False, match=r"could not be downloaded: .*\(3 tries\.\)"),
    ):
        land(tmp_path, server.url())


def test_a_file_in_chunks_lands(tmp_path: Path) -> None:
    delivery, _ = download(tmp_path, chunked(CONTENT[:7], CONTENT[7:], ended=True))
    assert delivery.path.read_bytes() == CONTENT


def test_a_file_in_chunks_without_an_end_is_a_file_cut_off(tmp_path: Path) -> None:
    delivery, server = download(
        tmp_path, chunked(CONTENT[:7], CONTENT[7:], ended=False), content_of(CONTENT)
    )
    assert delivery.path.read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_a_busy_server_is_asked_again(tmp_path: Path) -> None:
    delivery, server = download(tmp_path, status(503), status(429), content_of(CONTENT))
    assert delivery.path.read_bytes() == CONTENT
    assert len(server.requests) == 3


def test_a_server_that_stays_busy_is_given_up(tmp_path: Path) -> None:
    with (
        serving(status(503)) as server,
        refused(tmp_path, permanent=False, match="answered 503"),
    ):
        land(tmp_path, server.url())
    assert len(server.requests) == 3


@pytest.mark.parametrize("code", [204, 401, 403, 404, 410])
def test_what_is_not_there_is_not_asked_for_again(tmp_path: Path, code: int) -> None:
    with (
        serving(status(code)) as server,
        refused(tmp_path, permanent=True, match=f"answered {code}"),
    ):
        land(tmp_path, server.url())
    assert len(server.requests) == 1


def test_a_redirect_is_followed(tmp_path: Path) -> None:
    delivery, server = download(tmp_path, status(302, Location="/there"), content_of(CONTENT))
    assert delivery.path.read_bytes() == CONTENT
    assert [request["path"] for request in server.requests] == ["/products.csv", "/there"]


def test_a_redirect_loop_is_an_error(tmp_path: Path) -> None:
    with (
        serving(status(302, Location="/products.csv")) as server,
        refused(tmp_path, permanent=True, match="redirects"),
    ):
        land(tmp_path, server.url())


def test_a_redirect_to_a_file_of_this_machine_is_not_followed(tmp_path: Path) -> None:
    with (
        serving(status(302, Location="file:///etc/passwd")) as server,
        refused(tmp_path, permanent=True, match="protocol"),
    ):
        land(tmp_path, server.url())


def test_a_redirect_to_a_protocol_that_only_the_client_knows_is_not_followed(
    tmp_path: Path,
) -> None:
    with serving(content_of(CONTENT)) as other:
        location = other.url().replace("http", "ws")
        with (
            serving(status(302, Location=location)) as server,
            refused(tmp_path, permanent=True, match="protocol 'ws'"),
        ):
            land(tmp_path, server.url())
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


def test_nobody_there_is_an_error_that_may_pass(tmp_path: Path) -> None:
    with serving(content_of(CONTENT)) as server:
        url = server.url()
    with refused(tmp_path, permanent=False, match=r"refused\. \(3 tries\.\)"):
        land(tmp_path, url)


def test_a_file_that_says_it_is_too_large_is_not_begun(tmp_path: Path) -> None:
    limits = replace(LIMITS, max_bytes=1000)
    with (
        serving(content_of(CONTENT)) as server,
        refused(tmp_path, permanent=True, match="LFP_MAX_DOWNLOAD_BYTES"),
    ):
        land(tmp_path, server.url(), limits)


def test_a_file_that_turns_out_too_large_is_left(tmp_path: Path) -> None:
    def endless(exchange: Exchange) -> None:
        exchange.head(200)
        while True:
            exchange.wfile.write(bytes(10_000))

    limits = replace(LIMITS, max_bytes=1_000_000)
    with (
        serving(endless) as server,
        refused(tmp_path, permanent=True, match="larger than 1,000,000 bytes"),
    ):
        land(tmp_path, server.url(), limits)


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
def test_a_web_page_is_told_from_a_file(
    tmp_path: Path, page: bytes, title: str, media_type: str
) -> None:
    with (
        serving(content_of(page, Content_Type=media_type)) as server,
        refused(tmp_path, permanent=True, match=f"answered with a web page{title}, not a file"),
    ):
        land(tmp_path, server.url())
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
def test_a_file_is_no_web_page(tmp_path: Path, content: bytes, media_type: str) -> None:
    delivery, _ = download(tmp_path, content_of(content, Content_Type=media_type))
    assert delivery.path.read_bytes() == content


def test_a_web_page_instead_of_the_rest_of_a_file_is_told(tmp_path: Path) -> None:
    page = content_of(b"<html><title>Bye</title>", Content_Type="text/html")
    with (
        serving(cut_off(CONTENT, 1000, ETag='"v1"'), page) as server,
        refused(tmp_path, permanent=True, match=r"a web page \('Bye'\), not a file"),
    ):
        land(tmp_path, server.url())


def test_a_web_page_with_an_error_counts_as_the_error(tmp_path: Path) -> None:
    def busy(exchange: Exchange) -> None:
        exchange.head(503, Content_Type="text/html", Content_Length=6)
        exchange.wfile.write(b"<html>")

    delivery, _ = download(tmp_path, busy, content_of(CONTENT))
    assert delivery.path.read_bytes() == CONTENT


def test_a_full_disk_is_no_reason_to_ask_again(tmp_path: Path) -> None:
    code = """
import logging, resource, signal, sys
from pathlib import Path
from lfp_pipeline.errors import LandingError
from lfp_pipeline.sources.http_download import HttpFile
from lfp_pipeline.sources.network_policy import NetworkPolicy
from lfp_pipeline.sources.base import DownloadLimits
from lfp_pipeline.raw_zone.raw_zone import RawZone
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
limits = DownloadLimits(3, 60, 10**9, NetworkPolicy(("127.0.0.1",)), longest_pause_seconds=0.01)
try:
    RawZone(Path(sys.argv[1])).land(HttpFile(sys.argv[2], limits), "x", logging.getLogger())
except LandingError as error:
    print(error)
"""
    with serving(content_of(CONTENT)) as server:
        (told,) = finish([start(code, tmp_path / "raw", server.url())])
    assert told.startswith(f"The raw zone {tmp_path / 'raw'} cannot be written")
    assert len(server.requests) == 1


def test_a_server_that_drips_is_left_in_time(tmp_path: Path) -> None:
    limits = replace(LIMITS, seconds=0.3, longest_pause_seconds=30)
    started = time.monotonic()
    with (
        serving(dripping(bytes(100), 0.05)) as server,
        refused(tmp_path, permanent=True, match="LFP_DOWNLOAD_TIMEOUT_SECONDS"),
    ):
        land(tmp_path, server.url(), limits)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("slow", [dripping(bytes(1000), 0.02), dripping_headers(0.02)])
def test_a_server_that_is_too_slow_is_left_and_asked_again(tmp_path: Path, slow: Answer) -> None:
    limits = replace(LIMITS, attempts=2, pace_seconds=0.2)
    started = time.monotonic()
    with (
        serving(slow) as server,
        refused(tmp_path, permanent=False, match=r"timed out: only \d+ bytes came in \d+ s"),
    ):
        land(tmp_path, server.url(), limits)
    assert time.monotonic() - started < 3
    assert len(server.requests) == 2


def test_what_came_from_a_slow_server_is_kept(tmp_path: Path) -> None:
    slow = dripping(CONTENT, 0.02, ETag='"v1"')
    with serving(slow, rest_of(CONTENT, ETag='"v1"')) as server:
        delivery = land(tmp_path, server.url(), replace(LIMITS, pace_seconds=0.2))
    assert delivery.path.read_bytes() == CONTENT
    assert server.requests[1]["Range"] != "bytes=0-"


def test_a_server_that_never_comes_to_the_point_is_left_in_time(tmp_path: Path) -> None:
    def endless(exchange: Exchange) -> None:
        while True:
            exchange.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 100)
            time.sleep(0.01)

    started = time.monotonic()
    with (
        serving(endless) as server,
        refused(tmp_path, permanent=True, match="took longer than 0.5 s"),
    ):
        land(tmp_path, server.url(), replace(LIMITS, seconds=0.5))
    assert time.monotonic() - started < 3


def test_an_odd_header_is_no_crash(tmp_path: Path) -> None:
    with serving(cut_off(CONTENT, 9, ETag='"\xe9"'), content_of(CONTENT)) as server:
        assert land(tmp_path, server.url(), LIMITS).path.read_bytes() == CONTENT


def test_a_server_that_is_slow_enough_is_waited_for(tmp_path: Path) -> None:
    limits = replace(LIMITS, pace_seconds=0.1, least_bytes_per_second=2)
    with serving(dripping(b"0123456789" * 3, 0.02)) as server:
        delivery = land(tmp_path, server.url(), limits)
    assert delivery.size_bytes == 30
    assert len(server.requests) == 1


def test_a_server_that_says_nothing_is_left_in_time(tmp_path: Path) -> None:
    limits = replace(LIMITS, seconds=0.3, longest_pause_seconds=30)
    started = time.monotonic()
    with (
        serving(lambda _: time.sleep(4)) as server,
        refused(tmp_path, permanent=True, match="took longer than 0.3 s"),
    ):
        land(tmp_path, server.url(), limits)
        assert time.monotonic() - started < 3


def test_all_tries_together_keep_to_the_time(tmp_path: Path) -> None:
    limits = replace(LIMITS, attempts=100, seconds=1, longest_pause_seconds=0.2)
    started = time.monotonic()
    with (
        serving(status(503)) as server,
        refused(tmp_path, permanent=False, match="answered 503|took longer than 1 s"),
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
def test_no_secret_in_a_url_is_told(
    tmp_path: Path, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    logging.getLogger().setLevel(logging.INFO)
    told = ""
    with serving(answer) as server:
        url = f"http://user:hunter2@127.0.0.1:{server.port}/products.csv?token=hunter2#hunter2"
        try:
            told += repr(land(tmp_path, url))
        except LandingError as error:
            told += f"{error} {error.__cause__} {error.__context__}"
    told += caplog.text + "".join(
        path.read_text() for path in files(tmp_path) if path.suffix == ".json"
    )
    assert "hunter2" not in told


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
def test_a_url_that_is_none_is_refused_without_telling_it(url: str) -> None:
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
