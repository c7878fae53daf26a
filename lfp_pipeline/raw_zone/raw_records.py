"""The records of the raw zone: a JSON file for each delivery, beside its bytes."""

import json
import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

from lfp_pipeline.common.atomic_files import write_file
from lfp_pipeline.errors import LandingError
from lfp_pipeline.model.delivery import Delivery, Kind, TextFormat
from lfp_pipeline.raw_zone.integrity import TOUCHED_AT

_RECORD_NAME = re.compile(r"[0-9]{8}T[0-9]{6}\.[0-9]{6}Z-[0-9a-f]{16}\.json")
_LIMIT = 2**63
"""Sizes, and times in nanoseconds, are less."""


def is_record_name(name: str) -> bool:
    """Return whether a name is that of a record: `<delivered_at>-<sha256, 16 digits>.json`."""
    return _RECORD_NAME.fullmatch(name) is not None


def read_record(record: Path) -> Delivery:
    """Return the delivery that a record describes.

    Raises:
        LandingError: the file cannot be read, or is not a record.
    """
    try:
        content = json.loads(record.read_bytes())
        delivery = Delivery(
            partition_key=content["partition_key"],
            delivered_at=datetime.fromisoformat(content["delivered_at"]),
            sha256=content["sha256"],
            source=content["source"],
            size_bytes=content["size_bytes"],
            landed_at=datetime.fromisoformat(content["landed_at"]),
            path=record.with_suffix(".raw"),
            kind=Kind(content.get("kind", Kind.PRODUCTS)),  # Older records have no kind.
            text_format=TextFormat(**content.get("text_format", {})),
            stated_at=_timestamp(content.get("stated_at")),
            source_ctime_ns=content.get("source_ctime_ns"),
            completes=content.get("completes"),
        )
        _check_types(delivery)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        msg = (
            f"The record {record} cannot be read ({type(error).__name__}: {error}). Restore it "
            "from a copy; or, unless it belongs to a purge, remove it, and land its file again."
        )
        raise LandingError(msg, permanent=True) from error
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


def write_record(delivery: Delivery) -> None:
    """Write the record of a delivery, or replace it."""
    content: dict[str, object] = {"delivery_id": delivery.delivery_id} | {
        name: value.isoformat(timespec="microseconds") if isinstance(value, datetime) else value
        for name, value in asdict(delivery).items()
        if name != "path"
    }
    if delivery.text_format == TextFormat():
        del content["text_format"]
    for name in ("stated_at", "source_ctime_ns", "completes"):
        if content[name] is None:
            del content[name]
    content[TOUCHED_AT] = delivery.path.stat().st_ctime_ns
    write_file(delivery.path.with_suffix(".json"), json.dumps(content, indent=2).encode() + b"\n")


def record_names(folder: Path) -> Iterator[str]:
    """Yield the names of the records in a partition's folder. The names sort by time."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if is_record_name(entry.name):
                yield entry.name


def read_readable(records: Iterable[Path], log: logging.Logger) -> list[Delivery]:
    """Return the deliveries of those records that can be read, oldest first."""
    deliveries = []
    for record in records:
        try:
            deliveries.append(read_record(record))
        except LandingError as error:
            log.warning("Left out: %s", error)
    return sorted(deliveries, key=lambda delivery: delivery.order_key)


def as_recorded(delivery: Delivery) -> Delivery:
    """Return a delivery with the present text format of its record, if that can be read."""
    with suppress(LandingError):
        recorded = read_record(delivery.path.with_suffix(".json"))
        return replace(delivery, text_format=recorded.text_format)
    return delivery
