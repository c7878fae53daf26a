"""A progress bar of an ingest on the terminal; elsewhere, a line now and then."""

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lfp_pipeline.cli.messages import MessageHandler
from lfp_pipeline.cli.output import say
from lfp_pipeline.common.progress import Listener, Progress
from lfp_pipeline.common.text import pluralize, printable
from lfp_pipeline.dagster_support.results import result_line
from lfp_pipeline.ingest.result import IngestResult, LandingFailure

FILES_A_LINE = 100
"""Number of files after which a line says how far an ingest is, where there is no terminal."""


@dataclass(frozen=True)
class Display:
    """What shows the progress: it listens to events, and prints messages."""

    listener: Listener
    messages: MessageHandler


@dataclass
class ByteTotals:
    """The bytes of files, with running sums, since each event asks for them.

    The bytes of a file only grow: a file is read in several steps, and some begin again.
    """

    files: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    done: int = 0
    size: int = 0
    unknown: int = 0

    def add(self, progress: Progress) -> None:
        """Add the progress of a file."""
        before = self.files.get(progress.subject)
        done, size = before or (0, None)
        after = (max(done, progress.done), progress.total or size)
        self.files[progress.subject] = after
        for sign, file in ((-1, before), (1, after)):
            if file is not None:
                self.done += sign * file[0]
                self.size += sign * (file[1] or 0)
                self.unknown += sign * (file[1] is None)

    @property
    def summed(self) -> tuple[int, int | None]:
        """The bytes so far, and the bytes in all; None: some are unknown."""
        return self.done, None if self.unknown else self.size


@dataclass
class Totals:
    """The progress of all files together."""

    landed: ByteTotals = field(default_factory=ByteTotals)
    read: ByteTotals = field(default_factory=ByteTotals)
    rows: dict[str, int] = field(default_factory=dict)
    all_rows: int = 0

    def add(self, progress: Progress) -> None:
        """Add the progress of a step of a file; a step without bytes adds nothing."""
        if not progress.done and not progress.total:
            return
        (self.landed if progress.step == "landing" else self.read).add(progress)
        if progress.rows is not None:
            self.all_rows += progress.rows - self.rows.get(progress.subject, 0)
            self.rows[progress.subject] = progress.rows


@contextmanager
def showing_progress(*, verbose: bool) -> Iterator[Display]:
    """Show the progress of the block."""
    if verbose or not sys.stderr.isatty():
        yield _lines()
    else:
        with _bars() as shown:
            yield shown


@contextmanager
def showing_rows(total: int) -> Iterator[Callable[[int], None]]:
    """Show how many rows the block has written, on a terminal; yield what takes their number."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("Making rows", total=total)
        yield lambda rows: bars.update(task, completed=rows)


def _lines() -> Display:
    """Say now and then how many files are done; the table at the end has their results."""
    messages = MessageHandler()
    rows: list[int] = []

    def listen(event: object) -> None:
        if isinstance(event, IngestResult | LandingFailure):
            messages.hidden.add(result_line(event))
            rows.append(event.account.rows.read if isinstance(event, IngestResult) else 0)
            if len(rows) % FILES_A_LINE == 0:
                say(f"{len(rows):,} files done, {pluralize(sum(rows), 'row')} read")

    return Display(listen, messages)


@contextmanager
def _bars() -> Iterator[Display]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    bars = Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("{task.fields[rows]}", markup=False),
        console=console,
        transient=True,
    )
    totals, lock = Totals(), threading.Lock()
    landing = bars.add_task("Landing", total=None, visible=False, rows="")
    reading = bars.add_task("Reading", total=None, visible=False, rows="")
    messages = MessageHandler(
        logging.WARNING, lambda text: console.print(text, markup=False, highlight=False)
    )

    def listen(event: object) -> None:
        if isinstance(event, IngestResult | LandingFailure):
            messages.hidden.add(result_line(event))
        if not isinstance(event, Progress):
            return
        with lock:
            totals.add(event)
            is_landing = event.step == "landing"
            done, total = (totals.landed if is_landing else totals.read).summed
            rows = totals.all_rows
        bars.update(
            landing if is_landing else reading,
            description=f"{event.step.capitalize():8} {printable(event.subject)}",
            completed=done,
            total=total,
            visible=True,
            rows=f"{rows:,} rows" if rows and not is_landing else "",
        )

    with bars:
        yield Display(listen, messages)
