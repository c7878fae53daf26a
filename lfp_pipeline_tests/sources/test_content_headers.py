"""Content codings: deflate is undone during the download, others are stored or refused."""

import gzip
import os
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lfp_pipeline.errors import LandingError
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.sources import content_headers
from lfp_pipeline.sources.base import CHUNK_BYTES, DownloadLimits
from lfp_pipeline.sources.content_headers import inflated
from lfp_pipeline.sources.http_download import HttpFile
from testing.engine import LOG
from testing.http_server import (
    LOOPBACK,
    Answer,
    Exchange,
    Server,
    content_of,
    cut_off,
    rest_of,
    serving,
)

LIMITS = DownloadLimits(3, 60, 10**9, LOOPBACK, longest_pause_seconds=0.01)
CONTENT = os.urandom(200_000) + bytes(5 * CHUNK_BYTES) + b"x,y,z\n" * 100_000


def raw_deflate(content: bytes, level: int = 6) -> bytes:
    packer = zlib.compressobj(level, wbits=-zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


def land(tmp_path: Path, server: Server, limits: DownloadLimits = LIMITS) -> bytes:
    delivery = RawZone(tmp_path).land(HttpFile(server.url(), limits), "a.csv", LOG)
    assert delivery.size_bytes == delivery.path.stat().st_size
    return delivery.path.read_bytes()


def refusal(tmp_path: Path, *answers: Answer, limits: DownloadLimits = LIMITS) -> LandingError:
    with serving(*answers) as server, pytest.raises(LandingError) as caught:
        land(tmp_path, server, limits)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    return caught.value


def deflated(content: bytes, **headers: object) -> Answer:
    return content_of(content, Content_Encoding="deflate", **headers)


@pytest.mark.parametrize("content", [b"", b"a", b"name,sku\n", CONTENT])
@pytest.mark.parametrize(
    "pack",
    [
        zlib.compress,
        lambda content: zlib.compress(content, 1, 9),
        lambda content: zlib.compress(content, 0),
        raw_deflate,
        lambda content: raw_deflate(content, 0),
    ],
)
def test_deflate_is_undone_in_the_zlib_format_and_raw(
    tmp_path: Path, content: bytes, pack: Callable[[bytes], bytes]
):
    with serving(deflated(pack(content))) as server:
        assert land(tmp_path, server) == content


@pytest.mark.parametrize("coding", ["Deflate", "identity, deflate", "deflate, identity"])
def test_the_coding_is_recognised_in_every_spelling(tmp_path: Path, coding: str):
    packed = zlib.compress(CONTENT)
    with serving(content_of(packed, Content_Encoding=coding)) as server:
        assert land(tmp_path, server) == CONTENT


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_inflated_chunks_have_a_bounded_size(size: int):
    packed = zlib.compress(CONTENT[-700_000:] + bytes(3 * CHUNK_BYTES))
    pieces = (packed[at : at + size] for at in range(0, len(packed), size))
    chunks = list(inflated("a", pieces))
    assert b"".join(chunks) == CONTENT[-700_000:] + bytes(3 * CHUNK_BYTES)
    assert max(map(len, chunks)) <= CHUNK_BYTES


def test_chunks_are_bounded_when_the_input_ends_before_the_output(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(content_headers, "CHUNK_BYTES", 10_000)
    for extra in range(300):
        content = bytes(10_000 + extra)
        chunks = list(inflated("a", iter([zlib.compress(content)])))
        assert b"".join(chunks) == content
        assert max(map(len, chunks)) <= 10_000


def test_the_size_limit_applies_to_the_inflated_file(tmp_path: Path):
    packed = zlib.compress(bytes(100 << 20))
    assert len(packed) < 200_000
    limits = replace(LIMITS, max_bytes=1_000_000)
    error = refusal(tmp_path, deflated(packed), limits=limits)
    assert error.permanent
    assert "larger than 1,000,000 bytes" in str(error)


@pytest.mark.parametrize("end", [0, 1, 2, 1000, -1, -4])
@pytest.mark.parametrize("pack", [zlib.compress, raw_deflate])
def test_a_stream_without_its_end_is_a_transient_error(
    tmp_path: Path, end: int, pack: Callable[[bytes], bytes]
):
    packed = pack(CONTENT)
    error = refusal(tmp_path, deflated(packed[:end]))
    assert not error.permanent
    assert "damaged deflate stream: its end is missing" in str(error)
    assert "(3 tries.)" in str(error)
    with serving(deflated(packed[:end]), deflated(packed)) as server:
        assert land(tmp_path, server) == CONTENT


def flipped(packed: bytes) -> bytes:
    return packed[:-1] + bytes([packed[-1] ^ 1])


@pytest.mark.parametrize(
    "content",
    [flipped(zlib.compress(CONTENT)), b"name,sku,description\n", zlib.compress(CONTENT) + b"more"],
)
def test_a_damaged_stream_is_refused(tmp_path: Path, content: bytes):
    error = refusal(tmp_path, deflated(content))
    assert not error.permanent
    assert "damaged deflate stream" in str(error)


def test_bytes_after_the_end_of_a_stream_are_refused():
    pieces = iter([zlib.compress(b"abc"), b"d"])
    with pytest.raises(LandingError, match="other bytes follow its end"):
        list(inflated("a", pieces))


def test_a_download_of_a_deflate_stream_is_not_resumed(tmp_path: Path):
    packed = zlib.compress(CONTENT)
    headers = {"ETag": '"1"', "Content_Encoding": "deflate"}
    with serving(cut_off(packed, 100_000, **headers), content_of(packed, **headers)) as server:
        assert land(tmp_path, server) == CONTENT
    assert "Range" not in server.requests[1]


def test_a_range_in_another_coding_is_refused(tmp_path: Path):
    etag = {"ETag": '"1"'}
    with serving(
        cut_off(CONTENT, 1000, **etag),
        rest_of(CONTENT, Content_Encoding="deflate", **etag),
        content_of(CONTENT, **etag),
    ) as server:
        assert land(tmp_path, server) == CONTENT
    assert "Range" in server.requests[1]
    assert "Range" not in server.requests[2]


def test_a_compressed_file_under_deflate_is_stored_compressed(tmp_path: Path):
    packed = gzip.compress(CONTENT)
    answer = content_of(zlib.compress(packed), Content_Encoding="gzip, deflate")
    with serving(answer) as server:
        assert land(tmp_path, server) == packed


def test_a_deflated_web_page_is_detected(tmp_path: Path):
    page = zlib.compress(b"<html><title>Log in</title>")
    error = refusal(tmp_path, deflated(page, Content_Type="text/html"))
    assert "answered with a web page ('Log in')" in str(error)


@pytest.mark.parametrize(
    "coding",
    ["gzip", "x-gzip", "zstd", "GZIP", "", "identity", "aws-chunked", "UTF-8", "windows-1251"],
)
def test_codings_that_the_reader_unpacks_are_stored_unchanged(tmp_path: Path, coding: str):
    etag = {"ETag": '"1"', "Content_Encoding": coding}
    with serving(cut_off(CONTENT, 1000, **etag), rest_of(CONTENT, **etag)) as server:
        assert land(tmp_path, server) == CONTENT
    assert server.requests[0]["Accept-Encoding"] == "identity"
    assert "Range" in server.requests[1]


@pytest.mark.parametrize("coding", ["br", "compress", "deflate, gzip", "gzip, br", "dcz"])
def test_an_unsupported_coding_is_refused_by_name(tmp_path: Path, coding: str):
    error = refusal(tmp_path, content_of(CONTENT, Content_Encoding=coding))
    assert error.permanent
    assert f"the content coding '{coding}', which was not requested" in str(error)


def test_an_error_status_takes_precedence_over_an_unknown_coding(tmp_path: Path):
    def busy(exchange: Exchange) -> None:
        exchange.head(503, Content_Encoding="br", Content_Length=3)
        exchange.wfile.write(b"\x0b\x01a")

    with serving(busy, content_of(CONTENT)) as server:
        assert land(tmp_path, server) == CONTENT
    error = refusal(tmp_path / "other", busy)
    assert str(error).endswith("answered 503 Service Unavailable. (3 tries.)")
