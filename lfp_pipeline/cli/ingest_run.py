"""Lands what `lfp ingest` is given, and runs the job for what is pending.

Files from elsewhere land in the process of the command, before its run. So the configuration of the
run has no location, and nothing that is secret in one.
"""

import logging
from collections.abc import Sequence

from lfp_pipeline.cli.dagster_home import dagster_home
from lfp_pipeline.cli.ingest_targets import Target, find_targets
from lfp_pipeline.cli.messages import message_log
from lfp_pipeline.cli.output import say
from lfp_pipeline.cli.progress_bar import Display
from lfp_pipeline.cli.run_job import JobRun, run_job
from lfp_pipeline.common.progress import listening
from lfp_pipeline.dagster_support.shown_until import shown_note, unshown
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LandingError
from lfp_pipeline.ingest.result import IngestResult, LandingFailure
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import APPLIED, Status
from lfp_pipeline.sources.inbox import InboxFile

Outcome = IngestResult | LandingFailure

_JOB = "ingest_inbox"


def find_pending(engine: Engine, log: logging.Logger) -> list[InboxFile | Delivery]:
    """Return the files of the inbox and the deliveries that are neither merged nor reverted."""
    with engine.raw_zone.index.snapshot():
        files = engine.catalog.list_stable_files(log).ready
        pending = _pending(engine, files)
        return [*pending, *engine.pending_deliveries(log, offered=pending)]


def ingest_pending(
    engine: Engine, display: Display, *, verbose: bool
) -> tuple[list[Outcome], JobRun | None]:
    """Ingest everything that is pending, and show what an earlier run could not show.

    Without anything to do, import no Dagster and make no run.
    """
    published = engine.published
    with engine.raw_zone.index.snapshot():
        has_work = find_pending(engine, message_log(display.messages)) or unshown(
            shown_note(engine.settings, dagster_home()), engine.raw_zone.index, engine.liveness
        )
    if not has_work and not (published.is_stale and published.is_within_budget()):
        say(f"Nothing to do: every complete file in {engine.settings.inbox_place} is ingested.")
        return [], None
    run = run_job(_JOB, verbose=verbose, listener=display.listener, messages=display.messages)
    return run.all_of(IngestResult, LandingFailure), run


def ingest_targets(
    engine: Engine, texts: Sequence[str], name: str | None, display: Display, *, verbose: bool
) -> tuple[list[Outcome], JobRun | None]:
    """Ingest what the arguments of the command name; also return what is merged already.

    Args:
        name: the name to ingest the only file under; None: its own.
    """
    log = message_log(display.messages)
    targets = find_targets(engine, texts, name, log)
    with listening(display.listener):
        failures = _land(targets, engine, log)
    failed = {failure.partition_key for failure in failures}
    keys = [target.key for target in targets if target.key not in failed]
    pending = _pending_keys(engine, targets, keys, log)
    ended = _ended(engine, [key for key in keys if key not in pending], log)
    run = None
    if pending:
        config = {"ingest": {"config": {"files": pending}}}
        run = run_job(
            _JOB, config, verbose=verbose, listener=display.listener, messages=display.messages
        )
        outcomes: list[Outcome] = run.all_of(IngestResult, LandingFailure)
        shown = {outcome.partition_key for outcome in outcomes}
        if run.succeeded:  # Another process may have merged the others meanwhile.
            ended += _ended(engine, [key for key in pending if key not in shown], log)
        ended = [*outcomes, *ended]
    return [*failures, *ended], run


def _ended(engine: Engine, keys: Sequence[str], log: logging.Logger) -> list[Outcome]:
    """Return the results of partitions without a pending delivery; no keys open no database."""
    if not keys:
        return []
    backlog = engine.backlog.of(keys, log)
    return [*backlog.done, *backlog.missing]


def _pending(engine: Engine, files: Sequence[InboxFile]) -> list[InboxFile]:
    """Return the files that are neither merged nor reverted, by their status notes."""
    statuses = engine.backlog.last_statuses(files)
    return [file for file, status in zip(files, statuses, strict=True) if status not in APPLIED]


def _land(targets: Sequence[Target], engine: Engine, log: logging.Logger) -> list[LandingFailure]:
    """Land files and URLs, and return the failures. Files of the inbox are only checked.

    A refused delivery becomes pending again: a request for it is a request for another attempt.
    """
    failures = []
    for target in targets:
        try:
            if target.file is not None:  # Its run lands it.
                engine.catalog.inbox_source(target.file).require_readable()
                continue
            delivery = engine.land(target.source, target.key, log)
        except LandingError as error:
            failures.append(LandingFailure.because_of(error, target.key, target.name))
        else:
            notes = engine.raw_zone.notes
            if notes.last_status(delivery.raw_name) == Status.REFUSED:
                notes.delete(delivery.raw_name)
    return failures


def _pending_keys(
    engine: Engine, targets: Sequence[Target], keys: Sequence[str], log: logging.Logger
) -> dict[str, str]:
    """Return the partitions to ingest, with the versions of their inbox files."""
    files = [target.file for target in targets if target.file and target.key in keys]
    in_inbox = _pending(engine, files)
    pending = {delivery.partition_key for delivery in engine.pending_deliveries(log)}
    landed = dict.fromkeys((key for key in keys if key in pending), "")
    return landed | {file.partition_key: file.version for file in in_inbox}
