"""The deliveries of a data folder, as the ledger and the raw zone have them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from lfp_pipeline.engine import Engine
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.delivery_state import DeliveryState
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.raw_zone.status_notes import StatusNotes
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
        zone = engine.raw_zone.as_of_now()
        recorded, unreadable = zone.survey()
        state_of = zone.desired.state_of
        state = {
            delivery: state_of(delivery, status_of.get(delivery.delivery_id))
            for delivery in recorded
        }
        kept = [delivery for delivery in recorded if state[delivery].bytes_kept]
        merged = frozenset(id_ for id_, status in status_of.items() if status is Status.MERGED)

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
            reconciled=[delivery for delivery in kept if state[delivery].is_reconciled],
            replayable=[
                delivery
                for delivery in recorded
                if state[delivery].is_replayable
                and state[delivery].is_reconciled
                and state[delivery].recorded is not Status.REFUSED
            ],
            pending_reversals=merged
            & {delivery.delivery_id for delivery in kept if not state[delivery].needs_bytes},
            wrongly_noted=_wrongly_noted(zone.notes, engine.warehouse.cached_id(), state),
        )


def _wrongly_noted(
    notes: StatusNotes, database_id: str | None, state: Mapping[Delivery, DeliveryState]
) -> frozenset[str]:
    wrong = set()
    for delivery, of_delivery in state.items():
        noted = notes.status_in(delivery.raw_name, database_id)
        if of_delivery.bytes_kept:
            expected = of_delivery.recorded if of_delivery.is_reconciled else None
        else:  # A pruned delivery needs no note; but it may have one, which may be wrong.
            expected = noted and of_delivery.recorded
        if noted != expected:
            wrong.add(delivery.delivery_id)
    return frozenset(wrong)
