"""A raw file that was changed is never merged; landing the file again replaces it."""

import gzip
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import RawFileError
from lfp_pipeline.ingest.ingest import ingest
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.sources.local_file import LocalFile
from lfp_pipeline.warehouse import direct_load
from testing.disks import change_bytes
from testing.engine import LOG, assert_invariants_hold, engine_at, land, tables
from testing.expected_tables import File
from testing.raw_marks import verify_raw_file
from testing.sources import UndatedSource

FIRST = File("a.csv", 1, (("s1", "Ann", "x"), ("s2", "Bob", "y")))
SECOND = File("b.csv", 2, (("s2", "Eva", "z"), ("s3", "Bob", "")))
THIRD = File("c.csv", 3, (("s4", "Cid", ""),))


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return engine_at(tmp_path)


def cut_off(raw: Path) -> None:
    os.truncate(raw, raw.stat().st_size // 2)


def replace_by_another(raw: Path) -> None:
    raw.unlink()
    raw.write_bytes(THIRD.content)


def put_a_folder_in_its_place(raw: Path) -> None:
    raw.unlink()
    raw.mkdir()


every_damage = pytest.mark.parametrize(
    ("damage", "error"),
    [
        (change_bytes, "is not what landed: its sha256 is "),
        (cut_off, "is not what landed: its sha256 is "),
        (replace_by_another, "is not what landed: its sha256 is "),
        (Path.unlink, "is gone"),
        (put_a_folder_in_its_place, "cannot be read: Is a directory"),
    ],
)


@every_damage
def test_a_damaged_raw_file_fails_the_delivery_and_changes_no_table(
    engine: Engine, damage: Callable[[Path], None], error: str
) -> None:
    engine.ingest(land(engine, FIRST), LOG)
    before = tables(engine)
    delivery = land(engine, SECOND)
    kept = delivery.path.read_bytes()
    damage(delivery.path)

    account = engine.ingest(delivery, LOG).account
    assert account.status is Status.FAILED
    assert str(account.error).startswith(f"{delivery.path} {error}")
    assert "Restore it from a copy, and run `lfp ingest`; or " in str(account.error)
    after = tables(engine)
    assert [row for row in after["ledger"] if row[0] != delivery.delivery_id] == before["ledger"]
    assert after | {"ledger": None} == before | {"ledger": None}
    assert engine.pending_deliveries(LOG) == [delivery]

    put_back(delivery.path, kept)
    assert engine.ingest(delivery, LOG).account.status is Status.MERGED
    assert_invariants_hold(engine, [FIRST, SECOND])


def put_back(raw: Path, content: bytes) -> None:
    if raw.is_dir():
        raw.rmdir()
    raw.unlink(missing_ok=True)
    raw.write_bytes(content)


@pytest.mark.parametrize("damage", [change_bytes, cut_off, Path.unlink])
def test_a_damaged_raw_file_fails_a_packed_delivery_and_a_direct_load(
    tmp_path: Path, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct_load, "LEAST_BYTES", 1)
    engine = engine_at(tmp_path)
    packed = tmp_path / "packed.csv.gz"
    packed.write_bytes(gzip.compress(SECOND.content))
    for delivery in (land(engine, FIRST), engine.land(LocalFile(packed), "packed", LOG)):
        damage(delivery.path)
        account = engine.ingest(delivery, LOG).account
        assert account.status is Status.FAILED
        assert str(account.error).startswith(str(delivery.path))
    assert tables(engine)["products"] == []


def test_a_damaged_raw_file_fails_no_other_delivery_of_its_batch(engine: Engine) -> None:
    deliveries = [land(engine, file) for file in (FIRST, SECOND, THIRD)]
    change_bytes(deliveries[1].path)
    done = ingest(deliveries, engine.raw_zone, engine.settings, engine.warehouse, LOG)
    found = {result.delivery.partition_key: result.account.status for result in done}
    assert found == {"a.csv": "merged", "b.csv": "failed", "c.csv": "merged"}

    engine.ingest(land(engine, SECOND), LOG)
    assert_invariants_hold(engine, [FIRST, SECOND, THIRD])


@pytest.mark.parametrize("damage", [change_bytes, cut_off, replace_by_another, Path.unlink])
def test_landing_the_same_file_again_replaces_the_raw_file(
    engine: Engine, damage: Callable[[Path], None]
) -> None:
    delivery = land(engine, FIRST)
    damage(delivery.path)
    again = land(engine, FIRST)
    assert again.path == delivery.path
    assert again.path.read_bytes() == FIRST.content
    verify_raw_file(again, full=True)
    engine.ingest(again, LOG)
    assert_invariants_hold(engine, [FIRST])


def test_fetching_an_undated_file_again_replaces_the_raw_file(tmp_path: Path) -> None:
    zone = RawZone(tmp_path / "raw")
    delivery = zone.land(UndatedSource(b"one"), "a", LOG)
    change_bytes(delivery.path)
    again = zone.land(UndatedSource(b"one"), "a", LOG)
    assert again.delivery_id == delivery.delivery_id
    assert zone.deliveries("a") == [again]
    verify_raw_file(again, full=True)


def test_an_untouched_raw_file_is_hashed_on_request_only(engine: Engine) -> None:
    delivery = replace(land(engine, FIRST), sha256="0" * 64)
    verify_raw_file(delivery)
    with pytest.raises(RawFileError, match="its sha256 is "):
        verify_raw_file(delivery, full=True)


@pytest.mark.parametrize("touch", [Path.touch, lambda raw: raw.chmod(0o644)])
def test_a_touched_raw_file_is_hashed_and_merged_if_it_is_unchanged(
    engine: Engine, touch: Callable[[Path], None]
) -> None:
    delivery = land(engine, FIRST)
    touch(delivery.path)
    with pytest.raises(RawFileError, match="its sha256 is "):
        verify_raw_file(replace(delivery, sha256="0" * 64))
    assert engine.ingest(delivery, LOG).account.status is Status.MERGED
    assert_invariants_hold(engine, [FIRST])


@pytest.mark.parametrize("record", [b"", b"[]", b"{}", b'{"ctime_ns": null}'])
def test_a_raw_file_without_a_recorded_ctime_is_hashed(engine: Engine, record: bytes) -> None:
    delivery = land(engine, FIRST)
    delivery.path.with_suffix(".json").write_bytes(record)
    verify_raw_file(delivery)
    with pytest.raises(RawFileError, match="its sha256 is "):
        verify_raw_file(replace(delivery, sha256="0" * 64))


def test_a_full_check_detects_bytes_that_a_disk_has_changed(engine: Engine) -> None:
    delivery = land(engine, FIRST)
    change_bytes(delivery.path)
    forge_the_record_of(delivery)
    verify_raw_file(delivery)
    with pytest.raises(RawFileError, match="is not what landed"):
        verify_raw_file(delivery, full=True)


def forge_the_record_of(delivery: Delivery) -> None:
    """Record the present ctime: a disk that changes bytes does not move it."""
    record = delivery.path.with_suffix(".json")
    content = json.loads(record.read_text())
    record.write_text(json.dumps(content | {"ctime_ns": delivery.path.stat().st_ctime_ns}))
