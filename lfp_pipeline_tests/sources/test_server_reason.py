"""Errors have the reason of the server, on one line and without secrets."""

import json
import time
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from lfp_pipeline.errors import LandingError, RequestNotSentError
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.sources.base import DownloadLimits
from lfp_pipeline.sources.http_download import HttpFile
from lfp_pipeline.sources.http_poll import get_once
from lfp_pipeline.sources.redaction import one_line
from testing.engine import LOG
from testing.http_server import LOOPBACK, Answer, Exchange, content_of, serving

LIMITS = DownloadLimits(1, 60, 10**9, LOOPBACK, longest_pause_seconds=0.01)

S3 = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code>'
    "<Message>Request has expired</Message><AWSAccessKeyId>AKIA0</AWSAccessKeyId>"
    "<StringToSign>hunter2</StringToSign></Error>"
)


def answering(status: int, body: str | bytes, **headers: object) -> Answer:
    content = body.encode() if isinstance(body, str) else body

    def answer(exchange: Exchange) -> None:
        exchange.head(status, Content_Length=len(content), **headers)
        exchange.wfile.write(content)

    return answer


def error_of(tmp_path: Path, answer: Answer, user: str = "", query: str = "") -> str:
    with serving(answer) as server:
        file = HttpFile(f"http://{user}127.0.0.1:{server.port}/a.csv{query}", LIMITS)
        with pytest.raises(LandingError) as caught:
            RawZone(tmp_path).land(file, "a.csv", LOG)
    error = caught.value
    return f"{error} {error.__cause__ or ''} {error.__context__ or ''}".strip()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (S3, "Request has expired"),
        (
            '<m:error xmlns:m="x"><m:code/><m:message xml:lang="en">No &amp; no.</m:message>',
            "No & no",
        ),
        ("<error><message><![CDATA[Not for you]]></message></error>", "Not for you"),
        ('{"message": "Rate limit", "error": "x"}', "Rate limit"),
        ('{"Message": "Rate limit"}', "Rate limit"),
        ('{"error": "invalid_token", "error_description": "It is old."}', "It is old"),
        ('{"error": {"code": 403, "message": "No such key"}}', "No such key"),
        ('{"errors": [{"message": "First"}, {"message": "Second"}]}', "First"),
        ('{"type": "about:blank", "title": "Out", "detail": "Over quota"}', "Over quota"),
        ('{"error": "nope"}', "nope"),
        ('"in quotes"', "in quotes"),
        ("<!doctype html><html><title>Closed\n today</title><p>x", "Closed today"),
        ("<html><body><h1>Closed</h1>", "Closed"),
        ("\n\n \x01\n  Come  back\tlater \r\nmore", "Come back later"),
        ('{"message": "cut', '{"message": "cut'),
        ("[" * 4000, "[" * 194 + " [...]"),
        (b"caf\xc3\xa9\x1b[31m\xe2\x80\xae red", "caf\xe9 [31m red"),
        (b"\x81\xff\n", "\ufffd\ufffd"),
    ],
)
def test_the_reason_is_in_the_error(tmp_path: Path, body: str | bytes, reason: str):
    assert error_of(tmp_path, answering(403, body)).endswith(
        f"/a.csv answered 403 Forbidden: {reason}."
    )


@pytest.mark.parametrize(
    "body",
    [
        *("", " \n\t", "{}", "403", "null", "[]", "Forbidden", "403 Forbidden", b"\0\1\2"),
        "<html><title>403 Forbidden</title>",
        "<Error><Code>x</Code></Error>",
        '{"message":' * 300 + "1" + "}" * 300,
        "x" * 10_000,
    ],
)
def test_without_a_reason_the_error_has_the_status(tmp_path: Path, body: str | bytes):
    assert error_of(tmp_path, answering(403, body)).endswith("/a.csv answered 403 Forbidden.")


def test_a_reason_is_read_in_the_charset_of_the_answer(tmp_path: Path):
    answer = answering(403, "закрыто".encode("cp1251"), Content_Type="text/plain; charset=cp1251")
    assert "Forbidden: закрыто." in error_of(tmp_path, answer)


def test_a_long_reason_is_cut(tmp_path: Path):
    error = error_of(tmp_path, answering(403, "word " * 1000))
    assert len(error.partition("Forbidden: ")[2]) <= 200 + len(".")


def test_only_the_beginning_of_a_body_is_read(tmp_path: Path):
    def endless(exchange: Exchange) -> None:
        exchange.head(403)
        exchange.wfile.write(b"Closed\n")
        while True:
            exchange.wfile.write(bytes(10_000).replace(b"\0", b"x "))

    assert "Forbidden: Closed." in error_of(tmp_path, endless)


def test_a_dripping_reason_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lfp_pipeline.sources.server_reason._SECONDS", 0.3)

    def dripping(exchange: Exchange) -> None:
        exchange.head(403)
        exchange.drip(b"Closed for a while and longer " * 100, 0.05)

    started = time.monotonic()
    error = error_of(tmp_path, dripping)
    assert time.monotonic() - started < 2
    assert "answered 403 Forbidden" in error


def test_an_interruption_in_the_reason_leaves_the_status(tmp_path: Path):
    def cut(exchange: Exchange) -> None:
        exchange.head(403, Content_Length=1000)
        exchange.wfile.write(b"Closed for hun")

    assert error_of(tmp_path, cut).endswith("answered 403 Forbidden: Closed for.")


