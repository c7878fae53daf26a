"""Warnings about a delivery: its time, stale rows, an unfinished upload, a refusal."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from shlex import quote

from lfp_pipeline.common.text import lfp_command
from lfp_pipeline.errors import (
    DeliveryRefusedError,
    LandingError,
    NoHeaderError,
    SettingsError,
    TooManyRejectsError,
)
from lfp_pipeline.model.delivery import Delivery, label_of
from lfp_pipeline.model.ledger_entry import LedgerEntry, Status
from lfp_pipeline.model.partition_key import file_name, typed_name
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.reading.likely_encoding import encoding_hint
from lfp_pipeline.reading.plain_text import PlainText
from lfp_pipeline.reading.reject_limit import INVALID_ENCODING
from lfp_pipeline.settings import Settings
from lfp_pipeline.sources.local_file import path_as_text
from lfp_pipeline.sources.sources_file import read_sources


def delivery_warnings(
    delivery: Delivery, entry: LedgerEntry, raw_zone: RawZone, inbox: str
) -> tuple[str, ...]:
    """Return the warnings about a delivery, a sentence or two each."""
    warnings = (
        dated_ahead(delivery) if entry.status in {Status.MERGED, Status.FAILED} else None,
        wholly_stale(delivery, entry, raw_zone, inbox),
        completion(delivery, entry, raw_zone),
    )
    return tuple(warning for warning in warnings if warning)


def refusal_text(
    error: DeliveryRefusedError, delivery: Delivery, texts: Sequence[PlainText], settings: Settings
) -> str:
    """Return the text of a refusal, with a hint if the encoding of a text may be the cause."""
    if not isinstance(error, NoHeaderError) and not (
        isinstance(error, TooManyRejectsError) and error.reason == INVALID_ENCODING
    ):
        return str(error)
    named = False
    with suppress(SettingsError):  # A wrong sources file is not the subject here.
        named = delivery.partition_key in read_sources(settings.sources_path)
    fallback = settings.fallback_encoding
    hints = (encoding_hint(text, in_sources_file=named, fallback=fallback) for text in texts)
    return f"{error}\n{next(filter(None, hints), '')}".rstrip()


def older_version(delivery: Delivery, newer: Delivery, inbox: str) -> str:
    """Return a warning that a newer version is in force, and how to make this version count."""
    listing = lfp_command("deliveries", typed_name(delivery.partition_key, delivery.source))
    ways = [
        *_to_land_again(delivery, inbox),
        f"run `lfp revert DELIVERY` for each newer one that `{listing}` lists",
    ]
    return (
        f"{newer.label} is newer and stays in force. To make this version count, "
        f"{'; or '.join(ways)}."
    )


def dated_ahead(delivery: Delivery) -> str | None:
    """Return a warning if the source of a delivery dates the delivery after its landing."""
    if not delivery.is_dated_ahead:
        return None
    warning = (
        f"Its source dates it {delivery.version_time:%Y-%m-%d %H:%M:%S} UTC, after it landed at "
        f"{delivery.landed_at:%Y-%m-%d %H:%M:%S} UTC: check the clock and the time zone of the "
        "source."
    )
    if delivery.delivered_at <= delivery.landed_at:
        return f"{warning} The time of landing counts."
    return (
        f"{warning} It is newer than all that landed before; to make these count, run "
        f"`{lfp_command('revert', delivery.delivery_id)}`. What lands from now on is newer."
    )


def wholly_stale(
    delivery: Delivery, entry: LedgerEntry, raw_zone: RawZone, inbox: str
) -> str | None:
    """Return a warning if a delivery landed last, but all its rows are stale."""
    if entry.status is not Status.MERGED or entry.rows.winners or not entry.rows.stale:
        return None
    newer = raw_zone.newer_than(delivery)
    if newer is None or newer.landed_at > delivery.landed_at:
        return None  # The newer version landed later, as it should.
    advice = older_version(delivery, newer, inbox)
    return f"None of its rows counts, though it landed last. {advice}"


def completion(delivery: Delivery, entry: LedgerEntry, raw_zone: RawZone) -> str | None:
    """Return a warning about the unfinished upload that a merged delivery completes."""
    if delivery.completes is None or entry.status is not Status.MERGED:
        return None
    try:
        unfinished = raw_zone.find(delivery.completes)
    except LandingError:  # The upload is gone.
        return None
    noted = raw_zone.notes.last_status(unfinished.raw_name)
    if raw_zone.desired.is_reverted(unfinished.raw_name):
        fate = "is reverted" if noted == Status.REVERTED else "the next run reverts"
    elif noted == Status.REFUSED:
        fate = "was refused"
    elif raw_zone.notes.last_status(delivery.raw_name) is None:  # See `conclude`.
        fate = "the next run reverts"
    else:
        command = lfp_command("revert", delivery.completes)
        return f"It completes an unfinished upload, which is not reverted: `{command}` reverts it."
    return f"It completes an unfinished upload, which {fate}: {label_of(delivery.completes)}."


def _to_land_again(delivery: Delivery, inbox: str) -> list[str]:
    """Return how to make a file land as the newest version, if the file is on this machine."""
    path, key = PurePath(delivery.source), delivery.partition_key
    if not path.is_absolute():
        return []
    is_in_inbox = path.is_relative_to(path_as_text(Path(inbox)))
    name = file_name(key, delivery.source)
    as_name = "" if name == path.name else f" --as {quote(name)}"
    command = "lfp ingest" if is_in_inbox else f"lfp ingest {quote(delivery.source)}{as_name}"
    # A backslash may stand for a character that cannot be printed.
    touch = "" if "\\" in delivery.source else f" (touch {quote(delivery.source)})"
    return [f"give its file the present time{touch} and run `{command}`"]
