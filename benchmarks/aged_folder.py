"""A data folder with a long history: many merged files in the inbox, with several versions each.

The raw zone is written directly, in the form in which the project keeps it, and the ledger by SQL:
to take everything in would take half an hour.
"""

import csv
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from lfp_pipeline.common.clock import utc_from_ns
from lfp_pipeline.engine import Engine
from lfp_pipeline.model.delivery import Delivery, stamp
from lfp_pipeline.raw_zone.raw_records import TOUCHED_AT
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.schema import database_id

_LOG = logging.getLogger("benchmarks")

FEED = "feed"
"""The partition with many versions."""

_FIRST_NS = 1_700_000_000_000_000_000
_SECOND_NS = 1_000_000_000

_COLUMNS = ("delivery_id", "partition_key", "source", "sha256", "size_bytes", "delivered_at")
_LEDGER = """
INSERT INTO warehouse.deliveries BY NAME
SELECT *, delivered_at AS merged_at, 'merged' AS status, 1 AS rows_read, 1 AS rows_inserted,
    0 AS rows_updated, 0 AS rows_unchanged, 0 AS rows_superseded, 0 AS rows_stale,
    0 AS rows_rejected, 'x' AS read_with, 0.01 AS seconds
FROM read_csv($path, header = true, columns = {
    'delivery_id': 'VARCHAR', 'partition_key': 'VARCHAR', 'source': 'VARCHAR',
    'sha256': 'VARCHAR', 'size_bytes': 'BIGINT', 'delivered_at': 'TIMESTAMP'})
"""

_PRODUCTS = """
UPDATE warehouse.deliveries SET ledger_number = rowid + 1;
INSERT INTO warehouse.product_rows
SELECT partition_key, partition_key, '', ledger_number, 1 FROM warehouse.deliveries
QUALIFY row_number() OVER (PARTITION BY partition_key ORDER BY delivered_at DESC) = 1;
INSERT INTO warehouse.name_counts
SELECT name, count(*) FROM warehouse.products GROUP BY name;
"""


def aged_folder(data: Path, files: int, deliveries: int, versions_of_one: int = 0) -> Path:
    """Return a data folder with that history, made if it is missing.

    Args:
        data: the folder.
        files: in the inbox, each of its own partition, all merged.
        deliveries: of these, the older versions included.
        versions_of_one: versions of one more partition, a feed without a file in the inbox.
    """
    if not data.exists():
        unfinished = data.with_name(f"unfinished-{data.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        _make(Engine(Settings(data_dir=unfinished)), files, deliveries, versions_of_one)
        unfinished.replace(data)
    return data


def one_more(folder: Path) -> Path:
    """Write a small file of a new name into a folder."""
    name = f"new{sum(1 for _ in folder.iterdir()):06}.csv"
    (folder / name).write_bytes(_content(name, 0))
    return folder / name


def _make(engine: Engine, files: int, deliveries: int, versions_of_one: int) -> None:
    settings = engine.settings
    settings.inbox_dir.mkdir(parents=True)
    with engine.warehouse.session("preparing", _LOG) as connection:
        id_ = database_id(connection)
        ledger = settings.data_dir / "ledger.csv"
        with ledger.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            for delivery in _land(settings, id_, files, deliveries, versions_of_one):
                writer.writerow(getattr(delivery, column) for column in _COLUMNS)
        connection.execute(_LEDGER, {"path": str(ledger)})
        connection.execute(_PRODUCTS)
        ledger.unlink()
    engine.published.publish(_LOG)


def _land(
    settings: Settings, id_: str, files: int, deliveries: int, versions_of_one: int
) -> Iterator[Delivery]:
    for number in range(files):
        name = f"f{number:06}.csv"
        count = deliveries // files + (number < deliveries % files)
        newest = settings.inbox_dir / name
        newest.write_bytes(_content(name, count - 1))
        # Before its status note is written, or the file counts as new.
        time_ns = _FIRST_NS + (count - 1) * _SECOND_NS
        os.utime(newest, ns=(time_ns, time_ns))
        yield from _versions(settings.raw_dir, name, count, id_)
    if versions_of_one:
        yield from _versions(settings.raw_dir, FEED, versions_of_one, id_)


def _versions(raw_dir: Path, name: str, count: int, id_: str) -> Iterator[Delivery]:
    folder = raw_dir / name
    folder.mkdir(parents=True)
    for version in range(count):
        content = _content(name, version)
        digest = hashlib.sha256(content).hexdigest()
        delivered_at = utc_from_ns(_FIRST_NS + version * _SECOND_NS)
        stem = f"{stamp(delivered_at)}-{digest[:16]}"
        delivery = Delivery(
            partition_key=name,
            delivered_at=delivered_at,
            sha256=digest,
            source=name,
            size_bytes=len(content),
            landed_at=delivered_at + timedelta(seconds=1),
            path=folder / f"{stem}.raw",
        )
        delivery.path.write_bytes(content)
        record = {
            "delivery_id": delivery.delivery_id,
            "partition_key": name,
            "delivered_at": delivery.delivered_at.isoformat(timespec="microseconds"),
            "sha256": digest,
            "source": name,
            "size_bytes": delivery.size_bytes,
            "landed_at": delivery.landed_at.isoformat(timespec="microseconds"),
            "kind": delivery.kind.value,
            TOUCHED_AT: delivery.path.stat().st_ctime_ns,
        }
        (folder / f"{stem}.json").write_text(json.dumps(record, indent=2) + "\n")
        (folder / f"{stem}.outcome").write_text(f"merged {id_}\n")
        yield delivery


def _content(name: str, version: int) -> bytes:
    return f"name,sku,description\n{name},{name},version {version}\n".encode()
