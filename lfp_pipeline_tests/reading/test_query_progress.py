"""The progress of a query is measured for the log, and not drawn on the terminal."""

import time
from pathlib import Path
from threading import Event, Thread

import duckdb
import pytest

from lfp_pipeline.reading.workspace import WorkspaceLimits, open_workspace

SLOW = "CREATE TABLE numbers AS SELECT hash(i)::VARCHAR AS text FROM range(4_000_000) AS r(i)"


@pytest.mark.skipif(duckdb.__version__ < "2", reason="DuckDB 1 reports no progress here")
def test_query_progress_is_measured_and_not_drawn(tmp_path: Path) -> None:
    limits = WorkspaceLimits(threads=1, memory_limit="1GB")
    with open_workspace([tmp_path], tmp_path / "work", limits) as workspace:
        connection, seen, done = workspace.connection, set[float](), Event()

        def watch() -> None:
            while not done.is_set():
                seen.add(connection.query_progress())
                time.sleep(0.01)

        watcher = Thread(target=watch)
        watcher.start()
        connection.execute(SLOW)
        done.set()
        watcher.join()
        assert max(seen) > 0
        drawn = connection.execute("SELECT current_setting('enable_progress_bar_print')")
        assert drawn.fetchall() == [(False,)]
