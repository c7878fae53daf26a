"""Finds the earlier rows of a sku: in the tables there is only the newest, so files are read again.

A delivery is read as it was read when it was merged. Where that is not possible any more, it is
read with the present settings, and may give other rows than then.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from lfp_pipeline.common.text import format_size
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LfpError
from lfp_pipeline.model.delivery import Delivery, Kind, labels
from lfp_pipeline.model.partition_key import file_name
from lfp_pipeline.operations.read_tables import Row, Tables
from lfp_pipeline.reading.options import ReadOptions, reread
from lfp_pipeline.reading.plain_text import plain_texts
from lfp_pipeline.reading.reader import read_delivery
from lfp_pipeline.reading.workspace import Workspace, WorkspaceLimits, workspace_of
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.deletions import read_skus_to_delete

_LOG = logging.getLogger(__name__)

_OLDER = """
SELECT delivery_id, partition_key, source, size_bytes, read_with, read_conditions
FROM deliveries
WHERE status = 'merged' AND (delivered_at, delivery_id) < ($delivered_at::TIMESTAMP, $delivery_id)
ORDER BY delivered_at DESC, delivery_id DESC
"""

_PRUNED = "its bytes are pruned"


@dataclass(frozen=True)
class EarlierRow:
    """A row of a sku in an older delivery, or the deletion of the sku by a purge.

    Attributes:
        row_number: the position in the file; None: a deletion.
        as_then: whether the delivery was read as when it was merged.
    """

    delivery_id: str
    file: str
    delivered_at: datetime
    row_number: int | None = None
    name: str | None = None
    description: str | None = None
    as_then: bool = True


@dataclass(frozen=True)
class History:
    """The earlier rows of a sku, newest first.

    Attributes:
        unknown: reasons why older deliveries could not be read, by id.
        unread: number of older deliveries that were not read, because they are too many.
    """

    rows: Sequence[EarlierRow]
    unknown: Mapping[str, str]
    unread: int


def earlier_rows(
    engine: Engine,
    tables: Tables,
    sku: str,
    newest: Row,
    limit: int,
    on_progress: Callable[[str], None],
) -> History:
    """Return the rows of a sku in the deliveries that are older than its newest one.

    Args:
        newest: has the delivery id and the time of the product or deletion that counts now.
        limit: largest number of deliveries to read, the newest first.
        on_progress: is called with a sentence before each delivery that is read.
    """
    since = {name: newest[name] for name in ("delivered_at", "delivery_id")}
    older = tables.rows(_OLDER, since)
    files = {
        entry["delivery_id"]: file_name(entry["partition_key"], entry["source"])
        for entry in older[:limit]
    }
    if not older[:limit]:  # A reader of the tables may not be able to write anywhere.
        return History([], {}, len(older))
    names = labels(files)
    unknown: dict[str, str] = {}
    rows: list[EarlierRow] = []
    limits = WorkspaceLimits.of(engine.settings)
    with workspace_of(engine.settings, limits, engine.warehouse, read_only=True) as workspace:
        for number, entry in enumerate(older[:limit], 1):
            id_ = entry["delivery_id"]
            if not engine.raw_zone.keeps(id_):
                unknown[id_] = _PRUNED
                continue
            place, size = f"{number} of {len(files)}", format_size(entry["size_bytes"])
            on_progress(f"Reading older delivery {place}: {names[id_]} ({size})")
            try:
                delivery = engine.raw_zone.find(id_)
                with engine.raw_zone.verified(delivery):
                    rows += _rows(delivery, files[id_], entry, sku, workspace, engine.settings)
            except LfpError as error:
                unknown[id_] = str(error)
    return History(rows, unknown, max(0, len(older) - limit))


def _rows(
    delivery: Delivery,
    file: str,
    entry: Row,
    sku: str,
    workspace: Workspace,
    settings: Settings,
) -> list[EarlierRow]:
    """Return the row of a sku in a delivery, if there is one."""
    connection, wanted = workspace.connection, {"sku": sku}
    id_, at = delivery.delivery_id, delivery.delivered_at
    if delivery.kind is Kind.DELETION:
        read_skus_to_delete(connection, delivery.path)
        sql = "SELECT 1 FROM skus_to_delete WHERE sku = $sku"
        return [EarlierRow(id_, file, at) for _ in connection.execute(sql, wanted).fetchall()]
    way = reread(entry["read_with"], entry["read_conditions"], delivery.text_format, settings)
    options = ReadOptions.of(way.settings)
    with workspace.folder_for(0) as folder:
        texts = plain_texts(delivery, folder, options)
        read_delivery(delivery, texts, connection, folder, options, _LOG)
    sql = "SELECT row_number, name, description FROM winners WHERE sku = $sku"
    return [
        EarlierRow(id_, file, at, number, name, description, as_then=not way.differences)
        for number, name, description in connection.execute(sql, wanted).fetchall()
    ]
