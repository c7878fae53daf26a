"""Values of the environment in a location: nobody is shown them, whoever repeats them."""

from pathlib import Path

import pytest

from lfp_pipeline.errors import LandingError
from lfp_pipeline.sources.base import DownloadLimits
from lfp_pipeline.sources.locations import source_at
from lfp_pipeline.sources.written_location import resolved
from testing.http_server import LOOPBACK, Answer, Exchange, serving
from testing.sources import Bytes

VALUE = "hunter 2/ü"
SPELLED = "hunter%202%2F%C3%BC"
LIMITS = DownloadLimits(attempts=1, seconds=5, max_bytes=1000, fence=LOOPBACK)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", SPELLED)
    monkeypatch.setenv("PLAIN", VALUE)
    monkeypatch.setenv("ID", "7")
    monkeypatch.setenv("SITE", "http://127.0.0.1:1")


def nothing(done: int, total: int | None) -> None:
    """Nobody watches the progress."""


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
def test_a_source_is_called_as_it_was_written(location: str, name: str) -> None:
    assert source_at(resolved(location), LIMITS).name == name
    assert source_at(resolved(location), LIMITS, "0" * 64).name == name


def told(location: str) -> str:
    with pytest.raises(LandingError) as caught:
        source_at(resolved(location), LIMITS).fetch(Bytes(), nothing)
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
def test_an_error_shows_the_name_in_place_of_a_value_that_a_server_repeats(answer: Answer) -> None:
    with serving(answer) as server:
        url = server.url("/feeds/${TOKEN}/${ID}.csv")
        error = told(url)
    assert url in error
    assert "hunter" not in error.lower()
    assert "%20" not in error


def test_an_error_of_a_path_shows_the_name(tmp_path: Path) -> None:
    assert told(f"{tmp_path}/${{PLAIN}}/7.csv") == (
        f"{tmp_path}/${{PLAIN}}/7.csv cannot be read: No such file or directory."
    )
    with pytest.raises(LandingError, match=r"^~nobody\$\{ID\}/a cannot be found"):
        source_at(resolved("~nobody${ID}/a"), LIMITS)


def test_a_value_that_is_part_of_the_name_of_another_is_shown_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("A_TOKEN", "missing")
    monkeypatch.setenv("B", "TOKEN")
    assert told("/missing/${A_TOKEN}/${B}").startswith("/missing/${A_TOKEN}/${B} cannot be read")


def test_what_no_variable_gave_is_shown_as_it_is(tmp_path: Path) -> None:
    assert told(f"{tmp_path}/7.csv").startswith(f"{tmp_path}/7.csv cannot be read")
