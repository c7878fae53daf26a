"""Moves all data to several hosts, or back into a folder, and compares the tables row for row.

The raw zone is copied, and the tables are rebuilt from the copy; the history of the ledger, which
the raw zone does not determine, is copied, too. The source stays as it is.
"""

import logging
from pathlib import Path
from typing import Any

from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.common.text import pluralize, preview
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import OperationRefusedError, WarehouseInconsistentError
from lfp_pipeline.model.delivery import label_of
from lfp_pipeline.operations import Report
from lfp_pipeline.operations.rebuild import rebuild_products
from lfp_pipeline.raw_zone.copying import copy_deliveries
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.backend import Backend
from lfp_pipeline.warehouse.database_swap import differences
from lfp_pipeline.warehouse.ledger import record_operation


def move_data(
    source: Engine, target: Engine, log: logging.Logger, *, database: Backend | None = None
) -> Report:
    """Copy the raw zone of an engine to another one, rebuild the tables there, and compare them.

    It can be repeated after a failure.

    Args:
        database: a copy of the source's database; None: that database itself.

    Raises:
        OperationRefusedError: the source has no database, or the target has other deliveries.
        WarehouseInconsistentError: the tables differ. The source is as it was.
        LfpError: a part failed; the message says which.
    """
    started = utc_now()
    original = database or source.warehouse
    if not original.exists:
        msg = f"There is no database at {original.location}. Run `lfp ingest` there first."
        raise OperationRefusedError(msg)
    _require_no_others(source, target)
    deliveries = copy_deliveries(source.raw_zone, target.raw_zone, log)
    rebuild_products(target, log, like=original)
    with target.warehouse.session("comparing", log) as connection:
        if found := differences(connection, original):
            tables = ", ".join(f"{table} in {rows:,} rows" for table, rows in found.items())
            msg = (
                f"The tables of {target.warehouse.location} differ from those of "
                f"{original.location}: {tables}. Run `lfp verify` for both; do not use the copy."
            )
            raise WarehouseInconsistentError(msg)
        ((products,),) = connection.execute("SELECT count(*) FROM warehouse.products").fetchall()
        summary = (
            f"Moved {pluralize(deliveries, 'delivery')} and {pluralize(products, 'product')} from "
            f"{original.location} to {target.warehouse.location}. All tables are the same, row for "
            "row."
        )
        record_operation(connection, "move_data", started, summary)
    return Report(summary, {"deliveries": deliveries, "products": products})


def folder_engine(folder: Path, *, read_only: bool = False) -> Engine:
    """Return the engine of a data folder on one machine, whatever the environment sets."""
    own: dict[str, Any] = dict.fromkeys(("catalog", "lake", "raw", "inbox", "broker"))
    return Engine(Settings(data_dir=folder, **own), read_only=read_only)


def _require_no_others(source: Engine, target: Engine) -> None:
    """Raise if the target has a delivery that the source lacks."""
    here = {delivery.delivery_id for delivery in source.raw_zone.all_deliveries()}
    there = {delivery.delivery_id for delivery in target.raw_zone.all_deliveries()}
    if others := sorted(there - here):
        msg = (
            f"{target.settings.raw_place} has {pluralize(len(others), 'delivery')} that "
            f"{source.settings.raw_place} lacks: {preview(list(map(label_of, others)))}. Move the "
            "data to a place without deliveries."
        )
        raise OperationRefusedError(msg)
