"""Locations of sources: URLs, links and paths."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lfp_pipeline.errors import LandingError, StillWrittenError
from lfp_pipeline.model.delivery import TextFormat
from lfp_pipeline.sources.base import DownloadLimits
from lfp_pipeline.sources.http_download import HttpFile
from lfp_pipeline.sources.local_file import LocalFile
from lfp_pipeline.sources.locations import file_name_of, source_at
from lfp_pipeline.sources.object_store import StoredObject
from lfp_pipeline.sources.wrapped_source import DeclaredSource
from lfp_pipeline.sources.written_location import resolve_location
from testing.processes import HOLD_A_WRITE_LEASE, HOLD_OPEN, running
from testing.sources import Bytes

LIMITS = DownloadLimits(attempts=1, seconds=1, max_bytes=1)


@pytest.mark.parametrize("url", ["http://host/a.csv", "HTTPS://host/a.csv"])
def test_http_and_https_are_downloads(url: str) -> None:
    assert source_at(url, LIMITS) == HttpFile(url, LIMITS)


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("https://host/a/my%20file.csv?day=1#y", "my file.csv"),
        ("s3://bucket/a/b.csv", "b.csv"),
        ("https://host/", ""),
        ("https://host", ""),
        ("gdrive:1234567890123456789012345", "1234567890123456789012345"),
        ("/data/x#1.csv", "x#1.csv"),
        ("file:///data/a%20b.csv", "a b.csv"),
        ("${WHOLE}", "export.csv"),
        ("https://host/${PART}", ""),
        ("https://host/${PART}/a.csv", "a.csv"),
        ("/data/${PART}", ""),
        ("https://host/${QUOTED}", ""),
        ("https://host/${NOTHING}b.csv", "b.csv"),
    ],
)
def test_a_file_is_named_by_the_last_part_of_its_location(
    location: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHOLE", "https://host/export.csv?key=hunter2")
    monkeypatch.setenv("PART", "hunter2")
    monkeypatch.setenv("QUOTED", "hun%20ter2")
    monkeypatch.setenv("NOTHING", "")
    source = source_at(resolve_location(location), LIMITS)
    assert file_name_of(source) == name
    assert file_name_of(DeclaredSource(source, TextFormat())) == name


def test_white_space_around_a_url_is_ignored() -> None:
    assert source_at(" \thttps://host/a.csv\n", LIMITS) == HttpFile("https://host/a.csv", LIMITS)


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/data/a.csv", "/data/a.csv"),
        ("a b.csv", "a b.csv"),
        ("a/b://c.csv", "a/b:/c.csv"),
        ("./a:/b.csv", "a:/b.csv"),
        ("a:b.csv", "a:b.csv"),
        (" a.csv ", " a.csv "),
        (" file:/data/a.csv", "/data/a.csv"),
        ("file:///data/a%20b.csv", "/data/a b.csv"),
        ("~/a.csv", str(Path.home() / "a.csv")),
    ],
)
def test_paths_and_file_urls_are_local_files(location: str, path: str) -> None:
    assert source_at(location, LIMITS) == LocalFile(Path(path))


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/a.csv",
        "S3://bucket/folder/a b#1.csv.gz",
        "gs://bucket/a.csv",
        "az://container/a.csv",
        "abfss://container@account.dfs.core.windows.net/a.csv",
        "sftp://user@host:2222/a.csv",
        "ftp://host/a.csv",
    ],
)
def test_object_stores_and_file_servers_are_sources(url: str) -> None:
    scheme, _, rest = url.partition(":")
    assert source_at(url, LIMITS) == StoredObject(f"{scheme.lower()}:{rest}", LIMITS)


@pytest.mark.parametrize(
    "location",
    [
        *("local:///etc/passwd", "memory://a.csv", "data:/,a", "git://folder:main@a.csv"),
        *("generic://a", "webhdfs://host/a.csv", "filecache://host/a.csv", "ws://host/a.csv"),
        *("simplecache::s3://bucket/a.csv", "zip://a.csv::file:///data/a.zip", "odd://host/a"),
    ],
)
def test_other_protocols_are_refused(location: str) -> None:
    with pytest.raises(LandingError, match="not supported") as caught:
        source_at(location, LIMITS)
    assert caught.value.permanent


@pytest.mark.parametrize(
    "location",
    [
        "https:/user:s3cret@host/a.csv",
        "s3+https://user:s3cret@host/a.csv",
        " s3+https://user:s3cret@host/a.csv",
        '"https://user:s3cret@host/a.csv"',
        "\ufeffhttps://user:s3cret@host/a.csv",
        "1https://user:s3cret@host/a.csv",
        "://user:s3cret@host/a.csv",
        "user:s3cret@host:/a.csv",
        "s3://key:s3cret@bucket/a.csv",
        "sftp://user:s3cret@host/a.csv",
        "sftp://user:s3cret@[host/a.csv",
    ],
)
def test_a_malformed_url_is_refused_without_showing_it(location: str) -> None:
    with pytest.raises(LandingError) as caught:
        source_at(location, LIMITS)
    assert caught.value.permanent
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "location",
    ["", "a\0b", "~nobody-of-this-name/a.csv", "file://", "http://", "s3://", "s3://bucket/"],
)
def test_an_invalid_location_is_refused(location: str) -> None:
    with pytest.raises(LandingError) as caught:
        source_at(location, LIMITS)
    assert caught.value.permanent


@pytest.mark.skipif(sys.platform != "linux", reason="needs the leases of Linux")
@pytest.mark.parametrize(
    ("writer", "arguments"),
    [(HOLD_OPEN, ["ab"]), (HOLD_OPEN, ["r+b"]), (HOLD_A_WRITE_LEASE, [])],
    ids=["appends", "rewrites", "has leased it"],
)
@pytest.mark.parametrize("as_location", [str, Path.as_uri])
def test_a_file_that_a_program_is_writing_is_refused(
    tmp_path: Path, writer: str, arguments: list[str], as_location: Callable[[Path], str]
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a")
    source, sink = source_at(as_location(path), LIMITS), Bytes()
    with running(writer, path, *arguments):
        with pytest.raises(StillWrittenError, match=r"a.csv is still being written") as caught:
            source.fetch(sink, lambda *_: None)
        assert not caught.value.permanent
        assert sink.content == b""
    source.fetch(sink, lambda *_: None)
    assert sink.content == b"a"
