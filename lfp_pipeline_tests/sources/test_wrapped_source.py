"""Sources around a source: checked by a digest, or with hidden values of the environment."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from lfp_pipeline.errors import LandingError
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.sources.base import DownloadLimits
from lfp_pipeline.sources.locations import source_at
from lfp_pipeline.sources.written_location import resolve_location
from testing.engine import LOG
from testing.http_server import LOOPBACK, Answer, Exchange, content_of, cut_off, rest_of, serving
from testing.sources import Bytes

LIMITS = DownloadLimits(3, 60, 10**9, LOOPBACK, longest_pause_seconds=0.01)
ONE_ATTEMPT = replace(LIMITS, attempts=1, seconds=5, max_bytes=1000)
CONTENT = bytes(range(256)) * 1000
OTHER = CONTENT[:-1] + b"x"
DIGEST = sha256(CONTENT).hexdigest()

VALUE = "hunter 2/ü"
SPELLED = "hunter%202%2F%C3%BC"


@pytest.mark.parametrize("digest", [DIGEST, DIGEST.upper()])
def test_a_file_with_the_required_digest_lands(tmp_path: Path, digest: str) -> None:
    with serving(cut_off(CONTENT, 1000, ETag='"v1"'), rest_of(CONTENT, ETag='"v1"')) as server:
        delivery = RawZone(tmp_path).land(source_at(server.url(), LIMITS, digest), "a.csv", LOG)
        assert delivery.source == server.url()
    assert delivery.sha256 == DIGEST
    assert delivery.path.read_bytes() == CONTENT


def test_a_file_with_another_digest_is_fetched_again(tmp_path: Path) -> None:
    with serving(content_of(OTHER), content_of(CONTENT)) as server:
        delivery = RawZone(tmp_path).land(source_at(server.url(), LIMITS, DIGEST), "a.csv", LOG)
    assert delivery.path.read_bytes() == CONTENT


def test_a_file_with_another_digest_twice_is_refused(tmp_path: Path) -> None:
    with (
        serving(content_of(OTHER)) as server,
        pytest.raises(LandingError, match=f"{sha256(OTHER).hexdigest()}, not {DIGEST}") as caught,
    ):
        RawZone(tmp_path).land(source_at(server.url(), LIMITS, DIGEST), "a.csv", LOG)
    assert caught.value.permanent
    assert len(server.requests) == 2
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("digest", ["x", DIGEST[1:], DIGEST + "0", f"sha256:{DIGEST}"])
def test_an_invalid_digest_is_refused_before_the_fetch(digest: str) -> None:
    with pytest.raises(LandingError, match="not a sha256") as caught:
        source_at("http://127.0.0.1/a.csv", LIMITS, digest)
    assert caught.value.permanent


def test_the_digest_of_a_local_file_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(OTHER)
    with pytest.raises(LandingError, match="sha256"):
        RawZone(tmp_path / "raw").land(source_at(str(path), LIMITS, DIGEST), "a.csv", LOG)
    path.write_bytes(CONTENT)
    landed = RawZone(tmp_path / "raw").land(source_at(str(path), LIMITS, DIGEST), "a.csv", LOG)
    assert landed.path.read_bytes() == CONTENT


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", SPELLED)
    monkeypatch.setenv("PLAIN", VALUE)
    monkeypatch.setenv("ID", "7")
    monkeypatch.setenv("SITE", "http://127.0.0.1:1")


def nothing(done: int, total: int | None) -> None:
    """Ignore the progress."""


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("http://h/feeds/${TOKEN}/7.csv?id=${ID}", "http://h/feeds/${TOKEN}/7.csv"),
        ("http://u:${ID}@h:8${ID}/${ID}.csv#${TOKEN}", "http://h:8${ID}/${ID}.csv"),
        ("http://[::${ID}]/a.csv", "http://[::${ID}]/a.csv"),
        ("http://h/$ID/$$/$x", "http://h/${ID}/$/$x"),
        ("${SITE}/a.csv", "${SITE}/a.csv"),
        ("s3://bucket/${ID}.csv", "s3://bucket/${ID}.csv"),
        ("gdrive:12345${ID}", "gdrive:12345${ID}"),
        ("/data/${ID}/a?b.csv", "/data/${ID}/a?b.csv"),
        ("file:///data/${ID}", "file:///data/${ID}"),
        ("/data/7.csv", "/data/7.csv"),
    ],
)
def test_a_source_is_named_as_it_was_written(location: str, name: str) -> None:
    assert source_at(resolve_location(location), ONE_ATTEMPT).name == name
    assert source_at(resolve_location(location), ONE_ATTEMPT, "0" * 64).name == name


def error_at(location: str) -> str:
    with pytest.raises(LandingError) as caught:
        source_at(resolve_location(location), ONE_ATTEMPT).fetch(Bytes(), nothing)
    return str(caught.value)


def refused(body: str) -> Answer:
    def answer(exchange: Exchange) -> None:
        exchange.head(403, Content_Length=len(body.encode()))
        exchange.wfile.write(body.encode())

    return answer


def redirected(location: str) -> Answer:
    return lambda exchange: exchange.head(302, Location=location, Content_Length=0)


@pytest.mark.parametrize(
    "answer",
    [
        refused(f"no feed {VALUE} here"),
        refused(f"no feed {VALUE.upper()} here"),
        refused(f"/feeds/{SPELLED} is gone"),
        refused(f"{'x' * 180} {VALUE}"),
        redirected(f"http://[/{SPELLED}"),
        redirected(f"odd{SPELLED}://host/"),
        redirected("http://user:hunter2@[host/?x=1"),
    ],
)
def test_an_error_shows_the_name_instead_of_a_value_that_a_server_repeats(answer: Answer) -> None:
    with serving(answer) as server:
        url = server.url("/feeds/${TOKEN}/${ID}.csv")
        error = error_at(url)
    assert url in error
    assert "hunter" not in error.lower()
    assert "%20" not in error


def test_the_error_of_a_path_shows_the_name(tmp_path: Path) -> None:
    assert error_at(f"{tmp_path}/${{PLAIN}}/7.csv") == (
        f"{tmp_path}/${{PLAIN}}/7.csv cannot be read: No such file or directory."
    )
    with pytest.raises(LandingError, match=r"^~nobody\$\{ID\}/a cannot be found"):
        source_at(resolve_location("~nobody${ID}/a"), ONE_ATTEMPT)


def test_a_value_that_is_part_of_another_name_is_not_replaced_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("A_TOKEN", "missing")
    monkeypatch.setenv("B", "TOKEN")
    assert error_at("/missing/${A_TOKEN}/${B}").startswith(
        "/missing/${A_TOKEN}/${B} cannot be read"
    )


def test_text_of_no_variable_is_shown_unchanged(tmp_path: Path) -> None:
    assert error_at(f"{tmp_path}/7.csv").startswith(f"{tmp_path}/7.csv cannot be read")
