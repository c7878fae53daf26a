"""The progress bar on a real terminal, and the lines elsewhere."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lfp_pipeline.cli import progress_bar
from lfp_pipeline.cli.progress_bar import Totals
from lfp_pipeline.common.progress import Progress, listening
from testing.command_line import CommandLine
from testing.engine import LOG, engine_at
from testing.expected_tables import File

pytestmark = pytest.mark.slow  # Each starts processes.

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y")))


def test_the_bytes_of_a_file_only_grow():
    totals = Totals()
    for event in (
        Progress("a", "landing", 10, 10),
        Progress("a", "reading", 9, 10),
        Progress("a", "merging", 1, 10),
        Progress("b", "reading", 2, 20, rows=7),
        Progress("the writer lock", "waiting for"),
    ):
        totals.add(event)
    assert totals.landed.summed == (10, 10)
    assert totals.read.summed == (11, 30)
    assert totals.all_rows == 7
    totals.add(Progress("c", "landing", 5, None))
    assert totals.landed.summed == (15, None)
    totals.add(Progress("c", "landing", 6, 8))
    totals.add(Progress("b", "reading", 20, 20, rows=9))
    assert totals.landed.summed == (16, 18)
    assert totals.read.summed == (29, 30)
    assert totals.all_rows == 9


def test_the_sums_of_many_files_cost_no_more_than_those_of_few():
    def seconds(files: int) -> float:
        totals = Totals()
        for number in range(files):
            totals.add(Progress(str(number), "reading", 1, 2))
        begin = time.perf_counter()
        for number in range(200):
            totals.add(Progress(str(number), "reading", 2, 2, rows=number))
            assert totals.read.summed
        return time.perf_counter() - begin

    def least(files: int) -> float:
        return min(seconds(files) for _ in range(5))

    assert least(20_000) < 50 * least(200)


def test_an_engine_announces_what_it_lands_and_reads(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    (engine.settings.inbox_dir / "a.csv").write_bytes(A.content)
    seen: list[object] = []
    with listening(seen.append):
        (result,) = engine.ingest_all(engine.pending_inbox(LOG).ready, [], LOG)
    size = len(A.content)
    events = [event for event in seen if isinstance(event, Progress)]
    assert {event.subject for event in events} == {result.partition_key}
    assert Progress("a.csv", "landing", size, size) in events
    assert Progress("a.csv", "reading", size, size, rows=2) in events
    assert "merging" in {event.step for event in events}


def test_a_terminal_shows_bars_and_no_lines_of_files(lfp: CommandLine):
    lfp.done("sample", "--rows", "20000")
    terminal, its_end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "lfp_pipeline", "ingest"],
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=its_end,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    os.close(its_end)
    shown = b""
    try:
        while chunk := os.read(terminal, 1 << 16):
            shown += chunk
    except OSError:  # The process has ended.
        pass
    os.close(terminal)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "20,000" in out
    text = shown.decode()
    assert "Landing  products-20000-7.csv.zip" in text
    assert "20,000 rows" in text
    assert "Ingesting 1 inbox file" not in text


def test_elsewhere_a_line_says_how_many_files_are_done(
    lfp: CommandLine, monkeypatch: pytest.MonkeyPatch
):
    lfp.drop(A)
    short = lfp.done("ingest")
    assert "done" not in short.err
    assert "a.csv" not in short.err
    monkeypatch.setattr(progress_bar, "FILES_A_LINE", 2)
    lfp.drop(File("b.csv", 2_000_000, A.rows), File("c.csv", 3_000_000, A.rows))
    long = lfp.done("ingest")
    assert "\n2 files done, 4 rows read\n" in long.err
