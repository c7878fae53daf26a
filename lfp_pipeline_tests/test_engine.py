"""The engine: what is pending, results, batches, and failures that affect no other file."""

import gzip
import logging
import os
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import StillWrittenError
from lfp_pipeline.ingest import batch_in_workspace, batch_merge
from lfp_pipeline.ingest.backlog import PartitionBacklog
from lfp_pipeline.ingest.result import IngestResult, LandingFailure
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.reading.plain_text import PlainText
from lfp_pipeline.reading.reader import Reading
from lfp_pipeline.settings import Settings
from lfp_pipeline.sources.local_file import LocalFile
from lfp_pipeline.warehouse import direct_load
from lfp_pipeline.warehouse.backend import Backend
from lfp_pipeline.warehouse.duckdb_file import Warehouse
from testing.engine import LOG, database_file, engine_at, land, tables
from testing.expected_tables import File
from testing.processes import HOLD_DATABASE, HOLD_OPEN, running
from testing.raw_marks import mark_reverted, prune, read_status

GOOD = "name,sku,description\nAnn,s1,\nBob,s2,x\n"
WITH_REJECTS = "name,sku,description\nAnn,s1,\n,s2,x\n,s3,x\n"
NO_PRODUCTS = "this,is,another\nfile,of,somebody\n"


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return engine_at(tmp_path, max_reject_share=0.5)


def drop(engine: Engine, name: str, content: str, mtime: int = 1) -> Path:
    path = engine.settings.inbox_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, (mtime, mtime))
    return path


def ingest_inbox(engine: Engine) -> dict[str, str]:
    """Ingest the pending files; return status or landing error by partition."""
    found = {}
    for result in engine.ingest_all(engine.pending_inbox(LOG).ready, [], LOG):
        if isinstance(result, IngestResult):
            found[result.partition_key] = result.account.status.value
        else:
            found[result.partition_key] = result.error
    return found


def ingested(outcomes: Iterable[IngestResult | LandingFailure]) -> dict[str, IngestResult]:
    """Return the results of the deliveries that landed, by partition."""
    return {found.partition_key: found for found in outcomes if isinstance(found, IngestResult)}


def pending(engine: Engine) -> list[str]:
    return [file.name for file in engine.pending_inbox(LOG).ready]


def statuses(engine: Engine) -> dict[str, str]:
    return {row[1]: row[5] for row in tables(engine)["ledger"]}


def test_unmerged_files_are_pending_oldest_first(engine: Engine) -> None:
    drop(engine, "b.csv", GOOD, 1)
    drop(engine, "shop/a.csv", GOOD, 2)
    assert pending(engine) == ["b.csv", "shop/a.csv"]
    assert set(ingest_inbox(engine).values()) == {"merged"}
    assert pending(engine) == []


def test_a_file_that_landed_and_was_not_merged_is_pending(engine: Engine) -> None:
    path = drop(engine, "a.csv", GOOD)
    engine.land(engine.catalog.source_at(str(path)), "a.csv", LOG)
    assert pending(engine) == ["a.csv"]


def test_every_file_is_pending_when_the_database_is_gone(engine: Engine) -> None:
    drop(engine, "a.csv", GOOD)
    ingest_inbox(engine)
    database_file(engine).unlink()
    assert pending(engine) == ["a.csv"]


