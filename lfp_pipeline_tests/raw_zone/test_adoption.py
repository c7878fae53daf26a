"""Deliveries whose record was lost get it back from the copy beside their bytes."""

import io
import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from lfp_pipeline.hosts.bucket import Bucket
from lfp_pipeline.hosts.postgres import connect
from lfp_pipeline.model.delivery import Delivery, Kind, RawName, TextFormat
from lfp_pipeline.model.partition_key import PURGES
from lfp_pipeline.raw_zone.adoption import adopt_unrecorded, unrecorded
from lfp_pipeline.raw_zone.bucket_store import BucketStore
from lfp_pipeline.raw_zone.catalog_sidecars import create_raw_tables
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.raw_zone.sidecars import RECORD
from lfp_pipeline.settings import Settings
from lfp_pipeline.sources.base import Fetched, OnProgress, Sink
from lfp_pipeline.sources.local_file import LocalFile
from testing.engine import LOG
from testing.processes import start
from testing.s3_server import S3Server


class Zone(RawZone):
    """A raw zone that knows its settings."""

    settings: Settings


def zone_of(settings: Settings) -> Zone:
    zone = Zone.of(settings)
    zone.settings = settings
    return zone


@pytest.fixture(params=["folder", "bucket"])
def zone(request: pytest.FixtureRequest, catalog_url: SecretStr, tmp_path: Path) -> Zone:
    with connect(catalog_url, "test") as connection:
        create_raw_tables(connection)
    raw = request.getfixturevalue("bucket_place") if request.param == "bucket" else None
    return zone_of(Settings(data_dir=tmp_path / "data", catalog=catalog_url, raw=raw))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "a.csv"
    file.write_text("name,sku,description\nLamp,s1,x\n")
    return file


def land(zone: Zone, file: Path, key: str = "a.csv") -> Delivery:
    return zone.land(LocalFile(file), key, LOG)


def lose_rows(zone: Zone, *keys: str) -> None:
    """Lose what the catalog knows of partitions, as a restored older copy does."""
    assert zone.settings.catalog
    with connect(zone.settings.catalog, "test") as connection:
        connection.execute("DELETE FROM lfp.sidecars WHERE partition_key = ANY(%s)", [list(keys)])


def bucket_of(zone: Zone) -> Bucket:
    return Bucket(zone.settings.raw_place, "LFP_RAW")


def put_beside(zone: Zone, name: RawName, suffix: str, content: bytes) -> None:
    if isinstance(zone.store, BucketStore):
        bucket, place = bucket_of(zone), f"{name.key}/{name.stem}.{suffix}"
        bucket.put(io.BytesIO(content), place, len(content), "0" * 64, replace=True)
    else:
        zone.store.path(name).with_suffix(f".{suffix}").write_bytes(content)


def remove_copy(zone: Zone, name: RawName) -> None:
    if isinstance(zone.store, BucketStore):
        bucket_of(zone).delete(f"{name.key}/{name.stem}.json")
    else:
        zone.store.path(name).with_suffix(".json").unlink()


def test_lost_records_are_adopted_as_they_were(zone: Zone, file: Path) -> None:
    kept = land(zone, file)
    lost = [land(zone, file, key) for key in ("a.csv", "a.csv-b", "b.csv", "c.csv")][1:]
    records = [zone.sidecars.read(delivery.raw_name, RECORD) for delivery in lost]
    assert zone.index.differences() == []
    lose_rows(zone, "a.csv-b", "b.csv", "c.csv")
    assert zone.all_deliveries() == [kept]
    assert set(unrecorded(zone)) == {delivery.delivery_id for delivery in lost}
    assert adopt_unrecorded(zone, LOG) == (3, [])
    assert zone.all_deliveries() == [kept, *lost]
    for delivery, record in zip(lost, records, strict=True):
        adopted = zone.sidecars.read(delivery.raw_name, RECORD)
        assert adopted is not None
        assert record is not None
        assert adopted.content == record.content
        with zone.verified(delivery) as path:
            assert path.read_bytes() == file.read_bytes()
    assert zone.index.differences() == []
    assert unrecorded(zone) == []
    assert adopt_unrecorded(zone, LOG) == (0, [])


def test_a_purge_is_adopted(zone: Zone, file: Path) -> None:
    purge = zone.land(LocalFile(file), PURGES, LOG, kind=Kind.DELETION)
    lose_rows(zone, PURGES)
    assert adopt_unrecorded(zone, LOG) == (1, [])
    assert zone.find(purge.delivery_id) == purge


def _without_size(record: bytes) -> bytes:
    return json.dumps({**json.loads(record), "size_bytes": 1}).encode()


def _other_kind(record: bytes) -> bytes:
    return json.dumps({**json.loads(record), "kind": "deletion"}).encode()


