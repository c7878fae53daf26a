"""Which deliveries of a raw zone are pending in a database, by their status notes."""

import logging
from collections.abc import Mapping, Sequence

from lfp_pipeline.model.delivery import Delivery, RawName
from lfp_pipeline.model.partition_key import PURGES
from lfp_pipeline.raw_zone.landed import Landed
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.sources.inbox import InboxFile

# Replayable and not reconciled (see `DeliveryState`), by the status notes.
_PENDING = """
SELECT key, stem FROM deliveries
WHERE (reverted OR NOT pruned) AND (ended IS NULL OR noted_id IS NOT :database_id)
"""


def pending_deliveries(
    zone: RawZone, database_id: str | None, log: logging.Logger
) -> list[Delivery]:
    """Return the deliveries that are pending in a database (None: a new one), oldest first."""
    return _deliveries(zone, _PENDING, {"database_id": database_id}, log)


def pending_operator_requests(
    zone: RawZone, database_id: str | None, log: logging.Logger
) -> list[Delivery]:
    """Return the pending purges and reversals, oldest first."""
    sql = f"{_PENDING} AND (reverted OR key = :purges)"
    return _deliveries(zone, sql, {"database_id": database_id, "purges": PURGES}, log)


def has_pending(zone: RawZone, key: str, database_id: str | None) -> bool:
    """Return whether a partition has a delivery that is pending in a database."""
    sql, values = f"{_PENDING} AND key = :key LIMIT 1", {"database_id": database_id, "key": key}
    return zone.index.ask(lambda asked: asked.execute(sql, values).fetchone() is not None, {key})


def reconciled(
    zone: RawZone, files: Sequence[InboxFile], database_id: str | None
) -> list[Landed | None]:
    """Return the delivery of each file; None: the file must be ingested.

    A file must be ingested if its delivery is pending, or if the file was dropped again or restores
    lost bytes.
    """
    return [
        landed if landed and landed.is_reconciled_in(database_id) else None
        for landed in zone.index.landed(files)
    ]


def _deliveries(
    zone: RawZone, sql: str, values: Mapping[str, str | None], log: logging.Logger
) -> list[Delivery]:
    found = zone.index.ask(lambda asked: asked.execute(sql, values).fetchall())
    return zone.records.read_readable(map(RawName._make, found), log)
