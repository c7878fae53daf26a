"""Reads the folder of a raw zone by the names and contents of its files, without the pipeline."""

import csv
from datetime import UTC, datetime
from pathlib import Path

from testing.expected_tables import Deletion

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 (times in tables and records are UTC without a zone)


def ids_with(raw: Path, suffix: str) -> frozenset[str]:
    """Return the ids of the deliveries that have a file with this suffix."""
    paths = raw.glob(f"*/[!.]*{suffix}")
    return frozenset(f"{path.parent.name}#{path.stem.replace('-', '#')}" for path in paths)


def path_of(raw: Path, delivery_id: str, suffix: str) -> Path:
    """Return the path of a delivery's file with this suffix."""
    key, _, name = delivery_id.partition("#")
    return raw / key / f"{name.replace('#', '-')}{suffix}"


def read_deletion(path: Path) -> Deletion:
    """Return the deletion with this raw file."""
    stamp, _, digest = path.stem.partition("-")
    with path.open(newline="", encoding="utf-8") as file:
        (header,), *rows = csv.reader(file)
    assert header == "sku"
    skus = frozenset(sku for (sku,) in rows)
    assert len(skus) == len(rows)
    time = datetime.strptime(stamp, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
    return Deletion(f"{path.parent.name}#{stamp}#{digest}", time.replace(tzinfo=None), skus)
