"""What people should know of a delivery beside its rows: its time, and an unfinished upload."""

from contextlib import suppress
from shlex import quote

from lfp_pipeline.errors import LandingError
from lfp_pipeline.landing.delivery import Delivery
from lfp_pipeline.landing.intents import is_reverted
from lfp_pipeline.landing.raw_zone import RawZone
from lfp_pipeline.warehouse.account import Account, Status


def delivery_warnings(delivery: Delivery, account: Account, raw_zone: RawZone) -> tuple[str, ...]:
    """Return the warnings of a delivery, a sentence or two each.

    Args:
        delivery: which.
        account: what became of its rows.
        raw_zone: that has it.
    """
    found = (
        _dated_ahead(delivery),
        _wholly_stale(delivery, account, raw_zone),
        _completion(delivery, account, raw_zone),
    )
    return tuple(warning for warning in found if warning)


def older_version(delivery: Delivery, newer: Delivery) -> str:
    """Say that a newer version of a file is in force, and how to make this one count."""
    return (
        f"{newer.delivery_id} is newer and stays in force. To make this version count, give its "
        f"file the present time (touch {quote(delivery.source)}) and run ingest_inbox; or run "
        f"revert_delivery for each newer delivery of {delivery.partition_key}."
    )


def _dated_ahead(delivery: Delivery) -> str | None:
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
        f"{told} Versions with an earlier time do not count; to make them count, run "
        "revert_delivery for this one."
    )


def _wholly_stale(delivery: Delivery, account: Account, raw_zone: RawZone) -> str | None:
    if account.status is not Status.MERGED or account.rows_taken or not account.rows_stale:
        return None
    newer = raw_zone.newer_than(delivery)
    if newer is None or newer.landed_at > delivery.landed_at:
        return None  # It came in its turn.
    return f"None of its rows counts, though it landed last. {older_version(delivery, newer)}"


def _completion(delivery: Delivery, account: Account, raw_zone: RawZone) -> str | None:
    if delivery.completes is None or account.status is not Status.MERGED:
        return None
    with suppress(LandingError):  # It is not there any more.
        if not is_reverted(raw_zone.find(delivery.completes).path):
            return (
                f"It completes an unfinished upload, which is not reverted: {delivery.completes}. "
                "To have that out, run revert_delivery for it."
            )
    return f"It completes an unfinished upload, which is reverted: {delivery.completes}."
