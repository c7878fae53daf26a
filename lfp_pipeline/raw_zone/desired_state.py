"""The desired state of a delivery, in markers beside its raw file.

    .reverted   the delivery is reverted; the content says whether older deliveries may be read with
                the present settings for replacements, or why a dismissed delivery was not merged
    .pruned     the bytes are not kept; the content says whether the tables needed them
    .rejects    its rejected rows need no more attention; the content is a digest of these rows, and
                the marker counts only for them; this changes no table

To change a delivery's desired state, write its marker first, then reconcile under the writer lock.
The last lock holder therefore sees the latest marker. If a process dies in between, marker and
status note disagree, and the next run reconciles them.
"""

from datetime import datetime
from pathlib import Path

from lfp_pipeline.common.atomic_files import folder_lock, remove_file, write_file
from lfp_pipeline.common.clock import utc_from_ns
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.delivery_state import DeliveryState
from lfp_pipeline.model.ledger_entry import Status

_REVERTED = ".reverted"
_PRUNED = ".pruned"
_REJECTS_DISMISSED = ".rejects"
_NOT_NEEDED = b"not needed\n"
_PRESENT_SETTINGS = b"present settings\n"
_DISMISSED = b"dismissed\n"


def state_of(delivery: Delivery, recorded: Status | None) -> DeliveryState:
    """Return the state of a delivery in a database that has recorded this status for it."""
    raw = delivery.path
    return DeliveryState(desired_status(raw), recorded, bytes_kept=not is_pruned(raw))


def desired_status(raw: Path) -> Status:
    """Return the desired status of the delivery with this raw file: `MERGED` or `REVERTED`."""
    return Status.REVERTED if is_reverted(raw) else Status.MERGED


def is_reverted(raw: Path) -> bool:
    """Return whether people have reverted the delivery with this raw file."""
    return raw.with_suffix(_REVERTED).exists()


def reverted_at(raw: Path) -> datetime | None:
    """Return the time of the marker, in UTC without a zone; None: the delivery is not reverted."""
    try:
        return utc_from_ns(raw.with_suffix(_REVERTED).stat().st_mtime_ns)
    except FileNotFoundError:
        return None


def may_use_present_settings(raw: Path) -> bool:
    """Return whether the present settings may be used to find replacements for a delivery."""
    try:
        return raw.with_suffix(_REVERTED).read_bytes() == _PRESENT_SETTINGS
    except FileNotFoundError:
        return False


def mark_reverted(raw: Path, *, use_present_settings: bool = False) -> None:
    """Set the desired state of a delivery to reverted."""
    write_file(raw.with_suffix(_REVERTED), _PRESENT_SETTINGS if use_present_settings else b"")


def mark_dismissed(raw: Path, why: str) -> None:
    """Set the desired state of a delivery that was not merged to reverted, and record why."""
    write_file(raw.with_suffix(_REVERTED), _DISMISSED + why.encode())


def reason_of_dismissed(raw: Path) -> str | None:
    """Return why a dismissed delivery was not merged; None: the delivery is not dismissed."""
    try:
        content = raw.with_suffix(_REVERTED).read_bytes()
    except FileNotFoundError:
        return None
    if not content.startswith(_DISMISSED):
        return None
    return content.removeprefix(_DISMISSED).decode(errors="replace")


def dismiss_rejects(raw: Path, digest: str) -> None:
    """Record that the rejected rows with this digest need no more attention."""
    write_file(raw.with_suffix(_REJECTS_DISMISSED), digest.encode())


def dismissed_rejects(raw: Path) -> str | None:
    """Return the digest of the rejected rows that were dismissed; None: none were."""
    try:
        return raw.with_suffix(_REJECTS_DISMISSED).read_text(errors="replace")
    except FileNotFoundError:
        return None


def clear_dismissed_rejects(raw: Path) -> None:
    """Take back the dismissal of the rejected rows of a delivery."""
    remove_file(raw.with_suffix(_REJECTS_DISMISSED))


def clear_reverted(raw: Path) -> None:
    """Set the desired state of a delivery to merged."""
    remove_file(raw.with_suffix(_REVERTED))


def is_pruned(raw: Path) -> bool:
    """Return whether the bytes of a delivery are pruned."""
    return raw.with_suffix(_PRUNED).exists()


def should_land_again(raw: Path, size_bytes: int, dropped_ns: int) -> bool:
    """Return whether a delivery has lost its bytes, and a file of its version restores them.

    A file restores pruned bytes only if it was dropped, moved or touched (its ctime says when)
    after the pruning.
    """
    # Before the marker, because pruning writes the marker before it removes the file.
    try:
        is_complete = raw.stat().st_size == size_bytes
    except FileNotFoundError:
        is_complete = False
    try:
        pruned_ns = raw.with_suffix(_PRUNED).stat().st_ctime_ns
    except FileNotFoundError:
        return not is_complete
    return dropped_ns >= pruned_ns


def pruned_while_needed(raw: Path) -> bool:
    """Return whether a delivery was pruned although the tables needed it, or may have."""
    try:
        return raw.with_suffix(_PRUNED).read_bytes() != _NOT_NEEDED
    except FileNotFoundError:
        return False


def prune(raw: Path, *, needed: bool) -> None:
    """Remove the bytes of a delivery. Its record stays."""
    with folder_lock(raw.parent):  # A landing meanwhile would take the file for intact.
        write_file(raw.with_suffix(_PRUNED), b"" if needed else _NOT_NEEDED)
        raw.unlink(missing_ok=True)


def clear_pruned(raw: Path) -> None:
    """Remove the marker of a pruned delivery whose bytes have landed again."""
    remove_file(raw.with_suffix(_PRUNED))
