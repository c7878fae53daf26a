"""Ctrl-C and SIGTERM during a run: the first ends the run, the second ends the process at once."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread, Timer
from typing import TYPE_CHECKING, Any

from lfp_pipeline.cli.messages import message_log
from lfp_pipeline.cli.output import FAILED, say, show_cursor

if TYPE_CHECKING:
    from dagster import DagsterInstance

_ENDING = (signal.SIGINT, signal.SIGTERM)

_INSTALL = "_replace_interrupt_signal"
"""The function by which Dagster installs each of its handlers."""

_COMMITTED_STAYS = "What was committed stays."

_END_SECONDS = 5.0
"""Time after which a process ends that could not record the end of its run."""


@contextmanager
def interruptible(end: Callable[[], None]) -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM in the block end the run, and the second call `end`.

    Dagster raises an error in the step for each signal, wherever the step is. A second error could
    break what the first one has begun to clean up, so the step gets the first one only. A thread
    calls `end`, which must end the process. The thread also counts signals that come while the main
    thread begins to wait; Python handles these at the end of the wait.
    """
    from dagster._utils import interrupts

    names = vars(interrupts)  # A private name: the tests with real signals notice if it goes.
    install: Any = names[_INSTALL]
    of_step: list[Any] = []
    received: list[int] = []

    def first_only(handler: Any) -> Any:  # noqa: ANN401 (signal._HANDLER)
        def handle(signum: int, frame: object) -> None:
            received.append(signum)
            if len(received) == 1:
                handler(signum, frame)

        of_step.append(handle)
        return handle

    def install_first_only(handler: Any) -> None:  # noqa: ANN401
        install(handler if handler in of_step else first_only(handler))

    before = {signum: signal.getsignal(signum) for signum in _ENDING}
    names[_INSTALL] = install_first_only
    try:
        with _second_signal_calls(end), interrupts.capture_interrupts():
            yield
    finally:
        names[_INSTALL] = install
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextmanager
def _second_signal_calls(end: Callable[[], None]) -> Iterator[None]:
    """Call `end` in a thread at the second signal; then, the block does not end any more."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def watch() -> None:
        with os.fdopen(reader, "rb", buffering=0) as signals:
            count = 0
            while count < 2 and (signum := signals.read(1)):  # noqa: PLR2004
                count += signum[0] in _ENDING
        if count > 1:
            end()

    watching = Thread(target=watch, daemon=True)
    watching.start()
    other = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(other)
        os.close(writer)
        watching.join()


def end_at_once(instance: "DagsterInstance", run_id: str) -> None:
    """Say that a run is interrupted, record its end if that is possible, and end the process.

    Other threads may be at work. Files that they are merging are merged whole or not at all. If the
    end of the run cannot be recorded now, the next run records it.
    """
    late = Timer(_END_SECONDS, os._exit, [FAILED])
    late.daemon = True
    late.start()
    show_cursor()
    say(f"Interrupted. {_COMMITTED_STAYS} The next `lfp ingest` completes what was recorded.")
    with suppress(Exception):
        run = instance.get_run_by_id(run_id)
        if run is not None:
            say(failed_message(run_id))
            if not run.is_finished:
                instance.report_run_failed(run, "A second Ctrl-C ended the process of the run.")
    os._exit(FAILED)


def failed_message(run_id: str) -> str:
    """Return where to look for the reason of a failed run."""
    from lfp_pipeline.settings import load_settings

    return f"Run {run_id} failed; the UI has its log ({load_settings().ui_command})."


def interrupted_message() -> str:
    """Return what an interrupted run leaves behind."""
    from lfp_pipeline.common.text import preview
    from lfp_pipeline.engine import Engine
    from lfp_pipeline.errors import LfpError
    from lfp_pipeline.settings import load_settings

    pending: list[str] = []
    with suppress(LfpError, OSError):
        deliveries = Engine(load_settings(), read_only=True).pending_deliveries(message_log())
        pending = [delivery.label for delivery in deliveries]
    if not pending:
        return f"Interrupted. {_COMMITTED_STAYS} Everything else is as it was."
    return (
        f"Interrupted. {_COMMITTED_STAYS} The next `lfp ingest` completes what was recorded: "
        f"{preview(pending)}."
    )