def test_a_file_that_is_still_being_written_is_logged_and_not_pending(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    engine = engine_at(tmp_path, inbox_stable_seconds=1)
    path = drop(engine, "a.csv", GOOD)
    done = Event()

    def go_on_writing() -> None:
        while not done.wait(0.05):
            path.write_text(GOOD)

    writer = Thread(target=go_on_writing)
    writer.start()
    try:
        assert pending(engine) == []
    finally:
        done.set()
        writer.join()
    assert "still being written: ['a.csv']" in caplog.text


def test_the_source_of_a_partition_is_its_file_in_the_inbox(engine: Engine) -> None:
    path = drop(engine, "shop/a b.csv", GOOD)
    (file,) = engine.pending_inbox(LOG).ready
    sources = engine.catalog.inbox_sources([file.partition_key, "other"], LOG)
    assert {key: source.name for key, source in sources.items()} == {file.partition_key: str(path)}


def test_a_bad_file_affects_no_other_file(engine: Engine) -> None:
    drop(engine, "good1.csv", GOOD, 1)
    drop(engine, "bad.csv", NO_PRODUCTS, 2)
    drop(engine, "gone.csv", GOOD, 3)
    drop(engine, "broken.csv.gz", "\x1f\x8bno gzip", 4)
    drop(engine, os.fsdecode(b"\xff.csv"), GOOD, 5)
    drop(engine, "good2.csv", GOOD.replace("Ann", "Eva"), 6)
    files = engine.pending_inbox(LOG).ready
    (engine.settings.inbox_dir / "gone.csv").unlink()
    outcomes = list(engine.ingest_all(files, [], LOG))
    (lost,) = [result for result in outcomes if isinstance(result, LandingFailure)]
    assert lost.partition_key == "gone.csv"
    assert "No such file" in lost.error
    found = ingested(outcomes)
    assert {key: result.account.status for key, result in found.items()} == {
        "good1.csv": "merged",
        "good2.csv": "merged",
        "bad.csv": "refused",
        "broken.csv.gz": "refused",
        files[4].partition_key: "merged",
    }
    assert statuses(engine) == {key: result.account.status for key, result in found.items()}
    assert [row[:2] for row in tables(engine)["products"]] == [("s1", "Eva"), ("s2", "Bob")]


@pytest.mark.parametrize("batch_files", [1, 100])
def test_a_link_or_pipe_that_replaces_a_listed_file_is_not_followed(
    tmp_path: Path, batch_files: int
) -> None:
    engine = engine_at(tmp_path, batch_files=batch_files)
    for name in ("a/link.csv", "folder/b.csv", "pipe.csv", "good.csv"):
        drop(engine, name, GOOD, 1)
    files = engine.pending_inbox(LOG).ready
    inbox, outside = engine.settings.inbox_dir, tmp_path / "outside"
    outside.mkdir()
    for name in ("link.csv", "b.csv"):
        (outside / name).write_text("sku,name,description\nsecret,Eve,x\n")
    (inbox / "a" / "link.csv").unlink()
    (inbox / "a" / "link.csv").symlink_to(outside / "link.csv")
    (inbox / "folder").rename(tmp_path / "moved")
    (inbox / "folder").symlink_to(outside)
    (inbox / "pipe.csv").unlink()
    os.mkfifo(inbox / "pipe.csv")
    outcomes = list(engine.ingest_all(files, [], LOG))
    lost = {
        result.partition_key: result.error
        for result in outcomes
        if isinstance(result, LandingFailure)
    }
    assert len(lost) == 3
    assert all("is not the file that was listed any more" in error for error in lost.values())
    assert statuses(engine) == {"good.csv": "merged"}
    assert not any("secret" in row for row in tables(engine)["products"])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports writers")
def test_files_open_for_writing_are_left_for_the_next_run(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    path = drop(engine, "a.csv", GOOD)
    drop(engine, "b.csv", GOOD)
    files = engine.pending_inbox(LOG).ready
    with running(HOLD_OPEN, path, "ab"):
        assert pending(engine) == ["b.csv"]
        outcomes = list(engine.ingest_all(files, [], LOG))  # As they were listed before.
        source = engine.catalog.inbox_sources(["a.csv"], LOG)["a.csv"]
        with pytest.raises(StillWrittenError):
            engine.land(source, "a.csv", LOG)
    (lost,) = [result for result in outcomes if isinstance(result, LandingFailure)]
    assert (lost.partition_key, lost.still_written) == ("a.csv", True)
    assert "open for writing in other programs: a.csv" in caplog.text
    assert pending(engine) == ["a.csv"]


def test_ignored_files_of_the_settings_are_not_pending(tmp_path: Path) -> None:
    engine = engine_at(tmp_path, ignored_files=("*-old.csv", "drafts/"))
    for name in ("a.csv", "a-OLD.csv", "drafts/b.csv"):
        drop(engine, name, GOOD)
    assert pending(engine) == ["a.csv"]


def test_a_delivery_without_bytes_fails_and_can_land_again(engine: Engine) -> None:
    delivery = land(engine, File("a.csv", 1, (("s1", "Ann", ""),)))
    delivery.path.unlink()
    failed = engine.ingest(delivery, LOG).account
    assert failed.status is Status.FAILED
    assert "is gone" in (failed.error or "")
    assert statuses(engine) == {"a.csv": "failed"}
    assert engine.pending_deliveries(LOG) == [delivery]
    again = land(engine, File("a.csv", 1, (("s1", "Ann", ""),)))
    assert engine.backlog.of(["a.csv"], LOG).pending == [again]
    assert engine.ingest(again, LOG).account.status is Status.MERGED
    assert statuses(engine) == {"a.csv": "merged"}


def test_a_file_with_too_many_rejects_is_refused_and_its_rejects_are_stored(engine: Engine) -> None:
    drop(engine, "a.csv", WITH_REJECTS)
    assert ingest_inbox(engine) == {"a.csv": "refused"}
    found = tables(engine)
    assert (found["products"], found["name_counts"]) == ([], [])
    assert [row[1:] for row in found["rejected_rows"]] == [(2, "no name"), (3, "no name")]
    (delivery,) = engine.raw_zone.deliveries("a.csv")
    account = engine.ingest(delivery, LOG).account
    assert "2 of 3 rows are rejected (66.7%)" in (account.error or "")
    assert "LFP_MAX_REJECT_SHARE" in (account.error or "")


def test_a_refused_file_is_merged_once_the_settings_accept_it(
    engine: Engine, tmp_path: Path
) -> None:
    drop(engine, "a.csv", WITH_REJECTS)
    ingest_inbox(engine)
    lenient = engine_at(tmp_path, max_reject_share=1)
    assert pending(lenient) == ["a.csv"]
    assert ingest_inbox(lenient) == {"a.csv": "merged"}
    found = tables(lenient)
    assert [row[0] for row in found["products"]] == ["s1"]
    assert len(found["rejected_rows"]) == 2
    assert [row[5:] for row in found["ledger"]] == [("merged", 3, 1, 0, 0, 0, 0, 2)]
    assert lenient.pending_deliveries(LOG) == []


def test_a_merged_delivery_stays_merged_under_stricter_settings(
    engine: Engine, tmp_path: Path
) -> None:
    drop(engine, "a.csv", WITH_REJECTS)
    ingest_inbox(engine_at(tmp_path, max_reject_share=1))
    before = tables(engine)
    (delivery,) = engine.raw_zone.deliveries("a.csv")
    assert engine.ingest(delivery, LOG).account.status is Status.MERGED
    assert tables(engine) == before


def test_of_refused_deliveries_only_the_newest_is_pending(engine: Engine) -> None:
    older, newer = (land(engine, File("a.csv", second, (("s9",),))) for second in (1, 2))
    for delivery in (older, newer):
        engine.ingest(delivery, LOG)
    assert engine.backlog.of(["a.csv"], LOG).pending == [newer]


def test_a_pruned_delivery_is_pending_until_its_reversal_is_applied(engine: Engine) -> None:
    delivery = land(engine, File("a.csv", 1, (("s1", "Ann", ""),)))
    engine.ingest(delivery, LOG)
    prune(delivery.path, needed=False)
    assert engine.backlog.of(["a.csv"], LOG).pending == []
    mark_reverted(delivery.path)
    assert engine.backlog.has_pending("a.csv")
    assert engine.backlog.of(["a.csv"], LOG).pending == [delivery]
    assert engine.ingest(delivery, LOG).account.status is Status.REVERTED
    assert not engine.backlog.has_pending("a.csv")
    assert engine.backlog.of(["a.csv"], LOG).pending == []
    assert tables(engine)["products"] == []


def test_a_status_note_is_written_beside_the_raw_file(engine: Engine) -> None:
    drop(engine, "a.csv", GOOD)
    drop(engine, "b.csv", NO_PRODUCTS)
    ingest_inbox(engine)
    for key, outcome in (("a.csv", "merged"), ("b.csv", "refused")):
        (delivery,) = engine.raw_zone.deliveries(key)
        assert read_status(delivery.path, engine.warehouse.cached_id()) == outcome
    assert engine.pending_deliveries(LOG) == []


def test_the_last_status_of_a_reverted_delivery_is_not_merged(engine: Engine) -> None:
    drop(engine, "a.csv", GOOD)
    (file,) = engine.pending_inbox(LOG).ready
    ingest_inbox(engine)
    assert engine.backlog.last_statuses([file]) == [Status.MERGED]
    (delivery,) = engine.raw_zone.deliveries("a.csv")
    mark_reverted(delivery.path)
    assert engine.backlog.last_statuses([file]) == [None]
    engine.ingest(delivery, LOG)
    assert engine.backlog.last_statuses([file]) == [Status.REVERTED]


def test_a_status_note_that_cannot_be_written_does_not_undo_the_merge(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    delivery = land(engine, File("a.csv", 1, (("s1", "Ann", ""),)))
    delivery.path.with_suffix(".outcome").mkdir()
    assert engine.ingest(delivery, LOG).account.status is Status.MERGED
    assert "could not be written" in caplog.text


def test_a_delivery_fails_if_another_process_has_the_database_open(tmp_path: Path) -> None:
    engine = engine_at(tmp_path, other_process_wait_seconds=0.2)
    drop(engine, "a.csv", GOOD)
    ingest_inbox(engine)
    delivery = land(engine, File("b.csv", 1, (("s1", "Ann", ""),)))
    with running(HOLD_DATABASE, database_file(engine)) as process:
        account = engine.ingest(delivery, LOG).account
        assert account.status is Status.FAILED
        assert f"PID {process.pid}" in (account.error or "")
    assert engine.backlog.of(["b.csv"], LOG).pending == [delivery]
    assert engine.ingest(delivery, LOG).account.status is Status.MERGED


def test_after_one_wait_for_a_busy_database_other_batches_only_land(tmp_path: Path) -> None:
    engine = engine_at(tmp_path, other_process_wait_seconds=0.2, parallel_files=1, batch_files=1)
    drop(engine, "a.csv", GOOD)
    ingest_inbox(engine)
    drop(engine, "b.csv", GOOD, mtime=2)
    drop(engine, "c.csv", GOOD, mtime=3)
    offered = engine.pending_inbox(LOG).ready
    with running(HOLD_DATABASE, database_file(engine)):
        waited, not_tried = engine.ingest_all(offered, [], LOG)
    assert isinstance(waited, IngestResult)
    assert isinstance(not_tried, IngestResult)
    assert waited.busy
    assert not_tried.busy
    assert not_tried.account.error == "Not tried: the database is busy."
    assert not_tried.delivery.path.exists()
    ingest_inbox(engine)
    assert set(statuses(engine).values()) == {"merged"}


def test_closing_the_iterator_cancels_queued_batches(tmp_path: Path) -> None:
    engine = engine_at(tmp_path, parallel_files=1, batch_files=1)
    for number in range(10):
        drop(engine, f"{number}.csv", GOOD)
    outcomes = engine.ingest_all(engine.pending_inbox(LOG).ready, [], LOG)
    next(outcomes)
    outcomes.close()
    assert len(statuses(engine)) < 10


def test_small_files_are_merged_together_and_bad_ones_affect_no_other(engine: Engine) -> None:
    drop(engine, "a.csv", GOOD, mtime=1)
    drop(engine, "b.csv", NO_PRODUCTS, mtime=2)
    drop(engine, "c.csv", WITH_REJECTS, mtime=3)
    drop(engine, "d.csv", "name,sku,description\nCid,s2,\nDot,s4,\n", mtime=4)
    results = ingested(engine.ingest_all(engine.pending_inbox(LOG).ready, [], LOG))
    assert {result.batch for result in results.values()} == {4}
    assert {key: result.account.status for key, result in results.items()} == {
        "a.csv": "merged", "b.csv": "refused", "c.csv": "refused", "d.csv": "merged"
    }  # fmt: skip
    assert results["d.csv"].account.rows.updated == results["d.csv"].account.rows.inserted == 1
    shown = tables(engine)
    assert [row[:2] for row in shown["products"]] == [("s1", "Ann"), ("s2", "Cid"), ("s4", "Dot")]
    assert [row[:1] for row in shown["rejected_rows"]] == [
        (results["c.csv"].delivery.delivery_id,)
    ] * 2
    assert engine.pending_deliveries(LOG) == []


def test_a_failing_batch_is_merged_one_by_one(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        drop(engine, f"{number}.csv", GOOD, mtime=number)
    reading = batch_merge.read_delivery

    def failing(delivery: Delivery, *others: object) -> Reading:
        if delivery.partition_key == "2.csv":
            raise MemoryError
        return reading(delivery, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(batch_merge, "read_delivery", failing)
    merged = {"0.csv": "merged", "1.csv": "merged", "3.csv": "merged"}
    assert ingest_inbox(engine) == merged | {"2.csv": "failed"}


@pytest.mark.parametrize(
    "limits", [{"batch_bytes": 2 * len(GOOD) + 1}, {"batch_files": 2}], ids=["by size", "by number"]
)
def test_batches_are_limited_in_size_and_number(tmp_path: Path, limits: dict[str, int]) -> None:
    engine = engine_at(tmp_path, parallel_files=1, **limits)
    for number in range(5):
        drop(engine, f"{number}.csv", GOOD, mtime=number)
    done = engine.ingest_all(engine.pending_inbox(LOG).ready, [], LOG)
    assert [result.batch for result in ingested(done).values()] == [2, 2, 2, 2, 1]


def test_packed_files_count_by_their_estimated_unpacked_size(tmp_path: Path) -> None:
    packed = gzip.compress(GOOD.encode())
    engine = engine_at(tmp_path, parallel_files=1, batch_bytes=15 * len(packed))
    for number in range(3):
        path = drop(engine, f"{number}.csv.gz", "", mtime=number)
        path.write_bytes(packed)
    done = engine.ingest_all(engine.pending_inbox(LOG).ready, [], LOG)
    assert [result.batch for result in ingested(done).values()] == [1, 1, 1]


def test_a_packed_file_is_unpacked_once_even_if_it_is_refused(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked: list[Path] = []
    unpack = batch_in_workspace.plain_texts

    def noting(delivery: Delivery, folder: Path, settings: Settings) -> list[PlainText]:
        unpacked.append(delivery.path)
        return unpack(delivery, folder, settings)

    monkeypatch.setattr(batch_in_workspace, "plain_texts", noting)
    monkeypatch.setattr(direct_load, "LEAST_BYTES", 0)
    monkeypatch.setattr(direct_load, "should_load_directly", lambda *_: True)
    for name, content in {"a.gz": GOOD, "b.gz": NO_PRODUCTS, "c.gz": WITH_REJECTS}.items():
        path = drop(engine, name, "")
        path.write_bytes(gzip.compress(content.encode()))
        engine.ingest(engine.land(LocalFile(path), name, LOG), LOG)
    assert [path.parent.name for path in unpacked] == ["a.gz", "b.gz", "c.gz"]
    assert list(statuses(engine).values()) == ["merged", "refused", "refused"]


def test_reassigning_rows_does_not_wait_for_the_lock(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another process has the database open, known bytes are read again."""
    engine.ingest(land(engine, File("a.csv", 1, (("s1", "Ann", ""),))), LOG)
    again = land(engine, File("a.csv", 2, (("s1", "Ann", ""),)))
    waits: list[tuple[float, float]] = []
    attached = Warehouse.attached

    def noting(warehouse: Backend, *others: Any) -> AbstractContextManager[None]:  # noqa: ANN401
        waits.append((warehouse.writer_wait_seconds, warehouse.other_process_wait_seconds))
        return attached(warehouse, *others)

    monkeypatch.setattr(Warehouse, "attached", noting)
    with running(HOLD_DATABASE, database_file(engine)):
        settings = engine.settings.model_copy(update={"other_process_wait_seconds": 0.1})
        account = Engine(settings).ingest(again, LOG).account
    assert account.status is Status.FAILED
    assert waits[0] == (0, 0)
    assert waits[1][1] == 0.1


def test_a_result_has_samples_and_times(engine: Engine) -> None:
    drop(engine, "a.csv", "name,sku,description,colour\nAnn,s1,\n,s2,x,red\nBob,s3,y,red\n")
    (result,) = engine.ingest_all(engine.pending_inbox(LOG).ready, [], LOG)
    assert isinstance(result, IngestResult)
    assert result.products == result.account.rows.inserted
    assert result.reading
    assert result.reading.ignored_columns == ["colour"]
    assert ("s3", "Bob", "y") in result.reading.sample_products
    assert all(raw for *_, raw in result.reading.sample_rejects)
    assert result.seconds >= result.reading.seconds > 0


def test_no_file_stays_open_or_remains_after_good_and_bad_files(engine: Engine) -> None:
    def ingest_both() -> None:
        for key, rows in (("a.csv", (("s1", "Ann", ""),)), ("b.csv", (("s9",),))):
            engine.ingest(land(engine, File(key, next(seconds), rows)), LOG)

    seconds = iter(range(100))
    ingest_both()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        ingest_both()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    assert list(engine.settings.work_dir.iterdir()) == []
    assert not list(engine.settings.data_dir.rglob("*.part"))


def test_a_partition_without_deliveries_is_missing(engine: Engine) -> None:
    backlog = engine.backlog.of(["a.csv"], LOG)
    assert [result.partition_key for result in backlog.missing] == ["a.csv"]
    assert not backlog.pending
    assert not backlog.done
    assert engine.backlog.of([], LOG) == PartitionBacklog([], [], [])
    assert not database_file(engine).exists()


def test_an_unreadable_record_affects_no_other_file(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    drop(engine, "a.csv", GOOD)
    drop(engine, "b.csv", GOOD.replace("Ann", "Eva"), 2)
    for file in engine.pending_inbox(LOG).ready:
        engine.land(LocalFile(file.path), file.partition_key, LOG)
    (broken,) = (engine.raw_zone.root / "a.csv").glob("*.json")
    broken.chmod(0o644)
    broken.write_text("")
    assert [result.partition_key for result in engine.pending_deliveries(LOG)] == ["b.csv"]
    assert str(broken) in caplog.text
    backlog = engine.backlog.of(["a.csv", "b.csv"], LOG)
    assert [result.partition_key for result in backlog.missing] == ["a.csv"]
    assert [result.partition_key for result in backlog.pending] == ["b.csv"]
    assert ingest_inbox(engine) == {"a.csv": "merged", "b.csv": "merged"}


def test_a_stop_yields_the_results_of_the_batches_that_still_end(tmp_path: Path) -> None:
    engine = engine_at(tmp_path, batch_files=1)
    for number in range(4):
        drop(engine, f"{number}.csv", GOOD, mtime=number)
    done = engine.ingest_all(engine.pending_inbox(LOG).ready, [], LOG)
    results = [next(done), done.throw(KeyboardInterrupt())]
    with pytest.raises(KeyboardInterrupt):
        results.extend(done)
    with engine.warehouse.read_session() as connection:
        found = connection.execute("SELECT partition_key FROM deliveries").fetchall()
    assert {result.partition_key for result in results} == {key for (key,) in found}
    assert len(found) >= 2
