"""The writer lock: waits, their ends, and the messages about its holder."""

import json
import logging
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import pytest

from lfp_pipeline.common.duckdb_tools import transaction
from lfp_pipeline.errors import (
    WarehouseBusyError,
)
from lfp_pipeline.warehouse import writer_lock
from lfp_pipeline.warehouse.duckdb_file import Warehouse
from testing.engine import LOG
from testing.processes import HOLD_DATABASE, HOLD_WRITER_LOCK, WAIT_FOR_WRITER_LOCK, running, until


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    made = Warehouse(
        tmp_path / "products.duckdb", writer_wait_seconds=30, other_process_wait_seconds=0.5
    )
    use(made)
    return made


def use(warehouse: Warehouse) -> None:
    with warehouse.session("testing", LOG) as connection:
        connection.execute("INSERT INTO warehouse.name_counts VALUES ('Ann', 1)")


def impatient(warehouse: Warehouse, seconds: float = 0.3) -> Warehouse:
    return Warehouse(warehouse.path, seconds, seconds)


def let_go_after(process: subprocess.Popen[str], seconds: float) -> threading.Timer:
    def let_go() -> None:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()

    timer = threading.Timer(seconds, let_go)
    timer.start()
    return timer


def test_another_run_waits_and_logs_the_holder(
    warehouse: Warehouse, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(writer_lock, "_REPORT_SECONDS", 0.1)
    with running(HOLD_WRITER_LOCK, warehouse.path) as process:
        timer = let_go_after(process, 0.5)
        use(warehouse)
        timer.join()
        pid = process.pid
    message = (
        rf"Waiting for the writer lock for \d s; held by process {pid} \(merging a.csv\) for \d s"
    )
    assert re.search(message, caplog.text)


def test_a_wait_ends_with_an_error_that_names_the_holder(warehouse: Warehouse) -> None:
    with running(HOLD_WRITER_LOCK, warehouse.path) as process:
        started = time.monotonic()
        with pytest.raises(WarehouseBusyError) as caught:
            use(impatient(warehouse))
        assert time.monotonic() - started < 3
        assert f"process {process.pid} (merging a.csv)" in str(caught.value)
        assert "LFP_WRITER_WAIT_SECONDS" in str(caught.value)


def test_a_killed_holder_frees_the_lock(warehouse: Warehouse) -> None:
    with running(HOLD_WRITER_LOCK, warehouse.path) as process:
        process.kill()
        use(impatient(warehouse, 5))


def test_the_note_names_the_holder_while_it_holds_the_lock(warehouse: Warehouse) -> None:
    holder = warehouse.path.with_name("products.duckdb.writer.json")
    with warehouse.session("testing", LOG):
        assert json.loads(holder.read_text())["purpose"] == "testing"
    assert not holder.exists()


@pytest.mark.parametrize("content", ["", "null", "{}", "[1]", '{"purpose": 1}'])
def test_a_damaged_note_of_the_holder_does_no_harm(warehouse: Warehouse, content: str) -> None:
    with warehouse.session("testing", LOG):
        warehouse.path.with_name("products.duckdb.writer.json").write_text(content)
        with pytest.raises(WarehouseBusyError, match="held by another run"):
            use(impatient(warehouse, 0))


def test_a_long_wait_is_shown_until_it_ends(warehouse: Warehouse) -> None:
    lock = warehouse.lock
    with (
        running(HOLD_WRITER_LOCK, warehouse.path) as holder,
        running(WAIT_FOR_WRITER_LOCK, warehouse.path) as waiter,
    ):
        until(lambda: lock.waiting)
        (turn,) = lock.waiting
        assert (turn.purpose, turn.pid) == ("merging b.csv", waiter.pid)
        assert 0 <= time.time() - turn.since < 30
        assert lock.holder
        assert (lock.holder.purpose, lock.holder.pid) == ("merging a.csv", holder.pid)
        let_go_after(holder, 0).join()
        until(lambda: lock.holder and lock.holder.pid == waiter.pid)
        assert lock.waiting == []
    assert list(warehouse.path.with_name("products.duckdb.waiting").iterdir()) == []


def test_a_short_wait_is_not_shown(warehouse: Warehouse) -> None:
    with running(HOLD_WRITER_LOCK, warehouse.path) as holder:
        timer = let_go_after(holder, 0.2)
        use(warehouse)
        timer.join()
    assert not warehouse.path.with_name("products.duckdb.waiting").exists()


def test_dead_processes_are_not_shown_and_their_marks_are_removed(warehouse: Warehouse) -> None:
    lock = warehouse.lock
    with running(HOLD_WRITER_LOCK, warehouse.path):
        with running(WAIT_FOR_WRITER_LOCK, warehouse.path):
            until(lambda: lock.waiting)
        assert lock.waiting == []
        assert list(warehouse.path.with_name("products.duckdb.waiting").iterdir()) == []
        assert lock.holder
    assert warehouse.path.with_name("products.duckdb.writer.json").exists()
    assert lock.holder is None


def test_two_threads_of_a_process_take_turns(warehouse: Warehouse) -> None:
    inside = 0
    most = 0

    def count() -> None:
        nonlocal inside, most
        for _ in range(5):
            with warehouse.session("testing", LOG):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


@pytest.mark.parametrize("read_only", [False, True])
def test_an_error_names_the_other_program_and_nothing_is_lost(
    warehouse: Warehouse, read_only: bool
) -> None:
    with running(HOLD_DATABASE, warehouse.path, read_only) as process:
        started = time.monotonic()
        with pytest.raises(WarehouseBusyError) as caught:
            use(warehouse)
        assert time.monotonic() - started < 5
        assert f"PID {process.pid}" in str(caught.value)
        assert Path(sys.executable).resolve().name in str(caught.value)
    use(impatient(warehouse, 5))


def test_a_writer_waits_for_another_program_to_close_the_file(
    warehouse: Warehouse, caplog: pytest.LogCaptureFixture
) -> None:
    with running(HOLD_DATABASE, warehouse.path) as process:
        timer = let_go_after(process, 0.4)
        use(Warehouse(warehouse.path, 10, 20))
        timer.join()
    assert "waiting for it" in caplog.text


def test_an_error_names_a_connection_of_this_process(warehouse: Warehouse) -> None:
    with (
        duckdb.connect(warehouse.path),
        pytest.raises(WarehouseBusyError, match="this process itself"),
    ):
        use(warehouse)
    use(impatient(warehouse, 5))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, duckdb.Error])
