"""The raw zone: exact bytes, stored once, whichever process lands them and whatever breaks."""

import hashlib
import json
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lfp_pipeline.common.clock import utc_from_ns, utc_now
from lfp_pipeline.errors import LandingError
from lfp_pipeline.model.delivery import Delivery, Kind, stamp
from lfp_pipeline.raw_zone import folder_sidecars, folder_store, pending
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.sources.base import Fetched, OnProgress, Sink
from lfp_pipeline.sources.inbox import InboxFile, list_inbox
from lfp_pipeline.sources.local_file import LocalFile
from testing.engine import LOG
from testing.processes import finish, running, start
from testing.raw_marks import is_pruned, prune, read_status, write_status_note

CONTENT = bytes(range(256)) * 10_000


@pytest.fixture
def zone(tmp_path: Path) -> RawZone:
    return RawZone(tmp_path / "raw")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "products.csv"
    path.write_bytes(CONTENT)
    return path


def land(zone: RawZone, path: Path, key: str = "products.csv") -> Delivery:
    return zone.land(LocalFile(path), key, LOG)


def files(zone: RawZone) -> list[Path]:
    return sorted(path for path in zone.root.rglob("*") if path.is_file())


@dataclass
class Acting:
    """A source that calls a function while it is being fetched."""

    act: Callable[[], object]
    name: str = "acting"

    def fetch(self, sink: Sink, on_progress: OnProgress) -> Fetched:
        sink.write(CONTENT)
        on_progress(len(CONTENT), None)
        self.act()
        return Fetched(utc_now())


@pytest.mark.parametrize("content", [CONTENT, b""])
def test_the_bytes_are_kept_exactly(zone: RawZone, file: Path, content: bytes) -> None:
    file.write_bytes(content)
    delivery = land(zone, file)
    assert delivery.path.read_bytes() == content
    assert delivery.size_bytes == len(content)
    assert delivery.sha256 == hashlib.sha256(content).hexdigest()


def test_the_record_has_everything_about_the_delivery(zone: RawZone, file: Path) -> None:
    delivery = land(zone, file)
    record = json.loads(delivery.path.with_suffix(".json").read_text())
    assert record == {
        "delivery_id": delivery.delivery_id,
        "partition_key": "products.csv",
        "delivered_at": delivery.delivered_at.isoformat(timespec="microseconds"),
        "sha256": delivery.sha256,
        "source": str(file),
        "size_bytes": len(CONTENT),
        "landed_at": delivery.landed_at.isoformat(timespec="microseconds"),
        "kind": "products",
        "ctime_ns": delivery.path.stat().st_ctime_ns,
        "source_ctime_ns": file.stat().st_ctime_ns,
    }
    assert zone.deliveries("products.csv") == [delivery]


@pytest.mark.parametrize(
    ("folder", "raw"), [(0o755, 0o444), (0o700, 0o400), (0o750, 0o440), (0o744, 0o400)]
)
@pytest.mark.parametrize("above", ["private", "private/shop"])
@pytest.mark.parametrize("by_link", [False, True])
def test_a_raw_file_is_as_restricted_as_the_folders_of_its_source(
    zone: RawZone, tmp_path: Path, folder: int, raw: int, above: str, by_link: bool
) -> None:
    path = tmp_path / "private" / "shop" / "a.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    (tmp_path / above).chmod(folder)
    if by_link:
        (tmp_path / "link").symlink_to(path.parent)
        path = tmp_path / "link" / "a.csv"
    assert stat.S_IMODE(land(zone, path).path.stat().st_mode) == raw


