"""Compares a rebuilt database with the old one: lost deliveries, and deliveries read otherwise."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import duckdb

from lfp_pipeline.common.text import pluralize, preview
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import OperationRefusedError
from lfp_pipeline.model.delivery import label_of
from lfp_pipeline.model.ledger_entry import APPLIED, Status
from lfp_pipeline.model.partition_key import is_purge
from lfp_pipeline.operations import Report
from lfp_pipeline.reading.options import Rereading
from lfp_pipeline.warehouse.backend import Backend
from lfp_pipeline.warehouse.database_swap import WarehouseSnapshot, read_differently

_SHOWN = 10

_MAY_BE_LOST = (
    "Pruned. It may contain rows lost in this rebuild. Deliver its file again to restore them."
)

GONE = "it is pruned, or its record is gone, and the tables need it."


@dataclass(frozen=True)
class Comparison:
    """A rebuilt database beside the old one.

    Attributes:
        old: the old database; None if it cannot be read, or does not exist.
        lost: reasons why deliveries are lost, whole or in part, by delivery id.
    """

    old: WarehouseSnapshot | None
    new: WarehouseSnapshot
    lost: Mapping[str, str]

    def require_no_loss(self) -> None:
        """Raise OperationRefusedError if a delivery is lost."""
        if self.lost:
            msg = (
                f"The new database would lack {pluralize(len(self.lost), 'delivery')}, whole or in "
                "part. Nothing was changed. Fix the causes, or accept the loss: "
                "`lfp rebuild --allow-data-loss`\n"
            )
            raise OperationRefusedError(msg + _lines(self.lost))

    def require_same_reading(
        self,
        connection: duckdb.DuckDBPyConnection,
        old_database: Backend,
        rereadings: Mapping[str, Rereading],
    ) -> None:
        """Raise OperationRefusedError if a delivery was read otherwise for the new database.

        Args:
            connection: a connection with the new database attached.
            rereadings: how each delivery was read for the new database, by id.
        """
        if self.old is None:
            return
        found = _read_otherwise(connection, old_database, self.old, self.new, rereadings)
        changed = {id_: reason for id_, reason in found if id_ not in self.lost}
        if changed:
            msg = (
                f"In the new database, {pluralize(len(changed), 'delivery')} would differ from the "
                "merge. Nothing was changed. Restore what has changed, or read all deliveries with "
                "the present settings: `lfp rebuild --use-present-settings`\n"
            )
            raise OperationRefusedError(msg + _lines(changed))

    @property
    def pruned(self) -> set[str]:
        """Ids of pruned deliveries that were merged, and that the new database does not need."""
        entries = self.old.entries if self.old else {}
        merged = {id_ for id_, entry in entries.items() if entry.status is Status.MERGED}
        return merged - set(self.new.entries) - set(self.lost)

    @property
    def unmerged(self) -> dict[str, str]:
        """Reasons why deliveries of the old ledger no longer count as merged, by id."""
        reasons = dict.fromkeys(self.pruned, _MAY_BE_LOST) if self.lost else {}
        reasons |= {
            id_: f"Lost in a rebuild: {reason} Deliver its file again to restore its rows."
            for id_, reason in self.lost.items()
        }
        return {id_: reason for id_, reason in reasons.items() if id_ not in self.new.entries}

    @property
    def report(self) -> Report:
        """The report of the rebuild."""
        deliveries = pluralize(len(self.new.entries), "delivery")
        summary = f"Rebuilt from {deliveries}: {pluralize(self.new.products, 'product')}. "
        if self.lost:
            summary += self._lost_text()
        elif self.old is None:
            summary += "No old database could be read: all deliveries were read with the present "
            summary += "settings."
        elif self.old.digests == self.new.digests:
            summary += "Products and counts are exactly as they were."
        else:
            summary += (
                f"Before, there were {self.old.products:,}, not all the same: some deliveries were "
                "not merged, the settings differed, or the tables were edited."
            )
        figures = {"deliveries": len(self.new.entries), "products": self.new.products}
        return Report(summary, figures)

    def _lost_text(self) -> str:
        labels = preview(_labels(self.lost), limit=_SHOWN)
        text = f"Lost, whole or in part: {pluralize(len(self.lost), 'delivery')}: {labels}. "
        text += "Deliver their files again; or restore the settings, and rebuild again."
        if purges := [id_ for id_ in self.lost if is_purge(id_)]:
            text += f" Purge again what was deleted by {preview(_labels(purges))}."
        if self.pruned:
            number = pluralize(len(self.pruned), "pruned delivery")
            text += f" They may have hidden rows of {number}; deliver these again, too: "
            text += f"{preview(_labels(self.pruned), limit=_SHOWN)}."
        return text


def pruned_and_needed(engine: Engine) -> Iterator[str]:
    """Yield the ids of deliveries that were pruned while the tables needed them."""
    zone = engine.raw_zone.as_of_now()
    desired = zone.desired
    for delivery in zone.all_deliveries():
        name = delivery.raw_name
        if desired.pruned_while_needed(name) and not desired.is_reverted(name):
            yield delivery.delivery_id


def losses(
    engine: Engine, old: WarehouseSnapshot | None, new: WarehouseSnapshot
) -> Iterator[tuple[str, str]]:
    """Yield id and reason for each delivery of the old database that the new one lacks."""
    missing = {
        delivery_id
        for delivery_id, entry in (old or new).entries.items()
        if entry.status is (Status.MERGED if old else Status.FAILED)
    } - {delivery_id for delivery_id, entry in new.entries.items() if entry.status in APPLIED}
    for delivery_id in sorted(missing):
        if (found := new.entries.get(delivery_id)) is not None:
            yield delivery_id, found.error or found.status
        elif old is not None and delivery_id in old.needed:
            yield delivery_id, GONE
    for delivery_id, before in (old.entries if old else {}).items():
        now = new.entries.get(delivery_id)
        if now is not None and now.status is before.status is Status.MERGED:
            more = now.rows.rejected - before.rows.rejected
            if more > 0:
                rejects = pluralize(more, "more row")
                yield delivery_id, f"with the present settings, {rejects} would be rejected."
    if old is None:
        for delivery_id in pruned_and_needed(engine):
            yield delivery_id, "it is pruned, and the tables needed it, or may have."


def _read_otherwise(
    connection: duckdb.DuckDBPyConnection,
    old_database: Backend,
    old: WarehouseSnapshot,
    new: WarehouseSnapshot,
    rereadings: Mapping[str, Rereading],
) -> Iterator[tuple[str, str]]:
    """Yield id and differences of each delivery of both databases that was read otherwise.

    If only the programs differ, or the settings were not recorded, the results are compared.
    """
    suspects = []
    for delivery_id, rereading in rereadings.items():
        then, now = old.entries[delivery_id], new.entries.get(delivery_id)
        if now is None or not then.status is now.status is Status.MERGED:
            continue
        if then.read_with == now.read_with:
            continue
        is_unknown = then.read_conditions is None
        if (is_unknown or rereading.only_programs) and then.is_read_as(now):
            suspects.append(delivery_id)
        else:
            yield delivery_id, "; ".join(rereading.differences)
    if suspects and old.digests["products"] != new.digests["products"]:
        for delivery_id in read_differently(connection, old_database, suspects):
            yield delivery_id, "; ".join(rereadings[delivery_id].differences)


def _labels(delivery_ids: Iterable[str]) -> list[str]:
    return [label_of(delivery_id) for delivery_id in sorted(delivery_ids)]


def _lines(reasons: Mapping[str, str]) -> str:
    lines = [f"{label_of(delivery_id)}: {reason}" for delivery_id, reason in reasons.items()]
    return "\n".join(lines[:_SHOWN])