def test_the_database_is_detached_after_any_error(
    warehouse: Warehouse, error: type[BaseException]
) -> None:
    with duckdb.connect() as connection:
        with pytest.raises(error), warehouse.attached(connection, "testing", LOG):
            raise error
        attached = connection.execute("FROM duckdb_databases()").fetchall()
        assert "warehouse" not in {row[0] for row in attached}
        with running(HOLD_DATABASE, warehouse.path):
            pass
        use(impatient(warehouse, 5))


def test_an_error_of_detaching_does_not_hide_the_first_error(
    warehouse: Warehouse, caplog: pytest.LogCaptureFixture
) -> None:
    def fail_in_a_transaction() -> None:
        with warehouse.session("testing", LOG) as connection:
            connection.begin()
            connection.execute("INSERT INTO warehouse.name_counts VALUES ('Bob', 1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_a_transaction()
    assert "could not be detached" in caplog.text
    use(impatient(warehouse, 5))
    with duckdb.connect(warehouse.path, read_only=True) as connection:
        names = connection.execute("SELECT DISTINCT name FROM name_counts").fetchall()
    assert names == [("Ann",)]


def test_an_error_of_rolling_back_does_not_hide_the_first_error(warehouse: Warehouse) -> None:
    def fail_after_a_rollback() -> None:
        with warehouse.session("testing", LOG) as connection, transaction(connection):
            connection.rollback()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_a_rollback()


def test_the_lock_survives_a_failure_to_remove_the_note_of_its_holder(warehouse: Warehouse) -> None:
    note = warehouse.path.with_name("products.duckdb.writer.json")

    def put_a_folder_in_its_place() -> None:
        with warehouse.session("testing", LOG):
            note.unlink()
            note.mkdir()

    with pytest.raises(OSError, match="directory"):
        put_a_folder_in_its_place()
    note.rmdir()
    use(impatient(warehouse, 5))


def test_files_are_closed_again(warehouse: Warehouse) -> None:
    use(warehouse)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        use(warehouse)
        with pytest.raises(RuntimeError), warehouse.session("testing", LOG):
            raise RuntimeError
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_a_path_may_contain_a_quote(tmp_path: Path) -> None:
    use(Warehouse(tmp_path / "it's" / "pro ducts.duckdb", 10, 10))
    assert (tmp_path / "it's" / "pro ducts.duckdb").exists()
