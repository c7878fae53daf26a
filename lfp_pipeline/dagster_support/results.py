"""The results of a run's deliveries: predicates and log lines."""

import logging

from lfp_pipeline.common.progress import announce
from lfp_pipeline.common.text import lfp_command, pluralize, printable, visible
from lfp_pipeline.errors import WarehouseBusyError, user_message
from lfp_pipeline.ingest.result import IngestResult, LandingFailure
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import APPLIED, LedgerEntry, Status
from lfp_pipeline.model.partition_key import file_name, typed_name


def is_merged(outcome: IngestResult | LandingFailure) -> bool:
    """Return whether a delivery is merged."""
    return isinstance(outcome, IngestResult) and outcome.account.status is Status.MERGED


def is_ok(outcome: IngestResult | LandingFailure) -> bool:
    """Return whether a delivery is in its desired state: merged, or reverted."""
    return isinstance(outcome, IngestResult) and outcome.account.status in APPLIED


def failed_result(delivery: Delivery, error: Exception) -> IngestResult:
    """Return the result of a delivery that an error kept from being tried."""
    entry = LedgerEntry(delivery.delivery_id, Status.FAILED, error=user_message(error))
    return IngestResult(delivery, entry, busy=isinstance(error, WarehouseBusyError))


def name_of(outcome: IngestResult | LandingFailure) -> str:
    """Return the name of a file as people know it; its partition key if no more is known."""
    if isinstance(outcome, LandingFailure):
        return printable(outcome.name or outcome.partition_key)
    return printable(file_name(outcome.partition_key, outcome.delivery.source))


def result_line(outcome: IngestResult | LandingFailure) -> str:
    """Return the result of a delivery as one line, or as many as its error has."""
    name = name_of(outcome)
    if isinstance(outcome, LandingFailure):
        return f"{name} did not land: {visible(outcome.error)}"
    account = outcome.account
    if account.status is Status.REVERTED:
        return f"{name}: {visible(account.error or '')}"
    if account.status is not Status.MERGED:
        return f"{name} {account.status.phrase}: {visible(account.error or '')}"
    parts = str(account.rows) or "none"
    if skipped := skipped_lines(account):
        parts += f"; skipped: {', '.join(skipped)}"
    if not outcome.merged_here:
        speed = "; already merged"
    else:
        speed = f" in {account.seconds:.2f} s" if account.seconds else ""
    return f"{name}: {pluralize(account.rows.read, 'row')} ({parts}){speed}"


def skipped_lines(account: LedgerEntry) -> list[str]:
    """Return the skipped lines of each kind, such as `2 blank lines`, `1 line above the header`."""
    kinds = []
    if account.blank_lines:
        kinds.append(pluralize(account.blank_lines, "blank line"))
    if account.repeated_headers:
        kinds.append(pluralize(account.repeated_headers, "repeated header"))
    if account.lines_above_header:
        kinds.append(f"{pluralize(account.lines_above_header, 'line')} above the header")
    return kinds


def log_result(log: logging.Logger, outcome: IngestResult | LandingFailure) -> None:
    """Log and announce the result of a delivery; log a warning unless it is merged."""
    announce(outcome)
    log.log(logging.INFO if is_merged(outcome) else logging.WARNING, result_line(outcome))
    name = name_of(outcome)
    reading = outcome.reading if isinstance(outcome, IngestResult) else None
    if is_merged(outcome) and reading and reading.commonest_reason:
        reason, delivery = reading.commonest_reason, reading.delivery
        command = lfp_command("rejects", typed_name(delivery.partition_key, delivery.source))
        log.warning(
            "%s: %s `%s` writes all rejects.%s", name, reason, command, reason.quoted_record
        )
    if isinstance(outcome, IngestResult):
        for warning in outcome.warnings:
            log.warning("%s: %s", name, warning)
