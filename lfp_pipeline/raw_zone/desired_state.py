"""What people want of a delivery, noted beside its raw file: the raw zone holds their word, too.

    .reverted   it is to be as if it had never come; and whether older deliveries, which may have
                what comes in its place, may be read with other settings than before
    .pruned     its bytes are not kept any longer; and whether the tables needed them

Whoever changes his mind about a delivery says so here first, and then has the warehouse follow,
behind its lock. So whoever holds that lock last has seen the last word; and if he is killed in
between, what is noted here and the outcome do not agree, and the next run has it follow.
"""

from datetime import datetime
from pathlib import Path

from lfp_pipeline.common.atomic_files import (
    commit_file,
    folder_lock,
    sync_folder,
    temporary_sibling,
)
from lfp_pipeline.common.clock import utc_from_ns
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.delivery_state import DeliveryState
from lfp_pipeline.model.ledger_entry import Status

_REVERTED = ".reverted"
_PRUNED = ".pruned"
_NOT_NEEDED = b"not needed\n"
_PRESENT_SETTINGS = b"present settings\n"


def state_of(delivery: Delivery, recorded: Status | None) -> DeliveryState:
    """Return the state of a delivery in the database that has recorded that status of it."""
    raw = delivery.path
    return DeliveryState(desired_status(raw), recorded, bytes_kept=not is_pruned(raw))


def desired_status(raw: Path) -> Status:
    """Return what people want of the delivery whose raw file that is: `MERGED` or `REVERTED`."""
    return Status.REVERTED if is_reverted(raw) else Status.MERGED


def is_reverted(raw: Path) -> bool:
    """Whether the delivery whose raw file that is counts as if it had never come."""
    return raw.with_suffix(_REVERTED).exists()


def reverted_at(raw: Path) -> datetime | None:
    """When people said so, in UTC without a zone; None: they do not say so any more."""
    try:
        return utc_from_ns(raw.with_suffix(_REVERTED).stat().st_mtime_ns)
    except FileNotFoundError:
        return None


def may_use_present_settings(raw: Path) -> bool:
    """Whether what comes in the place of a reverted delivery may be read with other settings."""
    try:
        return raw.with_suffix(_REVERTED).read_bytes() == _PRESENT_SETTINGS
    except FileNotFoundError:
        return False


def mark_reverted(raw: Path, *, use_present_settings: bool = False) -> None:
    """Say that a delivery is to be as if it had never come."""
    _note(raw.with_suffix(_REVERTED), _PRESENT_SETTINGS if use_present_settings else b"")


def clear_reverted(raw: Path) -> None:
    """Say that a delivery counts again."""
    _forget(raw.with_suffix(_REVERTED))


def is_pruned(raw: Path) -> bool:
    """Whether the bytes of a delivery are not kept any longer."""
    return raw.with_suffix(_PRUNED).exists()


def should_land_again(raw: Path, size_bytes: int, dropped_ns: int) -> bool:
    """Whether a delivery that had landed has lost bytes, and a file of its version brings them.

    What is pruned is not lost: only if the file was dropped, moved or touched since, it is wanted.

    Args:
        raw: the delivery's raw file.
        size_bytes: of that version.
        dropped_ns: when the file was dropped, moved or touched, as the kernel tells it.
    """
    # Looked at first: it is noted as pruned before it goes.
    try:
        is_there = raw.stat().st_size == size_bytes
    except FileNotFoundError:
        is_there = False
    try:
        pruned_ns = raw.with_suffix(_PRUNED).stat().st_ctime_ns
    except FileNotFoundError:
        return not is_there
    return dropped_ns >= pruned_ns


def pruned_while_needed(raw: Path) -> bool:
    """Whether a delivery is pruned that the tables needed then, as far as that was noted."""
    try:
        return raw.with_suffix(_PRUNED).read_bytes() != _NOT_NEEDED
    except FileNotFoundError:
        return False


def prune(raw: Path, *, needed: bool) -> None:
    """Remove the bytes of a delivery, which the tables need or not; its record stays."""
    with folder_lock(raw.parent):  # Who lands it meanwhile takes what is about to go for intact.
        _note(raw.with_suffix(_PRUNED), b"" if needed else _NOT_NEEDED)
        raw.unlink(missing_ok=True)


def clear_pruned(raw: Path) -> None:
    """Say that the bytes of a delivery are there, and are kept."""
    _forget(raw.with_suffix(_PRUNED))


def _note(note: Path, content: bytes = b"") -> None:
    with temporary_sibling(note) as (file, temporary):
        file.write(content)
        commit_file(file, temporary, note)


def _forget(note: Path) -> None:
    note.unlink(missing_ok=True)
    sync_folder(note.parent)