def _other_digest(record: bytes) -> bytes:
    return json.dumps({**json.loads(record), "sha256": "0" * 64}).encode()


def _other_end_of_digest(record: bytes) -> bytes:
    content = json.loads(record)
    return json.dumps({**content, "sha256": content["sha256"][:16] + "0" * 48}).encode()


def _other_partition(record: bytes) -> bytes:
    return json.dumps({**json.loads(record), "partition_key": "b.csv"}).encode()


@pytest.mark.parametrize(
    "damaged",
    [
        lambda _: b"",
        lambda _: b"\xff",
        lambda _: b"[]",
        lambda _: b"[" * 3_000_000,
        lambda record: record[:-20],
        _without_size,
        _other_kind,
        _other_digest,
        _other_end_of_digest,
        _other_partition,
    ],
    ids=["empty", "no text", "list", "huge", "cut", "size", "kind", "digest", "end", "partition"],
)
def test_a_damaged_copy_is_refused_and_reported_until_the_file_lands_again(
    zone: Zone, file: Path, damaged: Callable[[bytes], bytes]
) -> None:
    delivery, other = land(zone, file), land(zone, file, "b.csv")
    record = zone.sidecars.read(delivery.raw_name, RECORD)
    assert record is not None
    lose_rows(zone, "a.csv", "b.csv")
    put_beside(zone, delivery.raw_name, "json", damaged(record.content))
    for adopted in (1, 0):
        found, (problem,) = adopt_unrecorded(zone, LOG)
        assert found == adopted
        assert f"a.csv/{delivery.raw_name.stem}.raw has no record" in problem
        assert "Deliver the file again" in problem
        assert "remove" not in problem  # The storage may have failed for a moment.
        assert zone.all_deliveries() == [other]
        assert unrecorded(zone) == [delivery.delivery_id]
    assert land(zone, file).delivery_id == delivery.delivery_id
    lose_rows(zone, "a.csv")
    assert adopt_unrecorded(zone, LOG) == (1, [])


def test_changed_bytes_are_reported_and_those_without_a_copy_do_not_count(
    zone: Zone, file: Path
) -> None:
    first, second = land(zone, file), land(zone, file, "b.csv")
    lose_rows(zone, "a.csv", "b.csv")
    remove_copy(zone, first.raw_name)
    put_beside(zone, second.raw_name, "raw", b"other bytes")
    adopted, (problem,) = adopt_unrecorded(zone, LOG)
    assert adopted == 0
    assert "b.csv" in problem
    assert "does not describe these bytes" in problem
    assert zone.all_deliveries() == []


def test_a_record_without_a_copy_gets_one(zone: Zone, file: Path) -> None:
    delivery = land(zone, file)
    remove_copy(zone, delivery.raw_name)
    assert adopt_unrecorded(zone, LOG) == (0, [])
    lose_rows(zone, "a.csv")
    assert adopt_unrecorded(zone, LOG) == (1, [])


def test_a_landing_that_changes_the_record_changes_its_copy(zone: Zone, file: Path) -> None:
    first = land(zone, file)
    zone.land(_Declared(file), "a.csv", LOG)
    (changed,) = zone.all_deliveries()
    assert changed.text_format == TextFormat(delimiter=";") != first.text_format
    lose_rows(zone, "a.csv")
    assert adopt_unrecorded(zone, LOG) == (1, [])
    assert zone.all_deliveries() == [changed]


class _Declared(LocalFile):
    """A file whose delimiter is declared."""

    def fetch(self, sink: Sink, progress: OnProgress) -> Fetched:
        return replace(super().fetch(sink, progress), text_format=TextFormat(delimiter=";"))


def test_a_pruned_delivery_is_not_adopted(zone: Zone, file: Path) -> None:
    delivery = land(zone, file)
    zone.desired.prune(delivery.raw_name, needed=False)
    for _ in range(2):  # With its row, and after the restoring of a copy from before its landing.
        assert adopt_unrecorded(zone, LOG) == (0, [])
        assert unrecorded(zone) == []
        lose_rows(zone, "a.csv")
    assert zone.all_deliveries() == []


