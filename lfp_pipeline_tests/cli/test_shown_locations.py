"""What may be a secret in a location is not shown: commands with many malformed locations."""

import json
from itertools import chain, product

import pytest

from lfp_pipeline.sources.written_location import shown_location
from testing.command_line import CommandLine

MARK = "hunter2zq"

_STARTS = (
    *("https://", "http:/", "https:", "HTTPS:\\\\", "https//", "//", ""),
    *("s3://", "s3:", "gdrive:", "gdrive://", "file://", "file:", "sftp://", "nfs://", "a b://"),
)
_HOSTS = (
    *("127.0.0.1:9", "127.0.0.1:99999", "[::1", "-", ""),
    *(f"127.0.0.1:{MARK}", f"user:{MARK}@127.0.0.1:9", f"{MARK}@127.0.0.1:9"),
    *(f"user:a/{MARK}@127.0.0.1:9", f"user:a?{MARK}@127.0.0.1:9", f"user:a#{MARK}@127.0.0.1:9"),
)
_ENDS = (
    *("/a.csv", "", f"/a.csv?{MARK}", f"?{MARK}", f"/a.csv#{MARK}", f"#{MARK}", f";{MARK}/x"),
    *(f"/a.csv;{MARK}", f"/a.csv?token={MARK}", f"/a?u=x@{MARK}", f"/a.csv?a=%ZZ&{MARK}\x01"),
    *(f"/a.csv?sig={MARK}&expires=1", f"/;p={MARK}/a.csv", f"\\a?{MARK}"),
)


def is_tried(location: str) -> bool:
    is_name = location.startswith(("s3://", "sftp:", "nfs:", "file:"))  # With any semicolons.
    return MARK in location and not (is_name and ";" in location)


LOCATIONS = {
    start: list(filter(is_tried, (start + "".join(end) for end in product(_HOSTS, _ENDS))))
    for start in _STARTS
}


@pytest.mark.parametrize(
    "start", [_STARTS[0], *(pytest.param(start, marks=pytest.mark.slow) for start in _STARTS[1:])]
)
def test_no_secret_of_an_argument_is_shown(lfp: CommandLine, start: str):
    lfp.set(download_attempts=1)
    leaks = []
    for location in LOCATIONS[start]:
        ended = lfp("ingest", "--as", "a.csv", "--", location)
        assert ended.code in ({1, 2} if ":" in location else {3}), location
        assert "Usage:" not in ended.err, location  # No option was wrong: the location was read.
        if MARK in ended.out + ended.err:
            leaks.append(f"{location!r}: {ended.out}{ended.err}")
    assert not leaks, "\n".join(leaks)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://example.com:8080/a/b.csv?x=1#y", "https://example.com:8080..."),
        ("https://[::1]:80/a;x/b.csv", "https://[::1]:80..."),
        ("https://example.com", "https://example.com"),
        (f"https://user:pa?{MARK}@host/x.csv", "a location"),
        (f"user:{MARK}@host/x.csv", "a location"),
        (f"https://host/{MARK}/x.csv#token={MARK}", "https://host..."),
        (f"https://host;{MARK}/x", "https://host..."),
        (f"https://host:{MARK}/x", "https://host..."),
        (f"s3:bucket?{MARK}", "s3..."),
        (f"host/path?token={MARK}", "host/path..."),
        ("a@b.csv", "a@b.csv"),
        ("../b.csv", "../b.csv"),
    ],
)
def test_of_a_location_scheme_and_host_are_shown(location: str, shown: str):
    assert shown_location(location) == shown


def test_two_urls_that_are_shown_alike_are_not_one_file(lfp: CommandLine):
    ended = lfp("ingest", "https://127.0.0.1:9/a.csv?d=1", "https://127.0.0.1:9/a.csv?d=2")
    assert ended.code == 3
    assert "have the same name" in ended.err


def test_no_secret_of_the_sources_file_is_shown(lfp: CommandLine):
    lfp.set(download_attempts=1)
    file = lfp.data.parent / "sources.yaml"
    lfp.set(sources_file=file)
    for location in list(chain(*LOCATIONS.values()))[::60]:
        entry = {"name": "a.csv", "location": location}
        file.write_text(json.dumps({"sources": [entry]}))
        for command in (["check"], ["ingest", "a.csv"], ["status"]):
            ended = lfp(*command)
            assert MARK not in ended.out + ended.err, (location, command)
