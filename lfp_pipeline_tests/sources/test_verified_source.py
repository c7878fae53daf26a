"""A digest that was told beforehand: other bytes are not taken."""

import logging
from hashlib import sha256
from pathlib import Path

import pytest

from lfp_pipeline.errors import LandingError
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.sources.base import DownloadLimits
from lfp_pipeline.sources.locations import source_at
from testing.http_server import LOOPBACK, content_of, cut_off, rest_of, serving

LOG = logging.getLogger("test")
LIMITS = DownloadLimits(3, 60, 10**9, LOOPBACK, longest_pause_seconds=0.01)
CONTENT = bytes(range(256)) * 1000
OTHER = CONTENT[:-1] + b"x"
DIGEST = sha256(CONTENT).hexdigest()


@pytest.mark.parametrize("digest", [DIGEST, DIGEST.upper()])
def test_the_file_that_was_told_lands(tmp_path: Path, digest: str) -> None:
    with serving(cut_off(CONTENT, 1000, ETag='"v1"'), rest_of(CONTENT, ETag='"v1"')) as server:
        delivery = RawZone(tmp_path).land(source_at(server.url(), LIMITS, digest), "a.csv", LOG)
        assert delivery.source == server.url()
    assert delivery.sha256 == DIGEST
    assert delivery.path.read_bytes() == CONTENT


def test_a_file_that_differs_is_fetched_once_more(tmp_path: Path) -> None:
    with serving(content_of(OTHER), content_of(CONTENT)) as server:
        delivery = RawZone(tmp_path).land(source_at(server.url(), LIMITS, DIGEST), "a.csv", LOG)
    assert delivery.path.read_bytes() == CONTENT


def test_a_file_that_differs_twice_is_another(tmp_path: Path) -> None:
    with (
        serving(content_of(OTHER)) as server,
        pytest.raises(LandingError, match=f"{sha256(OTHER).hexdigest()}, not {DIGEST}") as caught,
    ):
        RawZone(tmp_path).land(source_at(server.url(), LIMITS, DIGEST), "a.csv", LOG)
    assert caught.value.permanent
    assert len(server.requests) == 2
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("digest", ["x", DIGEST[1:], DIGEST + "0", f"sha256:{DIGEST}"])
def test_what_is_no_digest_is_refused_before_anything_is_fetched(digest: str) -> None:
    with pytest.raises(LandingError, match="not a sha256") as caught:
        source_at("http://127.0.0.1/a.csv", LIMITS, digest)
    assert caught.value.permanent


def test_a_local_file_is_checked_too(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(OTHER)
    with pytest.raises(LandingError, match="sha256"):
        RawZone(tmp_path / "raw").land(source_at(str(path), LIMITS, DIGEST), "a.csv", LOG)
    path.write_bytes(CONTENT)
    landed = RawZone(tmp_path / "raw").land(source_at(str(path), LIMITS, DIGEST), "a.csv", LOG)
    assert landed.path.read_bytes() == CONTENT