def test_a_landing_in_progress_is_left_alone(
    zone: Zone, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing, may_go_on = threading.Event(), threading.Event()
    write = zone.sidecars.write

    def wait_and_write(name: RawName, suffix: str, content: bytes) -> None:
        landing.set()
        assert may_go_on.wait(60)
        write(name, suffix, content)

    monkeypatch.setattr(zone.sidecars, "write", wait_and_write)
    thread = threading.Thread(target=land, args=(zone, file))
    thread.start()
    assert landing.wait(60)
    assert unrecorded(zone) == []
    assert adopt_unrecorded(zone, LOG) == (0, [])
    may_go_on.set()
    thread.join()
    (delivery,) = zone.all_deliveries()
    lose_rows(zone, "a.csv")
    assert unrecorded(zone) == [delivery.delivery_id]


_KILLED_LANDING = """
import logging, os, sys
from pathlib import Path
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.settings import Settings
from lfp_pipeline.sources.base import Fetched, OnProgress, Sink
from lfp_pipeline.sources.local_file import LocalFile
data, catalog, raw, file, part, method = sys.argv[1:]
zone = RawZone.of(Settings(data_dir=data, catalog=catalog, raw=raw))
setattr(getattr(zone, part), method, lambda *_: os.kill(os.getpid(), 9))
zone.land(LocalFile(Path(file)), "a.csv", logging.getLogger())
"""


@pytest.mark.parametrize(
    ("part", "method", "recorded"),
    [("store", "commit", 0), ("sidecars", "write", 0), ("store", "keep_record", 1)],
    ids=["before the bytes", "between bytes and record", "between record and copy"],
)
def test_after_a_killed_landing_nothing_is_lost_or_left_to_adopt(
    catalog_url: SecretStr,
    bucket_place: str,
    tmp_path: Path,
    file: Path,
    part: str,
    method: str,
    recorded: int,
) -> None:
    with connect(catalog_url, "test") as connection:
        create_raw_tables(connection)
    settings = Settings(data_dir=tmp_path / "data", catalog=catalog_url, raw=bucket_place)
    url = catalog_url.get_secret_value()
    process = start(_KILLED_LANDING, settings.data_dir, url, bucket_place, file, part, method)
    assert process.wait(60) == -9
    process.communicate()
    zone = zone_of(settings)
    assert unrecorded(zone) == []
    assert adopt_unrecorded(zone, LOG) == (0, [])
    assert len(zone.all_deliveries()) == recorded
    delivery = land(zone, file)
    assert zone.all_deliveries() == [delivery]
    lose_rows(zone, "a.csv")
    assert adopt_unrecorded(zone, LOG) == (1, [])


def test_a_landing_into_a_bucket_puts_two_objects(
    catalog_url: SecretStr, bucket_place: str, tmp_path: Path, file: Path, s3_server: S3Server
) -> None:
    with connect(catalog_url, "test") as connection:
        create_raw_tables(connection)
    settings = Settings(data_dir=tmp_path / "data", catalog=catalog_url, raw=bucket_place)
    stem = land(zone_of(settings), file).raw_name.stem
    requests = [(method, path.rpartition("/")[2]) for method, path in s3_server.requests]
    assert requests == [("PUT", f"{stem}.raw"), ("PUT", f"{stem}.json")]
    names = [found.name for found in Bucket(bucket_place, "LFP_RAW").objects()]
    assert names == [f"a.csv/{stem}.json", f"a.csv/{stem}.raw"]


def test_the_folder_of_one_machine_is_adopted_with_its_markers(
    catalog_url: SecretStr, tmp_path: Path, file: Path
) -> None:
    with connect(catalog_url, "test") as connection:
        create_raw_tables(connection)
    alone = zone_of(Settings(data_dir=tmp_path))
    deliveries = [land(alone, file, key) for key in ("a.csv", "b.csv")]
    alone.desired.mark_reverted(deliveries[0].raw_name, use_present_settings=True)
    assert unrecorded(alone) == []
    zone = zone_of(Settings(data_dir=tmp_path, catalog=catalog_url))
    assert adopt_unrecorded(zone, LOG) == (2, [])
    assert zone.all_deliveries() == deliveries
    assert [zone.desired.is_reverted(delivery.raw_name) for delivery in deliveries] == [True, False]
    assert zone.desired.may_use_present_settings(deliveries[0].raw_name)


def test_bytes_that_are_there_are_not_pruned(
    catalog_url: SecretStr, tmp_path: Path, file: Path
) -> None:
    with connect(catalog_url, "test") as connection:
        create_raw_tables(connection)
    delivery = land(zone_of(Settings(data_dir=tmp_path)), file)
    delivery.path.with_suffix(
        ".pruned"
    ).touch()  # From before the folder was that of several hosts.
    zone = zone_of(Settings(data_dir=tmp_path, catalog=catalog_url))
    assert adopt_unrecorded(zone, LOG) == (1, [])
    assert not zone.desired.is_pruned(delivery.raw_name)


def test_other_names_in_the_raw_zone_are_left_alone(zone: Zone, file: Path) -> None:
    delivery = land(zone, file)
    for name in (RawName("a.csv", "notes"), RawName("a.csv", f"{delivery.raw_name.stem}.old")):
        put_beside(zone, name, "raw", b"x")
    assert unrecorded(zone) == []
    assert adopt_unrecorded(zone, LOG) == (0, [])
    if not isinstance(zone.store, BucketStore):
        os.mkfifo(zone.root / "a.csv" / "pipe")
        (zone.root / "file.raw").touch()
        assert unrecorded(zone) == []
