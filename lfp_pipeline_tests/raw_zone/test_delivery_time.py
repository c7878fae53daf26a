"""The time of a version: which version of a file is newer, whatever time its source reports."""

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.raw_zone import folder_sidecars
from lfp_pipeline.raw_zone.delivery_time import Version, time_of_fetched
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.sources.base import Fetched, OnProgress, Sink
from lfp_pipeline.sources.local_file import LocalFile
from testing.engine import LOG

KEY = "products.csv"
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Server:
    """A source that reports any time for its bytes."""

    content: bytes
    modified: datetime | None
    name: str = "server"

    def fetch(self, sink: Sink, on_progress: OnProgress) -> Fetched:
        sink.write(self.content)
        on_progress(len(self.content), None)
        return Fetched(self.modified)

    def version(self, known: dict[str, str] | None) -> None:
        del known


@pytest.fixture
def zone(tmp_path: Path) -> RawZone:
    return RawZone(tmp_path / "raw")


def land_file(zone: RawZone, content: bytes, modified: datetime) -> Delivery:
    path = zone.root.parent / KEY
    path.write_bytes(content)
    nanoseconds = (modified - datetime(1970, 1, 1)) // timedelta(microseconds=1) * 1000  # noqa: DTZ001
    os.utime(path, ns=(nanoseconds, nanoseconds))
    return zone.land(LocalFile(path), KEY, LOG)


def fetch(zone: RawZone, content: bytes, modified: datetime | None, **how: bool) -> Delivery:
    return zone.land(Server(content, modified), KEY, LOG, **how)


OLD, THEN = datetime(1980, 1, 1), datetime(2026, 11, 1, 12)  # noqa: DTZ001


@pytest.mark.parametrize("ahead", [timedelta(minutes=1), 2 * HOUR, timedelta(days=400)])
def test_no_file_is_newer_than_its_landing(zone: RawZone, ahead: timedelta):
    before, stated_at = utc_now(), utc_now() + ahead
    first = land_file(zone, b"wrong", stated_at)
    assert before <= first.delivered_at <= utc_now()
    assert (first.stated_at, first.is_dated_ahead) == (stated_at, True)
    assert zone.find(first.delivery_id) == first
    correction = land_file(zone, b"right", utc_now())
    assert correction.delivered_at > first.delivered_at
    assert not correction.is_dated_ahead


def test_a_file_from_the_future_lands_once(zone: RawZone):
    stated_at = utc_now() + HOUR
    first, again = (land_file(zone, b"one", stated_at) for _ in range(2))
    assert first.order_key == again.order_key
    assert zone.deliveries(KEY) == [again]


def test_of_files_from_the_future_the_one_that_lands_later_is_newer(zone: RawZone):
    first = land_file(zone, b"one", utc_now() + 2 * HOUR)
    assert land_file(zone, b"two", utc_now() + HOUR).delivered_at > first.delivered_at


@pytest.mark.parametrize("contents", [(b"a", b"b", b"c"), (b"c", b"b", b"a"), (b"b", b"c", b"a")])
def test_of_versions_with_the_same_time_the_one_that_lands_later_is_newer(
    zone: RawZone, contents: tuple[bytes, ...]
):
    landed = [land_file(zone, content, THEN) for content in contents]
    assert landed == sorted(landed, key=lambda delivery: delivery.order_key)
    assert [delivery.version_time for delivery in landed] == [THEN] * 3


def test_a_file_that_returns_to_earlier_bytes_of_the_same_time_is_newer(zone: RawZone):
    landed = [land_file(zone, content, THEN) for content in (b"a", b"b", b"a", b"a", b"b")]
    assert [delivery.path.read_bytes() for delivery in landed] == [b"a", b"b", b"a", b"a", b"b"]
    assert landed == sorted(landed, key=lambda delivery: delivery.order_key)
    assert len({delivery.delivery_id for delivery in landed}) == 4
    assert {delivery.version_time for delivery in landed} == {THEN}


def test_the_file_of_an_earlier_version_that_lands_again_is_that_version(zone: RawZone):
    first = land_file(zone, b"a", THEN)
    kept = Path(first.source).rename(zone.root.parent / "kept")
    os.utime(kept, ns=(kept.stat().st_mtime_ns,) * 2)
    again = zone.land(LocalFile(kept), KEY, LOG)
    assert again.delivery_id == first.delivery_id
    assert land_file(zone, b"b", THEN).delivered_at > first.delivered_at
    assert zone.land(LocalFile(kept), KEY, LOG) == again


