"""Markers and status notes of raw files in data folders, by the paths of the raw files."""

from pathlib import Path

from lfp_pipeline.model.delivery import Delivery, RawName
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.settings import Settings
from testing.lakes import known_catalog


def is_reverted(raw: Path) -> bool:
    """Return whether a delivery is marked as reverted."""
    return _zone(raw).desired.is_reverted(_name(raw))


def mark_reverted(raw: Path, *, use_present_settings: bool = False) -> None:
    """Mark a delivery as reverted."""
    _zone(raw).desired.mark_reverted(_name(raw), use_present_settings=use_present_settings)


def clear_reverted(raw: Path) -> None:
    """Mark a delivery as not reverted."""
    _zone(raw).desired.clear_reverted(_name(raw))


def is_pruned(raw: Path) -> bool:
    """Return whether the bytes of a delivery are pruned."""
    return _zone(raw).desired.is_pruned(_name(raw))


def prune(raw: Path, *, needed: bool) -> None:
    """Prune the bytes of a delivery."""
    _zone(raw).desired.prune(_name(raw), needed=needed)


def dismissed_rejects(raw: Path) -> str | None:
    """Return the digest of the rejected rows that were dismissed."""
    return _zone(raw).desired.dismissed_rejects(_name(raw))


def write_status_note(raw: Path, status: str, database_id: str) -> None:
    """Write the status of a delivery in a database."""
    _zone(raw).notes.write(_name(raw), status, database_id)


def delete_status_note(raw: Path) -> None:
    """Delete the status note of a delivery."""
    _zone(raw).notes.delete(_name(raw))


def last_recorded_status(raw: Path) -> str | None:
    """Return the last noted status of a delivery in any database."""
    return _zone(raw).notes.last_status(_name(raw))


def read_status(raw: Path, database_id: str | None) -> Status | None:
    """Return the noted status of a delivery in a database."""
    return _zone(raw).notes.status_in(_name(raw), database_id)


def verify_raw_file(delivery: Delivery, *, full: bool = False) -> None:
    """Raise a RawFileError if a raw file has not the bytes that landed."""
    with _zone(delivery.path).verified(delivery, full=full):
        pass


def _zone(raw: Path) -> RawZone:
    catalog = known_catalog(raw.parents[2])
    if catalog is None:
        return RawZone(raw.parents[1])
    return RawZone.of(Settings(data_dir=raw.parents[2], catalog=catalog))


def _name(raw: Path) -> RawName:
    return RawName(raw.parent.name, raw.stem)