def test_a_common_folder_of_source_and_raw_zone_restricts_no_raw_file(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    file = tmp_path / "home" / "a.csv"
    file.write_bytes(CONTENT)
    (tmp_path / "link").symlink_to(tmp_path / "home")
    zone = RawZone(tmp_path / "link" / "raw")
    assert stat.S_IMODE(land(zone, file).path.stat().st_mode) == 0o444


def test_a_raw_file_loses_the_permissions_that_its_file_has_lost(zone: RawZone, file: Path) -> None:
    delivery = land(zone, file)
    write_status_note(delivery.path, "merged", "db")
    for mode, raw in ((0o640, 0o440), (0o644, 0o440), (0o600, 0o400)):
        file.chmod(mode)
        assert land(zone, file).delivery_id == delivery.delivery_id
        assert stat.S_IMODE(delivery.path.stat().st_mode) == raw
        record = json.loads(delivery.path.with_suffix(".json").read_bytes())
        assert (
            record["ctime_ns"] == delivery.path.stat().st_ctime_ns
        )  # The raw file need not be hashed.
        assert read_status(delivery.path, "db")  # The delivery is not merged again.


@pytest.mark.parametrize(("mode", "raw"), [(0o600, 0o400), (0o640, 0o440), (0o604, 0o404)])
def test_a_raw_file_has_the_read_permissions_of_its_source(
    zone: RawZone, file: Path, mode: int, raw: int
) -> None:
    file.chmod(mode)
    assert stat.S_IMODE(land(zone, file).path.stat().st_mode) == raw


def test_a_remote_file_is_readable_by_everybody_once_it_has_landed(zone: RawZone) -> None:
    modes: list[int] = []

    def look() -> None:
        modes.extend(stat.S_IMODE(path.stat().st_mode) for path in files(zone))

    delivery = zone.land(Acting(look), "x", LOG)  # type: ignore[arg-type]
    assert modes == [0o600]
    assert stat.S_IMODE(delivery.path.stat().st_mode) == 0o444


def test_the_same_file_lands_once(zone: RawZone, file: Path) -> None:
    first = land(zone, file)
    inode = first.path.stat().st_ino
    assert land(zone, file) == first
    assert first.path.stat().st_ino == inode
    assert len(files(zone)) == 2


def test_the_same_bytes_with_another_time_are_another_delivery(zone: RawZone, file: Path) -> None:
    os.utime(file, (7, 7))
    newer = land(zone, file)
    os.utime(file, (5, 5))
    older = land(zone, file)
    assert zone.deliveries("products.csv") == [older, newer]


def test_the_next_landing_repairs_a_crash_between_bytes_and_record(
    zone: RawZone, file: Path
) -> None:
    first = land(zone, file)
    first.path.with_suffix(".json").unlink()
    assert zone.deliveries("products.csv") == []
    again = land(zone, file)
    assert again.delivery_id == first.delivery_id
    assert zone.deliveries("products.csv") == [again]
    assert again.path.read_bytes() == CONTENT


def test_a_delivery_that_lands_again_keeps_its_kind(zone: RawZone, file: Path) -> None:
    purge = zone.land(LocalFile(file), "purges", LOG, kind=Kind.DELETION)
    purge.path.unlink()
    again = land(zone, file, "purges")
    assert again.kind is Kind.DELETION
    assert zone.deliveries("purges") == [again]
    assert again.path.read_bytes() == CONTENT


@contextmanager
def pausing_after(module: ModuleType, name: str, meanwhile: Callable[[], object]) -> Iterator[None]:
    """After each call of a function, start another one in a thread, and give it some time."""
    function = getattr(module, name)
    threads = []

    def pause(*arguments: object, **options: object) -> object:
        done = function(*arguments, **options)
        threads.append(threading.Thread(target=meanwhile))
        threads[-1].start()
        threads[-1].join(0.5)
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, pause)
        yield
    for thread in threads:
        thread.join()


def test_a_landing_during_a_pruning_takes_effect_after_it(zone: RawZone, file: Path) -> None:
    raw = land(zone, file).path
    with pausing_after(folder_sidecars, "write_file", lambda: land(zone, file)):
        prune(raw, needed=False)
    assert not is_pruned(raw)
    assert raw.read_bytes() == CONTENT


def test_a_pruning_during_a_landing_takes_effect_after_it(zone: RawZone, file: Path) -> None:
    raw = land(zone, file).path
    with pausing_after(folder_store, "require_digest", lambda: prune(raw, needed=False)):
        land(zone, file)
    assert is_pruned(raw)
    assert not raw.exists()


