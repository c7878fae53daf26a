"""Decide what remains of a delivery whose bytes land again."""

import logging
from dataclasses import replace

from lfp_pipeline.model.delivery import Delivery, TextFormat
from lfp_pipeline.model.ledger_entry import APPLIED, Status
from lfp_pipeline.raw_zone.status_notes import StatusNotes


def _text_format_to_keep(
    recorded: Delivery, given: TextFormat, notes: StatusNotes, log: logging.Logger
) -> TextFormat:
    """Return the text format for the record of a delivery that lands again.

    A merged delivery keeps its recorded format, because a rebuild must read the file in the same
    way. Another charset causes no warning, because a server reports it with each read of a feed.
    """
    if given == recorded.text_format or notes.last_status(recorded.raw_name) != Status.MERGED:
        return given
    declared = replace(given, charset=recorded.text_format.charset)
    level = logging.DEBUG if declared == recorded.text_format else logging.WARNING
    log.log(
        level,
        "%s was merged with the text format (%s) and keeps it, although its source now gives (%s). "
        "To read it with the new one: run `lfp revert` for it, ingest it from the same "
        "source, then run `lfp reinstate`.",
        recorded.label,
        recorded.text_format,
        given,
    )
    return recorded.text_format


def landed_again(
    recorded: Delivery,
    landed: Delivery,
    notes: StatusNotes,
    log: logging.Logger,
    *,
    is_kept: bool,
) -> Delivery:
    """Return the new content of the record of a delivery whose bytes land again.

    Args:
        landed: the content that a first landing would give the record.
        is_kept: whether the bytes are intact.
    """
    is_file = landed.source_ctime_ns is not None
    return replace(
        recorded if is_kept else landed,
        kind=recorded.kind,
        text_format=_text_format_to_keep(recorded, landed.text_format, notes, log),
        # The inbox is compared with these two.
        stated_at=landed.stated_at if is_file else recorded.stated_at,
        source_ctime_ns=landed.source_ctime_ns if is_file else recorded.source_ctime_ns,
        completes=recorded.completes,
    )


def keeps_status(delivery: Delivery, recorded: Delivery, notes: StatusNotes) -> bool:
    """Return whether the status note remains valid, now that the bytes have landed again.

    A refused file that was dropped again is tried again.
    """
    is_dropped_again = delivery.source_ctime_ns != recorded.source_ctime_ns
    if is_dropped_again and notes.last_status(delivery.raw_name) not in APPLIED:
        return False
    return delivery.text_format == recorded.text_format
