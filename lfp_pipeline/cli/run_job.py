"""Runs a Dagster job in this process, on the project's instance, so that the UI shows the run."""

import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

from lfp_pipeline.cli.interrupts import (
    end_at_once,
    failed_message,
    interrupted_message,
    interruptible,
)
from lfp_pipeline.cli.messages import MessageHandler
from lfp_pipeline.cli.output import FAILED, exit_code_and_message, first_lines, say

_TAGS = {
    # By this label of the code location in workspace.yaml, the UI lists a run under its job.
    ".dagster/repository": "__repository__@lfp_pipeline",
    "dagster/max_retries": "0",  # A command that fails or is ended by Ctrl-C is not run again.
}

_REASON_LINES = 2


@dataclass
class JobRun:
    """A run that has ended.

    Attributes:
        announced: results, reports and errors of the run, in order.
        reason: why the run failed; empty if it succeeded.
        is_of_files: whether it failed because of files that are not merged.
        interrupted: whether Ctrl-C ended it.
    """

    run_id: str
    succeeded: bool = False
    announced: list[object] = field(default_factory=list)
    reason: str = ""
    is_of_files: bool = False
    interrupted: bool = False

    def all_of(self, *kinds: type) -> list[Any]:
        """Return what the run announced of some classes."""
        return [event for event in self.announced if isinstance(event, kinds)]

    @property
    def exit_code(self) -> int:
        """The exit code, by the class of the error that ended the run."""
        if self.succeeded:
            return 0
        errors = self.all_of(Exception)
        return (exit_code_and_message(errors[-1])[0] if errors else None) or FAILED

    def exit_if_failed(self, code: int | None = None) -> None:
        """If the run failed, print the reason and its id in at most three lines, and exit.

        Args:
            code: the exit code if the reason is printed already.
        """
        if self.succeeded:
            return
        if self.interrupted:
            say(interrupted_message())
        elif self.reason and code is None:
            say(first_lines(self.reason, _REASON_LINES))
        say(failed_message(self.run_id))
        raise SystemExit(self.exit_code if code is None else code)


def run_job(
    name: str,
    ops: Mapping[str, Any] | None = None,
    *,
    verbose: bool = False,
    listener: Callable[[object], None] | None = None,
    messages: MessageHandler | None = None,
) -> JobRun:
    """Run a job to its end.

    Args:
        ops: the configuration of its ops.
        verbose: print all events of the run, and not only its messages.
        listener: called with what the run announces, in any thread.
        messages: prints the messages of the run.

    Raises:
        CatalogUnreachableError: the database of the catalog does not answer.
    """
    try:
        return _run_job(name, ops, verbose, listener, messages or MessageHandler())
    except Exception:
        _require_catalog()  # The classes and texts of Dagster's errors do not name it.
        raise


def _require_catalog() -> None:
    from lfp_pipeline.hosts.postgres import connect
    from lfp_pipeline.settings import load_settings

    if catalog := load_settings().catalog:
        connect(catalog, "lfp").close()


def _run_job(
    name: str,
    ops: Mapping[str, Any] | None,
    verbose: bool,
    listener: Callable[[object], None] | None,
    messages: MessageHandler,
) -> JobRun:
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore")  # Dagster warns about its own future.
        from dagster import DagsterInstance

        from lfp_pipeline.cli.dagster_home import prepared_home
        from lfp_pipeline.common.progress import Progress, listening
        from lfp_pipeline.dagster_support.console import SHORT_CONSOLE, console_taken_by
        from lfp_pipeline.definitions import definitions
        from lfp_pipeline.operations import Report

        announced: list[object] = []

        def listen(event: object) -> None:
            if not isinstance(event, Progress):
                announced.append(event)
            if isinstance(event, Report):
                messages.hidden.update((event.summary, *event.problems))
            if listener:
                listener(event)

        instance = stack.enter_context(DagsterInstance.from_config(str(prepared_home())))
        job = definitions().get_repository_def().get_job(name)
        if not verbose:
            stack.enter_context(console_taken_by(messages))
        stack.enter_context(listening(listen))
        run_id = str(uuid4())
        stack.enter_context(interruptible(partial(end_at_once, instance, run_id)))
        ended = job.execute_in_process(
            run_config={**SHORT_CONSOLE, **({"ops": ops} if ops else {})},
            instance=instance,
            run_id=run_id,
            tags=_TAGS,
            raise_on_error=False,
        )
        return _ended_run(ended, announced)


def _ended_run(ended: Any, announced: list[object]) -> JobRun:  # noqa: ANN401 (of Dagster)
    from dagster._core.events import RunFailureReason

    from lfp_pipeline.dagster_support.failures import failure_reason, not_merged

    run = JobRun(ended.run_id, ended.success, announced)
    failures = [event for event in ended.all_events if event.is_failure]
    if failures and not ended.success:
        of_step = [event for event in failures if event.is_step_failure]
        run.reason = failure_reason((of_step or failures)[0]) or ""
        run.is_of_files = bool(of_step and not_merged(of_step[0]))
        data: Any = failures[-1].event_specific_data
        reason = getattr(data, "failure_reason", None)
        run.interrupted = reason is RunFailureReason.UNEXPECTED_TERMINATION
    return run