def test_a_later_version_of_the_same_time_is_never_older_than_that_time(
    zone: RawZone, monkeypatch: pytest.MonkeyPatch
):
    noon = utc_now() - HOUR
    monkeypatch.setattr(folder_sidecars, "utc_now", lambda: noon - 2 * HOUR)
    early = land_file(zone, b"early", noon)  # The clock of the writing machine was ahead.
    monkeypatch.undo()
    between = land_file(zone, b"between", noon - HOUR)
    late = land_file(zone, b"late", noon)
    assert early.order_key < between.order_key < late.order_key


def test_an_older_version_restored_after_one_from_the_future_is_newer(
    zone: RawZone, monkeypatch: pytest.MonkeyPatch
):
    land_file(zone, b"right", THEN)
    monkeypatch.setattr(folder_sidecars, "utc_now", lambda: ahead)
    ahead = utc_now() + HOUR
    wrong = land_file(zone, b"wrong", ahead)
    monkeypatch.undo()
    again = land_file(zone, b"right", THEN)
    assert again.order_key > wrong.order_key
    assert land_file(zone, b"right", THEN).order_key == again.order_key


def test_a_version_that_lands_after_one_from_the_future_is_newer(
    zone: RawZone, monkeypatch: pytest.MonkeyPatch
):
    ahead = utc_now() + HOUR
    monkeypatch.setattr(folder_sidecars, "utc_now", lambda: ahead)  # The clock was an hour ahead.
    wrong = land_file(zone, b"wrong", ahead)
    monkeypatch.undo()
    right = land_file(zone, b"right", utc_now())
    assert right.delivered_at > wrong.delivered_at > utc_now()
    assert land_file(zone, b"right", right.version_time).delivery_id == right.delivery_id


def test_an_older_file_stays_older(zone: RawZone):
    newer = land_file(zone, b"new", THEN)
    older = land_file(zone, b"old", THEN - HOUR)
    assert older.delivered_at == THEN - HOUR
    assert zone.newer_than(older) == newer
    assert zone.newer_than(newer) is None


@pytest.mark.parametrize("polled", [False, True])
@pytest.mark.parametrize("modified", [OLD, None])
def test_other_bytes_of_a_server_are_newer_whatever_time_it_reports(
    zone: RawZone, modified: datetime | None, polled: bool
):
    landed = [fetch(zone, content, modified, polled=polled) for content in (b"1", b"2", b"1", b"3")]
    assert landed == sorted(landed, key=lambda delivery: delivery.order_key)
    assert len({delivery.delivery_id for delivery in landed}) == 4


def test_the_time_of_a_server_is_never_later_than_the_fetch(zone: RawZone):
    first = fetch(zone, b"wrong", utc_now() + 2 * HOUR)
    assert first.delivered_at <= utc_now()
    assert first.is_dated_ahead
    second = fetch(zone, b"right", utc_now() - HOUR)
    assert first.delivered_at < second.delivered_at <= utc_now()
    assert second.stated_at is not None
    assert second.stated_at < first.delivered_at


def test_a_plausible_time_of_a_server_counts(zone: RawZone):
    assert fetch(zone, b"1", THEN).delivered_at == THEN
    assert fetch(zone, b"2", THEN + HOUR).delivered_at == THEN + HOUR


@pytest.mark.parametrize("modified", [OLD, THEN, None])
def test_the_newest_bytes_again_are_the_same_delivery(zone: RawZone, modified: datetime | None):
    first = fetch(zone, b"1", modified)
    assert fetch(zone, b"1", modified) == first
    assert fetch(zone, b"1", OLD) == first
    assert fetch(zone, b"1", THEN + HOUR, polled=True) == first
    assert fetch(zone, b"1", utc_now() + HOUR) == first


def test_no_version_is_newer_than_the_greatest_time():
    newest = Version(datetime.max, "0" * 16)  # noqa: DTZ901
    found = time_of_fetched(Fetched(None), "f" * 64, utc_now(), newest, polled=False)
    assert found == newest.delivered_at


def test_records_without_a_stated_time_are_read_as_before(zone: RawZone):
    ahead = utc_now() + HOUR  # As earlier versions of this program recorded it.
    first = land_file(zone, b"one", THEN)
    name = first.path.name.replace("20261101T120000", f"{ahead:%Y%m%dT%H%M%S}")
    record = first.path.with_suffix(".json").read_text()
    record = record.replace(f"{THEN:%Y-%m-%dT%H:%M:%S}", f"{ahead:%Y-%m-%dT%H:%M:%S}")
    first.path.rename(first.path.with_name(name))
    first.path.with_suffix(".json").unlink()
    first.path.with_name(name).with_suffix(".json").write_text(record)
    (known,) = zone.deliveries(KEY)
    assert (known.delivered_at, known.is_dated_ahead) == (ahead.replace(microsecond=0), True)
    assert land_file(zone, b"one", known.delivered_at).order_key == known.order_key
    assert fetch(zone, b"two", THEN).delivered_at > known.delivered_at
