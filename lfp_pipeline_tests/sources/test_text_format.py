"""The text format of a source is recorded with the delivery, where a rebuild finds it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from lfp_pipeline.common.clock import utc_from_ns
from lfp_pipeline.model.delivery import Delivery, TextFormat
from lfp_pipeline.raw_zone import pending
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.sources.base import DownloadLimits, Fetched, OnProgress, Sink, Version
from lfp_pipeline.sources.local_file import LocalFile
from lfp_pipeline.sources.locations import source_at
from testing.engine import LOG
from testing.http_server import LOOPBACK, Exchange, content_of, cut_off, rest_of, serving
from testing.raw_marks import is_pruned, last_recorded_status, prune, write_status_note

LIMITS = DownloadLimits(3, 60, 10**9, LOOPBACK, longest_pause_seconds=0.01)
CONTENT = b"name;sku;description\nA;s1;x\n" * 1000
OLD = TextFormat(charset="cp1252", delimiter=";")
NEW = TextFormat("cp1251", "cp1252", ";")


@dataclass
class Formatted:
    """A source of one version with a text format."""

    text_format: TextFormat
    name: str = "formatted"

    def fetch(self, sink: Sink, on_progress: OnProgress) -> Fetched:
        sink.write(CONTENT)
        on_progress(len(CONTENT), None)
        return Fetched(utc_from_ns(10**18), self.text_format)

    def version(self, known: Version | None) -> None:
        """Return None."""


@pytest.fixture
def zone(tmp_path: Path) -> RawZone:
    return RawZone(tmp_path / "raw")


def land(zone: RawZone, text_format: TextFormat) -> Delivery:
    return zone.land(Formatted(text_format), "a.csv", LOG)


def recorded(zone: RawZone) -> TextFormat:
    (delivery,) = zone.deliveries("a.csv")
    return delivery.text_format


def record(delivery: Delivery) -> dict[str, object]:
    content: dict[str, object] = json.loads(delivery.path.with_suffix(".json").read_bytes())
    return content


def test_the_text_format_is_recorded(zone: RawZone):
    delivery = land(zone, NEW)
    assert delivery.text_format == NEW
    assert zone.deliveries("a.csv") == [delivery]
    expected = {"encoding": "cp1251", "charset": "cp1252", "delimiter": ";"}
    assert record(delivery)["text_format"] == expected


def test_a_record_without_a_text_format_is_unchanged(zone: RawZone):
    delivery = land(zone, TextFormat())
    assert "text_format" not in record(delivery)
    assert zone.deliveries("a.csv") == [delivery]


def test_a_record_with_an_unknown_text_format_cannot_be_read(zone: RawZone):
    delivery = land(zone, OLD)
    path = delivery.path.with_suffix(".json")
    path.write_text(json.dumps(record(delivery) | {"text_format": {"quote": "'"}}))
    _, (problem,) = zone.survey()
    assert "cannot be read" in problem


@pytest.mark.parametrize("outcome", [None, "refused", "reverted"])
def test_an_unmerged_delivery_gets_the_new_text_format(
    zone: RawZone, outcome: str | None, caplog: pytest.LogCaptureFixture
):
    first = land(zone, OLD)
    if outcome:
        write_status_note(first.path, outcome, "db")
    again = land(zone, NEW)
    assert again.delivery_id == first.delivery_id
    assert again.landed_at == first.landed_at
    assert again.text_format == NEW
    assert recorded(zone) == NEW
    assert last_recorded_status(first.path) is None
    assert pending.pending_deliveries(zone, "db", LOG) == [again]
    assert not caplog.records


def test_the_same_text_format_changes_nothing(zone: RawZone):
    first = land(zone, OLD)
    write_status_note(first.path, "refused", "db")
    assert land(zone, OLD) == first
    assert last_recorded_status(first.path) == "refused"


def test_a_merged_delivery_keeps_its_text_format_with_a_warning(
    zone: RawZone, caplog: pytest.LogCaptureFixture
):
    first = land(zone, OLD)
    write_status_note(first.path, "merged", "db")
    assert land(zone, NEW) == first
    assert recorded(zone) == OLD
    assert last_recorded_status(first.path) == "merged"
    (warning,) = caplog.messages
    assert first.label in warning
    assert "merged with the text format (charset cp1252, delimiter ';')" in warning
    assert "now gives (encoding cp1251, charset cp1252, delimiter ';')" in warning
    assert "lfp revert" in warning


def test_a_merged_delivery_keeps_its_charset_without_a_warning(
    zone: RawZone, caplog: pytest.LogCaptureFixture
):
    """Each read of a feed reports the charset again."""
    first = land(zone, OLD)
    write_status_note(first.path, "merged", "db")
    assert land(zone, replace(OLD, charset="koi8-r")) == first
    assert recorded(zone) == OLD
    assert not caplog.messages


@pytest.mark.parametrize("lose", [lambda raw: raw.unlink(), lambda raw: prune(raw, needed=True)])
def test_a_merged_delivery_whose_lost_bytes_land_again_keeps_its_text_format(
    zone: RawZone, lose: Callable[[Path], None]
):
    first = land(zone, OLD)
    write_status_note(first.path, "merged", "db")
    lose(first.path)
    assert land(zone, NEW).text_format == OLD
    assert recorded(zone) == OLD
    assert first.path.read_bytes() == CONTENT
    assert not is_pruned(first.path)


def landed_from(tmp_path: Path, location: str, **declared: str) -> TextFormat:
    source = source_at(location, LIMITS, declared=TextFormat(**declared))
    return RawZone(tmp_path).land(source, "a.csv", LOG).text_format


def test_a_local_file_has_the_declared_format_only(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_bytes(CONTENT)
    assert landed_from(tmp_path / "raw", str(path)) == TextFormat()
    declared = TextFormat(encoding="cp1251", delimiter="\t")
    source = source_at(str(path), LIMITS, declared=declared)
    assert source.name == str(path)
    assert source.version(None) == LocalFile(path).version(None)
    delivery = RawZone(tmp_path / "raw2").land(source, "a.csv", LOG)
    assert delivery.text_format == declared


@pytest.mark.parametrize(
    ("content_type", "charset"),
    [
        ("text/csv; charset=windows-1251", "cp1251"),
        ('text/csv; header=present; charset="Windows-1251"', "cp1251"),
        ("TEXT/CSV;CHARSET=UTF-8", "utf-8"),
        ("text/csv; charset=ISO-8859-1", "cp1252"),
        ("text/csv; charset=shift_jis", "cp932"),
        ("text/csv; charset*=us-ascii'en'koi8-r", "koi8-r"),
        ("text/csv", None),
        ("text/csv; charset=", None),
        ("text/csv; charset=klingon", None),
        ("text/csv; charset=hex", None),
        ("text/csv; charset=" + "x" * 10_000, None),
        ("text/csv; charset=caf\xe9", None),
        ("", None),
    ],
)
def test_the_charset_of_a_server_is_kept(tmp_path: Path, content_type: str, charset: str | None):
    with serving(content_of(CONTENT, Content_Type=content_type)) as server:
        assert landed_from(tmp_path, server.url()) == TextFormat(charset=charset)


def test_the_charset_of_a_redirect_is_ignored(tmp_path: Path):
    def redirect(exchange: Exchange) -> None:
        kind = "text/html; charset=koi8-r"
        exchange.head(302, Location="/there", Content_Length=0, Content_Type=kind)

    with serving(redirect, content_of(CONTENT, Content_Type="text/csv;charset=cp866")) as server:
        assert landed_from(tmp_path, server.url()).charset == "cp866"


@pytest.mark.parametrize("rest", [{}, {"Content_Type": "text/csv; charset=koi8-r"}])
def test_the_charset_of_the_first_answer_survives_a_resumed_download(
    tmp_path: Path, rest: dict[str, str]
):
    first = cut_off(CONTENT, 1000, ETag='"1"', Content_Type="text/csv; charset=cp1251")
    with serving(first, rest_of(CONTENT, ETag='"1"', **rest)) as server:
        assert landed_from(tmp_path, server.url()).charset == "cp1251"
    assert "Range" in server.requests[1]


def test_a_declared_format_is_kept_beside_the_charset_of_the_server(tmp_path: Path):
    with serving(content_of(CONTENT, Content_Type="text/csv; charset=cp1251")) as server:
        found = landed_from(tmp_path, server.url(), encoding="koi8-r", delimiter=";")
    assert found == TextFormat("koi8-r", "cp1251", ";")


def test_a_checksummed_source_keeps_its_text_format(tmp_path: Path):
    with serving(content_of(CONTENT, Content_Type="text/csv; charset=cp1251")) as server:
        delivery = RawZone(tmp_path).land(source_at(server.url(), LIMITS), "a.csv", LOG)
        source = source_at(server.url(), LIMITS, delivery.sha256, TextFormat(delimiter=";"))
        checked = RawZone(tmp_path).land(source, "b.csv", LOG)
    assert checked.text_format == TextFormat(charset="cp1251", delimiter=";")