@pytest.mark.parametrize("content", [b"", b'{"partition_key":', b"\xff", b"{}", b"[]", b"null"])
def test_an_unreadable_record_is_named_and_the_next_landing_replaces_it(
    zone: RawZone, file: Path, content: bytes
) -> None:
    first = land(zone, file)
    record = first.path.with_suffix(".json")
    record.write_bytes(content)
    with pytest.raises(LandingError, match=r"remove it, and land its file again") as caught:
        zone.deliveries("products.csv")
    assert str(record) in str(caught.value)
    assert caught.value.permanent
    again = land(zone, file)
    assert again.delivery_id == first.delivery_id
    assert zone.deliveries("products.csv") == [again]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("source_ctime_ns", [1]),
        ("source_ctime_ns", 2**70),
        ("size_bytes", 2**70),
        ("size_bytes", 1e400),
        ("size_bytes", "5"),
        ("completes", 5),
        ("partition_key", None),
        ("stated_at", "2026-11-01T12:00:00+01:00"),
    ],
)
def test_a_record_with_a_wrong_value_affects_no_other_and_is_replaced(
    zone: RawZone, file: Path, field: str, value: object
) -> None:
    first, other = land(zone, file), land(zone, file, "other.csv")
    write_status_note(other.path, "merged", "db")
    record = first.path.with_suffix(".json")
    record.write_text(json.dumps(json.loads(record.read_bytes()) | {field: value}))
    record.rename(record.with_name("kept"))
    record.with_name("kept").rename(record)  # This changes the folder.
    assert pending.pending_deliveries(zone, "db", LOG) == []
    with pytest.raises(LandingError, match="cannot be read"):
        zone.find(first.delivery_id)
    assert land(zone, file).delivery_id == first.delivery_id
    assert len(pending.pending_deliveries(zone, "db", LOG)) == 1


def test_a_copy_of_a_record_is_not_a_delivery(zone: RawZone, file: Path) -> None:
    first = land(zone, file)
    record = first.path.with_suffix(".json")
    record.with_name("backup.json").write_bytes(record.read_bytes())
    assert land(zone, file).delivery_id == first.delivery_id
    assert [landed.stem for landed in zone.index.deliveries("products.csv")] == [record.stem]


