"""Raw files in a bucket: copies on this machine, damage, faults of the server, and eviction."""

import io
import multiprocessing
import os
import subprocess
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from lfp_pipeline.errors import BucketUnreachableError, LandingError, RawFileError
from lfp_pipeline.hosts import bucket as bucket_module
from lfp_pipeline.hosts import bucket_client
from lfp_pipeline.hosts.bucket import Bucket
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.raw_zone.bucket_store import BucketStore
from lfp_pipeline.raw_zone.folder_sidecars import FolderSidecars
from lfp_pipeline.raw_zone.local_copies import LocalCopies
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.sources.local_file import LocalFile
from testing.engine import LOG
from testing.s3_server import S3Server

SIZE = 1000


@pytest.fixture
def bucket(bucket_place: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    monkeypatch.setattr(bucket_module, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(bucket_client, "ATTEMPTS", 3)
    return Bucket(bucket_place, "LFP_RAW")


def zone_of(bucket: Bucket, folder: Path, limit_bytes: int = 2**30) -> RawZone:
    """Return a raw zone with its bytes in a bucket, and all else in a folder."""
    store = BucketStore(bucket, LocalCopies(folder / "copies", limit_bytes))
    return RawZone(folder / "copies", FolderSidecars(folder / "raw"), store)


@pytest.fixture
def zone(bucket: Bucket, tmp_path: Path) -> RawZone:
    return zone_of(bucket, tmp_path)


def land(zone: RawZone, folder: Path, name: str = "a.csv") -> Delivery:
    """Land a file of more than a thousand bytes; once more, the same version of it."""
    file = folder / name
    if not file.exists():
        file.write_text(f"name,sku\n{name},{'x' * SIZE}\n")
    (folder / "raw" / name).mkdir(parents=True, exist_ok=True)
    return zone.land(LocalFile(file), name, LOG)


def copies(zone: RawZone) -> set[str]:
    return {path.parent.name for path in zone.root.glob("*/*.raw")}


def key_of(delivery: Delivery) -> str:
    return f"{delivery.raw_name.key}/{delivery.raw_name.stem}.raw"


def put(bucket: Bucket, delivery: Delivery, content: bytes) -> None:
    """Replace an object behind the raw zone's back."""
    path = delivery.path.with_suffix(".other")
    path.write_bytes(content)
    with path.open("rb") as file:
        bucket.put(file, key_of(delivery), len(content), "0" * 64, replace=True)


def put_without_digest(bucket: Bucket, delivery: Delivery, content: bytes) -> None:
    """Replace an object as a program does that keeps no metadata."""
    name, _, key = bucket.url(key_of(delivery)).removeprefix("s3://").partition("/")
    bucket_client.client().put_object(Bucket=name, Key=key, Body=content)


def test_a_landing_leaves_an_object_and_its_copy(
    zone: RawZone, bucket: Bucket, tmp_path: Path, s3_server: S3Server
) -> None:
    delivery = land(zone, tmp_path)
    assert [found.name for found in bucket.objects()] == [key_of(delivery)]
    s3_server.requests.clear()
    with zone.verified(delivery) as path:
        assert path == delivery.path
        assert path.read_bytes() == (tmp_path / "a.csv").read_bytes()
    assert s3_server.requests == []
    again = land(zone, tmp_path)
    assert again == delivery
    assert [method for method, _ in s3_server.requests] == ["HEAD"]  # Nothing is sent again.


def test_another_host_reads_a_copy_of_its_own(
    zone: RawZone, bucket: Bucket, tmp_path: Path, s3_server: S3Server
) -> None:
    delivery = land(zone, tmp_path)
    other = BucketStore(bucket, LocalCopies(tmp_path / "other"))
    there = replace(delivery, path=other.path(delivery.raw_name))
    for _ in range(2):
        with other.verified(there, lambda: None, full=False) as path:
            assert path.read_bytes() == delivery.path.read_bytes()
    assert [method for method, _ in s3_server.requests].count("GET") == 1


def test_damaged_and_missing_objects_are_reported(
    zone: RawZone, bucket: Bucket, tmp_path: Path
) -> None:
    delivery = land(zone, tmp_path)
    content = delivery.path.read_bytes()
    url = bucket.url(key_of(delivery))
    for damaged in (content[:-1], b"!" + content[1:], b""):
        put(bucket, delivery, damaged)
        assert not zone.store.is_intact(delivery)
        with pytest.raises(RawFileError, match=f"{url} is not what landed"):
            zone.verified(delivery, full=True).__enter__()
        assert copies(zone) == {"a.csv"}  # It is what landed.
        delivery.path.unlink()
        with pytest.raises(RawFileError, match=f"{url} is not what landed"):
            zone.verified(delivery).__enter__()
        delivery.path.write_bytes(content)
    bucket.delete(key_of(delivery))
    with pytest.raises(RawFileError, match=f"{url} is gone"):
        zone.verified(delivery, full=True).__enter__()
    delivery.path.unlink()
    with pytest.raises(RawFileError, match=f"{url} is gone"):
        zone.verified(delivery).__enter__()


@pytest.mark.parametrize("damage", [b"", b"!", "without digest", "with its digest", None])
def test_damaged_and_missing_objects_are_restored_by_landing_their_file(
    zone: RawZone, bucket: Bucket, tmp_path: Path, damage: bytes | str | None
) -> None:
    delivery = land(zone, tmp_path)
    content = delivery.path.read_bytes()
    other = b"!" + content[1:]
    if damage is None:
        bucket.delete(key_of(delivery))
    elif damage == "without digest":
        put_without_digest(bucket, delivery, other)
    elif damage == "with its digest":
        name = key_of(delivery)
        bucket.put(io.BytesIO(other), name, len(other), delivery.sha256, replace=True)
        with pytest.raises(RawFileError, match=r"is not what landed: .*\. Remove it first\. "):
            zone.verified(delivery, full=True).__enter__()
        bucket.delete(name)
    else:
        assert isinstance(damage, bytes)
        put(bucket, delivery, damage)
    with pytest.raises(
        RawFileError, match=r"touch -d .*Z FILE; lfp ingest FILE --as a.csv"
    ) as error:
        zone.verified(delivery, full=True).__enter__()
    _, _, time_and_rest = str(error.value).partition("touch -d ")
    copy = tmp_path / "copy"
    copy.write_bytes(content)
    subprocess.run(["touch", "-d", time_and_rest.split()[0], copy], check=True)
    assert zone.land(LocalFile(copy), "a.csv", LOG).delivery_id == delivery.delivery_id
    with zone.verified(delivery, full=True) as path:
        assert path.read_bytes() == content


def test_an_object_that_was_restored_without_its_digest_is_intact(
    zone: RawZone, bucket: Bucket, tmp_path: Path
) -> None:
    delivery = land(zone, tmp_path)
    put_without_digest(bucket, delivery, delivery.path.read_bytes())
    assert zone.store.is_intact(delivery)


def test_copies_of_another_user_are_named(zone: RawZone, tmp_path: Path) -> None:
    delivery = land(zone, tmp_path)
    delivery.path.unlink()
    delivery.path.mkdir()  # Root may open a file of another user, but no folder as a file.
    with pytest.raises(RawFileError, match=f"in {zone.root} cannot be used") as raised:
        zone.verified(delivery).__enter__()
    assert not raised.value.is_lost


def test_a_damaged_copy_is_replaced(zone: RawZone, tmp_path: Path) -> None:
    delivery = land(zone, tmp_path)
    content = delivery.path.read_bytes()
    for damaged, full in ((content[:-1], False), (b"!" + content[1:], True)):
        delivery.path.write_bytes(damaged)
        with zone.verified(delivery, full=full) as path:
            assert path.read_bytes() == content


def test_a_full_check_leaves_the_copy_to_those_who_read_it(
    zone: RawZone, tmp_path: Path, s3_server: S3Server
) -> None:
    delivery = land(zone, tmp_path)
    with zone.verified(delivery) as path:
        before = path.stat().st_ino
        with zone.verified(delivery, full=True):
            assert path.stat().st_ino == before
        s3_server.fault = lambda _: "503"
        with pytest.raises(BucketUnreachableError, match="503"):
            zone.verified(delivery, full=True).__enter__()
        assert path.stat().st_ino == before


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["500", "503", "slow", "truncated", "lost"])
def test_a_server_with_faults_gives_the_right_bytes_or_an_error(
    zone: RawZone, tmp_path: Path, s3_server: S3Server, fault: str
) -> None:
    count = 0

    def sometimes(_: object) -> str | None:
        nonlocal count
        count += 1
        return fault if count % 3 == 0 else None

    s3_server.fault = sometimes
    for number in range(4):
        delivery = land(zone, tmp_path, f"{number}.csv")
        with zone.verified(delivery, full=True) as path:
            assert path.read_bytes() == (tmp_path / f"{number}.csv").read_bytes()
    s3_server.fault = lambda _: "503"
    with pytest.raises(LandingError, match="503") as raised:
        land(zone, tmp_path, "b.csv")
    assert not raised.value.permanent
    with pytest.raises(BucketUnreachableError, match="503"):
        zone.verified(delivery, full=True).__enter__()


def test_a_copy_is_evicted_when_it_was_unused_for_longest(bucket: Bucket, tmp_path: Path) -> None:
    zone = zone_of(bucket, tmp_path, limit_bytes=3 * SIZE + 200)
    deliveries = {name: land(zone, tmp_path, name) for name in ("a", "b", "c")}
    for age, name in enumerate(("b", "a", "c")):
        os.utime(deliveries[name].path, (time.time() - 100 + age,) * 2)
    with zone.verified(deliveries["b"]):
        pass  # Now it is the one that was used last.
    land(zone, tmp_path, "d")
    assert copies(zone) == {"b", "c", "d"}
    os.utime(deliveries["c"].path, (time.time() - 30 * 86_400,) * 2)
    zone.store.remove(deliveries["b"].raw_name)
    land(zone, tmp_path, "e")
    assert copies(zone) == {"d", "e"}  # The old one went, though there was space.


def test_a_copy_that_is_read_is_not_evicted(bucket: Bucket, tmp_path: Path) -> None:
    zone = zone_of(bucket, tmp_path, limit_bytes=SIZE)
    delivery = land(zone, tmp_path, "a")
    with zone.verified(delivery) as path:
        land(zone, tmp_path, "b")
        land(zone, tmp_path, "c")
        assert copies(zone) == {"a", "c"}
        assert path.read_bytes() == (tmp_path / "a").read_bytes()
    land(zone, tmp_path, "d")
    assert copies(zone) == {"d"}


def read_often(bucket: Bucket, folder: Path, deliveries: list[Delivery]) -> None:
    zone = zone_of(bucket, folder, limit_bytes=2 * SIZE)
    for number in range(10):
        for delivery in deliveries:
            with zone.verified(delivery, full=number % 3 == 0) as path:
                assert path.stat().st_size == delivery.size_bytes
                time.sleep(0.002)
                assert path.stat().st_size == delivery.size_bytes


@pytest.mark.slow
def test_several_processes_share_the_copies(bucket: Bucket, tmp_path: Path) -> None:
    zone = zone_of(bucket, tmp_path)
    deliveries = [land(zone, tmp_path, f"{number}.csv") for number in range(6)]
    with ExitStack() as stack:
        context = multiprocessing.get_context("fork")  # As runs are: each has a client of its own.
        processes = [
            context.Process(target=read_often, args=(bucket, tmp_path, deliveries[::step]))
            for step in (1, -1, 1)
        ]
        for process in processes:
            process.start()
            stack.callback(process.kill)
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0, 0, 0]