def test_the_time_of_the_download_bounds_the_reason(tmp_path: Path):
    def dripping(exchange: Exchange) -> None:
        exchange.head(503)
        exchange.drip(b"Closed for a while and longer " * 100, 0.05)

    limits = replace(LIMITS, seconds=0.5)
    started = time.monotonic()
    with serving(dripping) as server, pytest.raises(LandingError, match="answered 503"):
        RawZone(tmp_path).land(HttpFile(server.url(), limits), "a.csv", LOG)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "spelling",
    [
        "hun ter/2\xe9",
        quote("hun ter/2\xe9", safe=""),
        "hun+ter%2F2%C3%A9",
        "HUN TER/2\xe9",
        json.dumps("hun ter/2\xe9")[1:-1],
        "prefixhun ter/2\xe9suffix",
        b64encode("ann:hun ter/2\xe9".encode()).decode(),
    ],
)
@pytest.mark.parametrize("where", ["user", "query", "fragment"])
def test_no_secret_of_the_url_is_repeated(tmp_path: Path, where: str, spelling: str):
    secret = quote("hun ter/2\xe9", safe="")
    user = f"ann:{secret}@"
    query = {"user": "", "query": f"?t={secret}&x=1", "fragment": f"#{secret}"}[where]
    for body in (f"No: {spelling} is wrong", json.dumps({"message": f"No: {spelling} is wrong"})):
        error = error_of(tmp_path, answering(403, body), user, query)
        assert "Forbidden: No: " in error
        assert "is wrong" in error
        assert "hun" not in error.lower().replace("http", "")
        assert "ann" not in error


def test_no_secret_of_a_redirect_is_repeated(tmp_path: Path):
    def answer(exchange: Exchange) -> None:
        if exchange.path == "/a.csv":
            exchange.head(302, Location="/there?part=sesame-street", Content_Length=0)
        else:
            answering(403, f"No access to sesame-street by {exchange.path}")(exchange)

    error = error_of(tmp_path, answer)
    assert "Forbidden: No access to *** by /there." in error


def test_half_a_secret_at_the_cut_is_removed(tmp_path: Path):
    body = b" " * 4090 + b"hunter2hunter2"
    assert "hunt" not in error_of(tmp_path, answering(403, body), query="?t=hunter2hunter2")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see https://u:p@host/a?sig=1#x for it", "see https://host/a for it"),
        ("see 'ftp://u@host/a'", "see 'ftp://host/a'"),
        ("GET /a.csv?sig=abc failed", "GET /a.csv failed"),
        ("Why? Ask", "Why? Ask"),
        ("got Authorization: Bearer abc.def-1", "got Authorization: *** ***"),
        ("bad bearer abcdefg, sorry", "bad bearer ***, sorry"),
        ("Bearer token is missing", "Bearer token is missing"),
        ("Basic authentication is required", "Basic authentication is required"),
        ("Signature=abc/def+g= is wrong", "Signature=*** is wrong"),
        ("X-Amz-Signature=abc&X-Amz-Date=2", "X-Amz-Signature=***&X-Amz-Date=2"),
        ('{"access_token": "a b", "x": 1', '{"access_token": ***, "x": 1'),
        ("api_key = 'x y' is wrong", "api_key = *** is wrong"),
        ("password:secret1", "password:***"),
        ("AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE", "AWSAccessKeyId=***"),
        ("The key AKIAIOSFODNN7EXAMPLE is disabled", "The key *** is disabled"),
        ("jwt eyJhbGciOi.eyJzdWIi.c2ln expired", "jwt *** expired"),
        ("The key is not there", "The key is not there"),
    ],
)
def test_credentials_are_removed(text: str, shown: str):
    assert one_line(text) == shown


@pytest.mark.parametrize(
    "text", ["a" * 10**6, "eyJ-" * 10**5, 'key="' * 10**5, " " * 10**6, "@" * 9999]
)
def test_redaction_takes_linear_time(text: str):
    started = time.monotonic()
    assert len(one_line(text, "http://u:p@host/?a=b")) <= 200
    assert time.monotonic() - started < 1


def test_a_short_value_of_a_query_is_removed_as_a_word_only():
    assert one_line("1 of 12 failed: 1.", "http://host/?page=1") == "*** of 12 failed: ***."


def test_the_error_of_a_poll_has_the_reason():
    with (
        serving(answering(404, '{"message": "No feed for hunter2"}')) as server,
        pytest.raises(RequestNotSentError, match=r"answered 404 Not Found: No feed for \*\*\*\."),
    ):
        get_once(f"{server.url()}?t=hunter2", LIMITS)
    with (
        serving(answering(500, "Out of order")) as server,
        pytest.raises(LandingError, match=r"Internal Server Error: Out of order\."),
    ):
        get_once(server.url(), LIMITS)


def test_no_secret_is_shown_in_the_title_of_a_page(tmp_path: Path):
    page = content_of(b"<html><title>Login for hunter2 abc</title>", Content_Type="text/html")

    def answer(exchange: Exchange) -> None:
        if exchange.path == "/login?next=abc":
            page(exchange)
        else:
            exchange.head(302, Location="/login?next=abc", Content_Length=0)

    error = error_of(tmp_path, answer, query="?user=hunter2")
    assert "a web page ('Login for *** ***')" in error