@pytest.mark.parametrize("error", [LandingError("no", permanent=False), RuntimeError, SystemExit])
def test_a_landing_that_fails_leaves_no_file(zone: RawZone, error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises((LandingError, RuntimeError, SystemExit)):
        zone.land(Acting(fail), "products.csv", LOG)
    assert files(zone) == []


def test_the_next_landing_removes_the_file_of_a_killed_one(zone: RawZone, file: Path) -> None:
    code = """
import logging, sys, time
from pathlib import Path
from lfp_pipeline.raw_zone.raw_zone import RawZone
class Slow:
    name = "slow"
    def fetch(self, sink, on_progress):
        sink.write(b"some")
        print("writing", flush=True)
        time.sleep(100)
RawZone(Path(sys.argv[1])).land(Slow(), "products.csv", logging.getLogger())
"""
    with running(code, zone.root):
        delivery = land(zone, file)
        assert len(files(zone)) == 3  # The writer of the third file is alive.
    assert len(files(zone)) == 3
    assert land(zone, file) == delivery
    assert files(zone) == [delivery.path.with_suffix(".json"), delivery.path]


def test_an_unwritable_raw_zone_is_not_reported_as_an_error_of_the_source(
    tmp_path: Path, file: Path
) -> None:
    (tmp_path / "raw").write_bytes(b"")
    with pytest.raises(LandingError, match=r"folder .* cannot be written") as caught:
        land(RawZone(tmp_path / "raw"), file)
    assert caught.value.permanent


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_folder_that_cannot_be_read_has_no_deliveries(file: Path) -> None:
    with TemporaryDirectory() as folder:  # Which others can reach.
        Path(folder).chmod(0o755)
        zone = RawZone(Path(folder) / "raw")
        delivery = land(zone, file)
        (zone.root / "lost+found").mkdir(mode=0o700)
        for path in (zone.root / delivery.partition_key).iterdir():
            path.chmod(0o644)
        os.seteuid(65534)
        try:
            assert zone.survey() == ([delivery], [])
        finally:
            os.seteuid(0)


@pytest.mark.parametrize("key", ["../up", "a/b", "", ".", "..", ".hidden"])
def test_a_key_that_is_a_path_is_refused(zone: RawZone, file: Path, key: str) -> None:
    with pytest.raises(LandingError, match="not a partition key") as caught:
        land(zone, file, key)
    assert caught.value.permanent
    assert list(zone.root.parent.iterdir()) == [file]


def grow(file: Path) -> None:
    file.write_bytes(CONTENT + b"x")


def replace_by_another_file(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(CONTENT)
    os.utime(other, ns=(file.stat().st_mtime_ns,) * 2)
    other.replace(file)


def write_and_restore_the_time(file: Path) -> None:
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    with file.open("r+b") as open_file:
        open_file.write(b"x")
    os.utime(file, ns=times)


@pytest.mark.parametrize("change", [grow, replace_by_another_file, write_and_restore_the_time])
def test_a_file_that_changes_meanwhile_does_not_land(
    zone: RawZone, file: Path, change: Callable[[Path], None]
) -> None:
    class Watched(LocalFile):
        def fetch(self, sink: Sink, on_progress: OnProgress) -> Fetched:
            acted = threading.Event()

            def act_once(done: int, total: int | None) -> None:
                on_progress(done, total)
                if not acted.is_set():
                    acted.set()
                    change(file)

            return super().fetch(sink, act_once)

    with pytest.raises(LandingError, match="changed while it was being read") as caught:
        zone.land(Watched(file), "products.csv", LOG)
    assert not caught.value.permanent
    assert files(zone) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Path.absolute, "No such file"),
        (Path.mkdir, "is no regular file"),
        (os.mkfifo, "is no regular file"),
    ],
    ids=["missing", "folder", "pipe"],
)
def test_a_source_that_is_not_a_file_is_a_permanent_error(
    zone: RawZone, tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    make(tmp_path / "source")
    with pytest.raises(LandingError, match=message) as caught:
        land(zone, tmp_path / "source")
    assert caught.value.permanent


def test_a_path_that_is_not_utf8_is_escaped(zone: RawZone, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.csv")
    path.write_bytes(CONTENT)
    assert land(zone, path).source == str(tmp_path / r"\xff.csv")


@pytest.mark.parametrize(
    "nanoseconds", [0, -1, -1_500, 1_700_000_000_123_456_789, 2**30 * 10**9 + 999_999_999]
)
def test_delivered_at_is_the_file_time_to_the_microsecond(
    zone: RawZone, file: Path, nanoseconds: int
) -> None:
    os.utime(file, ns=(nanoseconds, nanoseconds))
    delivery = land(zone, file)
    epoch = datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None)
    assert (delivery.delivered_at - epoch) // timedelta(microseconds=1) == nanoseconds // 1000
    assert zone.deliveries("products.csv") == [delivery]


@given(st.lists(st.integers(-(10**20), 3 * 10**20), min_size=2))
@settings(deadline=None)
def test_stamps_sort_as_file_times_do(times: list[int]) -> None:
    sorted_times = sorted(map(utc_from_ns, times))
    stamps = [stamp(time) for time in sorted_times]
    assert stamps == sorted(stamps)
    assert {len(text) for text in stamps} == {len("20261120T081952.123456Z")}
    assert len(set(stamps)) == len(set(sorted_times))


keys = st.text(alphabet="Ab1._-", min_size=1, max_size=6)


@given(st.lists(st.tuples(keys, st.integers(0, 2), st.sampled_from(["a", "f"])), min_size=2))
@settings(deadline=None)
def test_delivery_ids_of_one_time_sort_as_their_partitions_do(
    several: list[tuple[str, int, str]],
) -> None:
    now = utc_now()
    deliveries = [Delivery(key, now, sha * 64, "", size, now, Path()) for key, size, sha in several]
    by_id = sorted(deliveries, key=lambda delivery: delivery.delivery_id)
    keys = [delivery.partition_key for delivery in by_id]
    assert keys == sorted(keys)


def test_several_processes_that_land_one_file_at_once_land_it_once(
    zone: RawZone, file: Path
) -> None:
    code = """
import logging, sys
from pathlib import Path
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.sources.local_file import LocalFile
zone, source = RawZone(Path(sys.argv[1])), LocalFile(Path(sys.argv[2]))
sys.stdin.readline()
for number in range(20):
    zone.land(source, f"key{number}", logging.getLogger())
"""
    processes = [start(code, zone.root, file) for _ in range(3)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    finish(processes)
    assert len(files(zone)) == 20 * 2
    for number in range(20):
        (delivery,) = zone.deliveries(f"key{number}")
        assert delivery.path.read_bytes() == CONTENT


def test_several_threads_that_land_one_file_at_once_land_it_once(zone: RawZone, file: Path) -> None:
    threads = [threading.Thread(target=land, args=(zone, file)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(files(zone)) == 2


def test_polled_bytes_with_another_time_are_the_same_delivery(zone: RawZone, file: Path):
    first = land(zone, file)
    os.utime(file, (2e9, 2e9))
    assert zone.land(LocalFile(file), "products.csv", LOG, polled=True) == first


def test_an_older_delivery_without_a_note_is_pending(zone: RawZone, file: Path):
    os.utime(file, (2e9, 2e9))
    newer = land(zone, file)
    write_status_note(newer.path, "merged", "this database")
    assert not pending.has_pending(zone, "products.csv", "this database")
    assert pending.has_pending(zone, "products.csv", "another database")
    os.utime(file, (1e9, 1e9))
    older = land(zone, file)
    assert pending.has_pending(zone, "products.csv", "this database")
    write_status_note(older.path, "merged", "this database")
    assert not pending.has_pending(zone, "products.csv", "this database")


def version_of(file: Path) -> InboxFile:
    """Return a file as the inbox lists it."""
    listing = list_inbox(file.parent, stable_seconds=0)
    return next(listed for listed in listing.ready if listed.path == file)


def test_a_delivery_is_pending_until_its_status_is_noted(zone: RawZone, file: Path) -> None:
    delivery = land(zone, file)
    version = version_of(file)
    assert pending.reconciled(zone, [version], "db") == [None]
    assert pending.pending_deliveries(zone, "db", LOG) == [delivery]
    write_status_note(delivery.path, "refused", "db")
    write_status_note(delivery.path, "merged", "db")
    (landed,) = pending.reconciled(zone, [version], "db")
    assert landed is not None
    assert landed.noted_status == "merged"
    assert pending.pending_deliveries(zone, "db", LOG) == []


@pytest.mark.parametrize("suffix", [".raw", ".json"])
def test_a_delivery_that_is_written_again_is_pending_again(
    zone: RawZone, file: Path, suffix: str
) -> None:
    delivery = land(zone, file)
    write_status_note(delivery.path, "merged", "db")
    delivery.path.with_suffix(suffix).unlink()
    again = land(zone, file)
    assert pending.pending_deliveries(zone, "db", LOG) == [again]


def test_a_status_note_says_nothing_about_another_database(zone: RawZone, file: Path) -> None:
    delivery = land(zone, file)
    write_status_note(delivery.path, "merged", "db")
    for database_id in ("rebuilt", None):
        assert pending.pending_deliveries(zone, database_id, LOG) == [delivery]
        assert read_status(delivery.path, database_id) is None


def test_a_raw_zone_that_does_not_exist_yet_is_empty(zone: RawZone) -> None:
    assert zone.deliveries("products.csv") == []
    assert pending.pending_deliveries(zone, None, LOG) == []
