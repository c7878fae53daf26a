"""The records of the raw zone: for each delivery, what is known of it, in JSON beside its bytes."""

import json
import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from errno import ENOENT
from pathlib import Path

from lfp_pipeline.errors import LandingError
from lfp_pipeline.model.delivery import Delivery, Kind, RawName, TextFormat
from lfp_pipeline.raw_zone.byte_store import LAND_AGAIN, ByteStore
from lfp_pipeline.raw_zone.sidecars import RECORD, Sidecar, Sidecars

_STEM = re.compile(r"[0-9]{8}T[0-9]{6}\.[0-9]{6}Z-[0-9a-f]{16}")
_LIMIT = 2**63
"""Sizes, and times in nanoseconds, are less."""

TOUCHED_AT = "ctime_ns"
"""Field of the record: when the raw file was last touched (see `ByteStore.touched_ns`)."""

UNREADABLE = (OSError, ValueError, KeyError, TypeError, RecursionError)
"""Errors of a record that cannot be read, or is no record."""


def is_raw_stem(stem: str) -> bool:
    """Return whether a stem is that of a delivery: `<delivered_at>-<sha256, 16 digits>`."""
    return _STEM.fullmatch(stem) is not None


@dataclass(frozen=True)
class RawRecords:
    """The records of all deliveries of a raw zone."""

    sidecars: Sidecars
    store: ByteStore

    def read(self, name: RawName) -> Delivery:
        """Return the delivery that a record describes.

        Raises:
            LandingError: the record cannot be read, or is no record.
        """
        try:
            record = self.sidecars.read(name, RECORD)
            if record is None:
                place = self.sidecars.describe(name, RECORD)
                raise FileNotFoundError(ENOENT, os.strerror(ENOENT), place)
            return parse_record(record, self.store.path(name))
        except UNREADABLE as error:
            place = self.sidecars.describe(name, RECORD)
            remedy = (
                "Remove it, and run `lfp cluster init`, which restores it from the raw zone."
                if self.sidecars.are_apart
                else "Restore it from a copy; or, unless it belongs to a purge, remove it, and "
                f"land its file again with the time that it had: {LAND_AGAIN}"
            )
            reason = f"{type(error).__name__}: {error}"
            msg = f"The record {place} cannot be read ({reason}). {remedy}"
            raise LandingError(msg, permanent=True) from error

    def write(self, delivery: Delivery) -> None:
        """Write the record of a delivery, or replace it."""
        content: dict[str, object] = {"delivery_id": delivery.delivery_id} | {
            name: value.isoformat(timespec="microseconds") if isinstance(value, datetime) else value
            for name, value in asdict(delivery).items()
            if name != "path"
        }
        if delivery.text_format == TextFormat():
            del content["text_format"]
        content[TOUCHED_AT] = self.store.touched_ns(delivery.raw_name)
        for name in ("stated_at", "source_ctime_ns", "completes", TOUCHED_AT):
            if content[name] is None:
                del content[name]
        lines = json.dumps(content, indent=2).encode() + b"\n"
        self.sidecars.write(delivery.raw_name, RECORD, lines)

    def keep_copy(self, name: RawName) -> None:
        """Keep a copy of a committed record beside the bytes, if the records are apart from them.

        A copy without a record thus shows that the record was lost. Without a copy, bytes without a
        record are those of a landing that was killed.
        """
        if not self.sidecars.are_apart:
            return
        with self.sidecars.changing(name.key):  # Else an older copy could replace a newer one.
            if record := self.sidecars.read(name, RECORD):
                self.store.keep_record(name, record.content)

    def stems(self, key: str) -> Iterator[str]:
        """Yield the stems of the well-formed records of a partition. They sort by time."""
        return filter(is_raw_stem, self.sidecars.recorded(key))

    def read_readable(self, names: Iterable[RawName], log: logging.Logger) -> list[Delivery]:
        """Return the deliveries of those records that can be read, oldest first."""
        deliveries = []
        for name in names:
            try:
                deliveries.append(self.read(name))
            except LandingError as error:
                log.warning("Left out: %s", error)
        return sorted(deliveries, key=lambda delivery: delivery.order_key)

    def as_recorded(self, delivery: Delivery) -> Delivery:
        """Return a delivery with the present text format of its record, if that can be read."""
        with suppress(LandingError):
            recorded = self.read(delivery.raw_name)
            return replace(delivery, text_format=recorded.text_format)
        return delivery

    def touched_ns(self, name: RawName) -> int | None:
        """Return when the raw file was last touched, as the record says; None: that is unknown."""
        with suppress(OSError, ValueError, AttributeError):
            record = self.sidecars.read(name, RECORD)
            touched_ns = json.loads(record.content if record else b"null").get(TOUCHED_AT)
            return touched_ns if isinstance(touched_ns, int) else None
        return None


def parse_record(record: Sidecar, path: Path) -> Delivery:
    """Return the delivery that a record describes; raise one of `UNREADABLE` if it is no record.

    Args:
        path: where the bytes of the delivery are read.
    """
    content = json.loads(record.content)
    delivery = Delivery(
        partition_key=content["partition_key"],
        delivered_at=datetime.fromisoformat(content["delivered_at"]),
        sha256=content["sha256"],
        source=content["source"],
        size_bytes=content["size_bytes"],
        landed_at=datetime.fromisoformat(content["landed_at"]),
        path=path,
        kind=Kind(content.get("kind", Kind.PRODUCTS)),  # Older records have no kind.
        text_format=TextFormat(**content.get("text_format", {})),
        stated_at=_timestamp(content.get("stated_at")),
        source_ctime_ns=content.get("source_ctime_ns"),
        completes=content.get("completes"),
    )
    _check_types(delivery)
    return delivery


def _timestamp(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _check_types(delivery: Delivery) -> None:
    """Raise a TypeError if a value has another type than in a delivery, or is too large."""
    texts = (delivery.partition_key, delivery.sha256, delivery.source, delivery.completes or "")
    numbers = (delivery.size_bytes, delivery.source_ctime_ns or 0)
    times = (delivery.delivered_at, delivery.landed_at, delivery.version_time)
    if not (
        all(isinstance(text, str) for text in texts)
        and all(type(number) is int and abs(number) < _LIMIT for number in numbers)
        and all(time.tzinfo is None for time in times)
    ):
        msg = "a value is not of its type"
        raise TypeError(msg)
