"""The deliveries of a data folder, as the ledger and the raw zone have them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from lfp_pipeline.engine import Engine
from lfp_pipeline.ingest.batch_merge import is_reconciled
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.operations.shadow_build import is_in_reach
from lfp_pipeline.raw_zone.desired_state import is_pruned, is_reverted
from lfp_pipeline.raw_zone.status_notes import read_status
from lfp_pipeline.warehouse.invariants import needed_deliveries
from lfp_pipeline.warehouse.ledger import statuses

_KINDS = "SELECT delivery_id, kind FROM warehouse.deliveries"


@dataclass(frozen=True)
class Inventory:
    """What the ledger and the raw zone say.

    Attributes:
        merged: ids of the deliveries that are merged, by the ledger.
        needed: ids of the deliveries that hold present products and deletions.
        recorded: ids of all deliveries in the raw zone.
        unreadable: messages about records that cannot be read.
        of_another_kind: ids of deliveries whose records have another kind than the ledger.
        kept: the deliveries in the raw zone that are not pruned, oldest first.
        reconciled: those of `kept` that are merged or reverted as desired; the others are pending.
        replayable: the reconciled deliveries that another database can merge or revert. Refused
            deliveries are left out: they are in no table, and may be accepted now.
        pending_reversals: ids of the merged deliveries that are marked as reverted.
        wrongly_noted: ids of the deliveries whose status notes differ from the ledger.
    """

    merged: frozenset[str]
    needed: frozenset[str]
    recorded: frozenset[str]
    unreadable: Sequence[str]
    of_another_kind: frozenset[str]
    kept: Sequence[Delivery]
    reconciled: Sequence[Delivery]
    replayable: Sequence[Delivery]
    pending_reversals: frozenset[str]
    wrongly_noted: frozenset[str]

    @classmethod
    def of(cls, engine: Engine, connection: duckdb.DuckDBPyConnection) -> "Inventory":
        """Take the inventory under the writer lock, so that the ledger does not change."""
        status_of = statuses(connection)
        kind_of = dict(connection.execute(_KINDS).fetchall())
        recorded, unreadable = engine.raw_zone.survey()
        kept = [delivery for delivery in recorded if not is_pruned(delivery.path)]
        merged = frozenset(id_ for id_, status in status_of.items() if status is Status.MERGED)

        def as_desired(delivery: Delivery) -> bool:
            return is_reconciled(delivery, status_of.get(delivery.delivery_id))

        return cls(
            merged=merged,
            needed=needed_deliveries(connection),
            recorded=frozenset(delivery.delivery_id for delivery in recorded),
            unreadable=unreadable,
            of_another_kind=frozenset(
                delivery.delivery_id
                for delivery in recorded
                if kind_of.get(delivery.delivery_id, delivery.kind) != delivery.kind
            ),
            kept=kept,
            reconciled=[delivery for delivery in kept if as_desired(delivery)],
            replayable=[
                delivery
                for delivery in recorded
                if is_in_reach(delivery)
                and as_desired(delivery)
                and status_of[delivery.delivery_id] is not Status.REFUSED
            ],
            pending_reversals=merged
            & {delivery.delivery_id for delivery in kept if is_reverted(delivery.path)},
            wrongly_noted=_wrongly_noted(engine, recorded, kept, status_of),
        )


def _wrongly_noted(
    engine: Engine,
    recorded: Sequence[Delivery],
    kept: Sequence[Delivery],
    status_of: Mapping[str, Status],
) -> frozenset[str]:
    database_id = engine.warehouse.cached_id()
    noted = {delivery.delivery_id: read_status(delivery.path, database_id) for delivery in recorded}
    expected: dict[str, Status | None] = {
        delivery.delivery_id: status_of[delivery.delivery_id]
        for delivery in kept
        if is_reconciled(delivery, status_of.get(delivery.delivery_id))
    }
    # A pruned delivery needs no note; but it may have one, which may be wrong.
    pruned = noted.keys() - {delivery.delivery_id for delivery in kept}
    expected |= {id_: status_of.get(id_) for id_ in pruned if noted[id_] is not None}
    return frozenset(id_ for id_, status in noted.items() if status != expected.get(id_))
