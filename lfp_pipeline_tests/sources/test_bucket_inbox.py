"""The inbox as a prefix in a bucket: what is listed, and how files of it land."""

import io
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from lfp_pipeline.common.clock import utc_from_ns
from lfp_pipeline.errors import LandingError
from lfp_pipeline.hosts import bucket_client
from lfp_pipeline.hosts.bucket import Bucket, BucketObject
from lfp_pipeline.model.partition_key import partition_key
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.sources.bucket_inbox import BucketInbox
from lfp_pipeline.sources.inbox import InboxFile, list_inbox
from testing.engine import LOG
from testing.s3_server import Environ, S3Server


@pytest.fixture
def bucket(bucket_place: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    monkeypatch.setattr(bucket_client, "ATTEMPTS", 2)
    return Bucket(bucket_place, "LFP_INBOX")


@pytest.fixture
def inbox(bucket: Bucket) -> BucketInbox:
    return BucketInbox(bucket, ["drafts/", "*-old.csv"])


def drop(bucket: Bucket, name: str, content: bytes = b"name,sku\nLamp,s1\n") -> None:
    bucket.put(io.BytesIO(content), name, len(content), "0" * 64, replace=True)


def file_of(inbox: BucketInbox, name: str = "a.csv") -> InboxFile:
    (file,) = [file for file in inbox.list_files().ready if file.name == name]
    return file


def test_objects_are_listed_by_the_rules_of_a_folder(
    bucket: Bucket, inbox: BucketInbox, tmp_path: Path
) -> None:
    names = [
        *("a.csv", "b b.csv", "shop/ü/c.csv", "shop/d-old.csv", "e.csv.part", ".hidden/f.csv"),
        *("drafts/g.csv", "drafts/more/h.csv", "shop/drafts/i.csv", "~$j.csv", "shop/.k.csv"),
    ]
    for name in names:
        drop(bucket, name)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"name,sku\nLamp,s1\n")
    drop(bucket, "shop/", b"")  # As consoles mark folders.
    found, expected = (
        inbox.list_files(),
        list_inbox(tmp_path, stable_seconds=0, ignored=inbox.ignored),
    )
    assert {file.name for file in found.ready} == {file.name for file in expected.ready}
    assert found.ignored == expected.ignored
    assert found.still_writing == found.skipped == ()
    for file in found.ready:
        assert file.location == bucket.url(file.name)
        assert file.partition_key == partition_key(file.name)


@pytest.mark.parametrize(
    ("stated", "possible"), [("10:00:07.000", "10:00:07.999"), ("10:00:07.120", "10:00:07.120")]
)
def test_a_ctime_is_the_last_moment_that_the_stated_time_allows(
    stated: str, possible: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at(time: str) -> datetime:
        return datetime.fromisoformat(f"2026-11-27T{time}")

    found = BucketObject("a.csv", 7, at(stated), "etag")
    inbox = BucketInbox(Bucket("s3://shop/inbox", "LFP_INBOX"))
    monkeypatch.setattr(Bucket, "objects", lambda _: iter([found]))
    (file,) = inbox.list_files().ready
    assert utc_from_ns(file.mtime_ns) == at(stated)
    assert at(possible) <= utc_from_ns(file.ctime_ns) < at(possible) + timedelta(milliseconds=1)


def test_the_oldest_file_comes_first(bucket: Bucket, inbox: BucketInbox) -> None:
    for name in ("b.csv", "a.csv"):
        drop(bucket, name)
    times = [file.mtime_ns for file in inbox.list_files().ready]
    assert times == sorted(times)


def test_a_file_lands_in_the_listed_version(
    bucket: Bucket, inbox: BucketInbox, tmp_path: Path
) -> None:
    zone = RawZone(tmp_path / "raw")
    for content in (b"name,sku\nLamp,s1\n", b""):
        drop(bucket, "a.csv", content)
        file = file_of(inbox)
        source = inbox.source(file)
        assert source.head(4) == content[:4]
        source.require_readable()
        delivery = zone.land(source, "a.csv", LOG)
        assert delivery.path.read_bytes() == content
        assert delivery.source == f"{bucket.place}/a.csv"
        assert delivery.source_ctime_ns == file.ctime_ns
        assert zone.index.landed([file_of(inbox)])[0] is not None
        assert zone.land(source, "a.csv", LOG) == delivery


def test_an_object_that_is_replaced_after_the_listing_does_not_land(
    bucket: Bucket, inbox: BucketInbox, tmp_path: Path
) -> None:
    zone = RawZone(tmp_path / "raw")
    drop(bucket, "a.csv", b"name,sku\nLamp,s1\n")
    before = file_of(inbox)
    zone.land(inbox.source(before), "a.csv", LOG)
    drop(bucket, "a.csv", b"name,sku\nSofa,s2\n")  # Of the same size, perhaps of the same second.
    now = file_of(inbox)
    assert now.ctime_ns != before.ctime_ns
    assert zone.index.landed([now]) == [None]
    source = inbox.source(before)
    for look in (
        lambda: zone.land(source, "a.csv", LOG),
        lambda: source.head(1),
        source.require_readable,
    ):
        with pytest.raises(LandingError, match="not the file that was listed any more") as raised:
            look()
        assert not raised.value.permanent
    bucket.delete("a.csv")
    with pytest.raises(LandingError, match="any more"):
        zone.land(inbox.source(now), "a.csv", LOG)


def test_a_file_that_is_read_without_ranges_does_not_land(
    bucket: Bucket, inbox: BucketInbox, s3_server: S3Server, tmp_path: Path
) -> None:
    drop(bucket, "a.csv", b"name,sku\n" + b"Lamp,s1\n" * 100_000)
    file = file_of(inbox)

    def cut_once(environ: Environ) -> str | None:
        is_first = environ.get("HTTP_RANGE", "").startswith("bytes=0-")
        if environ["REQUEST_METHOD"] == "GET" and not is_first:
            environ.pop("HTTP_RANGE", None)
        return "truncated" if is_first else None

    s3_server.fault = cut_once
    zone = RawZone(tmp_path / "raw")
    with pytest.raises(LandingError, match="Range"):
        zone.land(inbox.source(file), "a.csv", LOG)
    assert zone.all_deliveries() == []


@pytest.mark.parametrize("fault", ["503", "page", "200"])
def test_a_bucket_that_cannot_be_listed_is_no_empty_inbox(
    inbox: BucketInbox, s3_server: S3Server, fault: str
) -> None:
    assert inbox.list_files().ready == ()
    s3_server.fault = lambda _: fault
    with pytest.raises(LandingError, match="could not be listed"):
        inbox.list_files()
    s3_server.fault = lambda _: None
    with pytest.raises(LandingError, match="LFP_INBOX"):
        BucketInbox(Bucket("s3://no-such-bucket", "LFP_INBOX")).list_files()
