"""What becomes of a delivery whose bytes land again."""

import logging
import os
from dataclasses import replace
from pathlib import Path
from stat import S_IMODE
from typing import BinaryIO

from lfp_pipeline.errors import RawFileError
from lfp_pipeline.model.delivery import Delivery, TextFormat
from lfp_pipeline.raw_zone.integrity import verify_raw_file
from lfp_pipeline.raw_zone.status_notes import MERGED, REVERTED, last_recorded_status


def _text_format_to_keep(recorded: Delivery, given: TextFormat, log: logging.Logger) -> TextFormat:
    """Return the text format for the record of a delivery that lands again.

    A merged delivery keeps its recorded format: a rebuild must read the file in the same way.
    Nobody is warned of another charset: the server says it again with each read of a feed.
    """
    if given == recorded.text_format or last_recorded_status(recorded.path) != MERGED:
        return given
    declared = replace(given, charset=recorded.text_format.charset)
    level = logging.DEBUG if declared == recorded.text_format else logging.WARNING
    log.log(
        level,
        "%s was merged with the text format (%s) and keeps it, although its source now gives (%s). "
        "To have it read with the new one: run revert_delivery for it, land it again from the same "
        "source (ingest_products), then run revert_delivery with reinstate: true.",
        recorded.delivery_id,
        recorded.text_format,
        given,
    )
    return recorded.text_format


def take_readers(raw: Path, file: BinaryIO) -> bool:
    """Take a raw file away from those who may not read the file that has landed again.

    Returns:
        Whether there were any.
    """
    mode = S_IMODE(raw.stat().st_mode)
    left = mode & os.fstat(file.fileno()).st_mode
    if left == mode:
        return False
    raw.chmod(left)
    return True


def is_intact(delivery: Delivery) -> bool:
    try:
        verify_raw_file(
            delivery, thorough=True
        )  # Disks do lose bytes, and here are the right ones.
    except RawFileError:
        return False
    return True


def landed_again(
    recorded: Delivery, landed: Delivery, *, is_kept: bool, log: logging.Logger
) -> Delivery:
    """Return what the record of a delivery is to tell, now that its bytes have landed again.

    Args:
        recorded: what it tells.
        landed: what it would tell, had they landed for the first time.
        is_kept: whether the raw file is intact.
        log: for what is left as it was.
    """
    is_file = landed.source_ctime_ns is not None
    return replace(
        recorded if is_kept else landed,
        kind=recorded.kind,
        text_format=_text_format_to_keep(recorded, landed.text_format, log),
        # By these two, the inbox is compared with what has landed.
        stated_at=landed.stated_at if is_file else recorded.stated_at,
        source_ctime_ns=landed.source_ctime_ns if is_file else recorded.source_ctime_ns,
        completes=recorded.completes,
    )


def ends_alike(delivery: Delivery, recorded: Delivery) -> bool:
    """Whether what became of a delivery holds, now that its bytes have landed again.

    What was refused and is dropped anew is tried again.
    """
    is_dropped_anew = delivery.source_ctime_ns != recorded.source_ctime_ns
    if is_dropped_anew and last_recorded_status(delivery.path) not in {MERGED, REVERTED}:
        return False
    return delivery.text_format == recorded.text_format
