"""What people should know of a delivery beside its rows: its time, and an unfinished upload."""

from pathlib import Path, PurePath
from shlex import quote

from lfp_pipeline.errors import LandingError
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import LedgerEntry, Status
from lfp_pipeline.raw_zone.desired_state import is_reverted
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.raw_zone.status_notes import last_recorded_status
from lfp_pipeline.sources.local_file import path_as_text


def delivery_warnings(
    delivery: Delivery, account: LedgerEntry, raw_zone: RawZone, inbox: Path
) -> tuple[str, ...]:
    """Return the warnings of a delivery, a sentence or two each.

    Args:
        delivery: which.
        account: what became of its rows.
        raw_zone: that has it.
        inbox: the folder that files are dropped into.
    """
    found = (
        dated_ahead(delivery) if account.status in {Status.MERGED, Status.FAILED} else None,
        wholly_stale(delivery, account, raw_zone, inbox),
        completion(delivery, account, raw_zone),
    )
    return tuple(warning for warning in found if warning)


def older_version(delivery: Delivery, newer: Delivery, inbox: Path) -> str:
    """Say that a newer version of a file is in force, and how to make this one count."""
    ways = [
        *_to_land_again(delivery, inbox),
        f"run revert_delivery for each newer delivery of {delivery.partition_key}",
    ]
    return (
        f"{newer.delivery_id} is newer and stays in force. To make this version count, "
        f"{'; or '.join(ways)}."
    )


def dated_ahead(delivery: Delivery) -> str | None:
    """Say that the source of a delivery dates it after its landing, if it does."""
    if not delivery.is_dated_ahead:
        return None
    told = (
        f"Its source dates it {delivery.version_time:%Y-%m-%d %H:%M:%S} UTC, after it landed at "
        f"{delivery.landed_at:%Y-%m-%d %H:%M:%S} UTC: look at the clock and the time zone of the "
        "source."
    )
    if delivery.delivered_at <= delivery.landed_at:
        return f"{told} The time of landing counts."
    return (
        f"{told} It is newer than all that landed before; to make these count, run revert_delivery "
        "for it. What lands from now on is newer."
    )


def wholly_stale(
    delivery: Delivery, account: LedgerEntry, raw_zone: RawZone, inbox: Path
) -> str | None:
    """Say that a version is older than the one before it, so that none of its rows counts."""
    if account.status is not Status.MERGED or account.rows_taken or not account.rows_stale:
        return None
    newer = raw_zone.newer_than(delivery)
    if newer is None or newer.landed_at > delivery.landed_at:
        return None  # It came in its turn.
    advice = older_version(delivery, newer, inbox)
    return f"None of its rows counts, though it landed last. {advice}"


def completion(delivery: Delivery, account: LedgerEntry, raw_zone: RawZone) -> str | None:
    """Say what has become of the unfinished upload that a delivery completes."""
    if delivery.completes is None or account.status is not Status.MERGED:
        return None
    try:
        unfinished = raw_zone.find(delivery.completes)
    except LandingError:  # It is not there any more.
        return None
    noted = last_recorded_status(unfinished.path)
    if is_reverted(unfinished.path):
        fate = "is reverted" if noted == Status.REVERTED else "the next run reverts"
    elif noted == Status.REFUSED:
        fate = "was refused"
    elif last_recorded_status(delivery.path) is None:  # See `ingestion`.
        fate = "the next run reverts"
    else:
        fate = "is not reverted; to have it out, run revert_delivery"
    return f"It completes an unfinished upload, which {fate}: {delivery.completes}."


def _to_land_again(delivery: Delivery, inbox: Path) -> list[str]:
    """Return how to have a file land as the newest version, if it is one on this machine."""
    path, key = PurePath(delivery.source), delivery.partition_key
    if not path.is_absolute():
        return []
    is_in_inbox = path.is_relative_to(path_as_text(inbox))
    job = "ingest_inbox" if is_in_inbox else f"ingest_products for {key} with that source"
    # A backslash may spell out what cannot be printed.
    command = "" if "\\" in delivery.source else f" (touch {quote(delivery.source)})"
    return [f"give its file the present time{command} and run {job}"]
