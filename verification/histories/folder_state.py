"""A data folder as plain dicts: the raw zone, its marks, the ledger, and the tables that follow."""

import copy
from dataclasses import dataclass, field, replace
from typing import Any, Self

from testing.expected_tables import (
    Deletion,
    File,
    MergedFile,
    Order,
    count_names,
    count_winners,
    expected_deletions,
    expected_products,
    last_deletions,
    order_of,
)
from verification.histories.rules import Rules, Version, read

MERGED, REFUSED, REVERTED, UNAVAILABLE = "merged", "refused", "reverted", "failed"
FINAL = {MERGED, REFUSED, REVERTED}

Tables = dict[str, list[tuple[Any, ...]]]


@dataclass
class Marks:
    """What the raw zone holds: the ids of deliveries that have landed, are reverted, are pruned.

    Attributes:
        stated: the times that the sources of files stated, in microseconds, by delivery id.
    """

    landed: set[str] = field(default_factory=set)
    reverted: set[str] = field(default_factory=set)
    pruned: set[str] = field(default_factory=set)
    stated: dict[str, int] = field(default_factory=dict)


@dataclass
class FolderState:
    """The raw zone, and the final status of deliveries in the ledger; the rest follows.

    Attributes:
        files: that have landed, by delivery id.
        deletions: that have landed, by delivery id.
        reverted: deliveries whose desired state is reverted.
        pruned: deliveries without bytes.
        ledger: status by delivery id.
        to_retry: deliveries that landed again after they were pruned or refused, and were not
            ingested since.
        rules: the present ones.
        read_as: the rules that each file was read by which is merged or refused, or was merged and
            is reverted.
        permitted: deliveries that may be reverted by reading older files by the present rules.
        completes: of a delivery that completes an unfinished upload, the id of that upload.
        due: deliveries that revert what they complete once they are merged, and have not done so.
        reverts_unfinished: whether merged deliveries do so; not within the batch that merges them.
        odd_names: entries of the inbox that are never ingested.
        refused_before_loss: deliveries that lost databases had refused, as the raw zone notes it.
        snapshots: the tables of the kept snapshots of a lake, as text, by number.
    """

    files: dict[str, Version] = field(default_factory=dict)
    deletions: dict[str, Deletion] = field(default_factory=dict)
    reverted: set[str] = field(default_factory=set)
    pruned: set[str] = field(default_factory=set)
    ledger: dict[str, str] = field(default_factory=dict)
    to_retry: set[str] = field(default_factory=set)
    rules: Rules = field(default_factory=Rules)
    read_as: dict[str, Rules] = field(default_factory=dict)
    permitted: set[str] = field(default_factory=set)
    completes: dict[str, str] = field(default_factory=dict)
    due: set[str] = field(default_factory=set)
    reverts_unfinished: bool = True
    odd_names: frozenset[str] = frozenset()
    refused_before_loss: frozenset[str] = frozenset()
    snapshots: dict[int, str] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        """All deliveries, oldest first."""
        return sorted([*self.files, *self.deletions], key=self.order)

    def order(self, id_: str) -> Order:
        return order_of(self.files.get(id_) or self.deletions[id_])

    def desired_status(self, id_: str) -> str:
        if id_ in self.reverted:
            return REVERTED
        is_refused = id_ in self.files and read(self.files[id_], self.rules_of(id_)).is_refused
        return REFUSED if is_refused else MERGED

    def rules_of(self, id_: str) -> Rules:
        """Return the rules that a file is read by next: those of its merge, if it was merged."""
        if self.ledger.get(id_) == REFUSED:
            return self.rules
        return self.read_as.get(id_, self.rules)

    def is_replayable(self, id_: str) -> bool:
        """Whether a delivery can get its desired state: without bytes, only reverting works."""
        return id_ not in self.pruned or id_ in self.reverted

    def is_reconciled(self, id_: str) -> bool:
        """Whether the ledger has the desired state."""
        status = self.ledger.get(id_)
        return status in FINAL and (status == REVERTED) == (id_ in self.reverted)

    @property
    def pending_deliveries(self) -> list[str]:
        return [
            id_
            for id_ in self.ids
            if self.is_replayable(id_)
            and (not self.is_reconciled(id_) or id_ in self.to_retry or self.is_due(id_))
        ]

    def is_due(self, id_: str) -> bool:
        """Whether a delivery is merged, and has yet to revert what it completes."""
        return id_ in self.due and self.ledger.get(id_) == MERGED

    @property
    def merged_files(self) -> list[File]:
        return [file for id_, file in self.files.items() if self.ledger.get(id_) == MERGED]

    @property
    def _merged_deletions(self) -> list[Deletion]:
        return [one for id_, one in self.deletions.items() if self.ledger.get(id_) == MERGED]

    @property
    def last_deletions(self) -> dict[str, Order]:
        """The last deletion of each sku that was ever deleted."""
        return last_deletions(self._merged_deletions)

    @property
    def products(self) -> dict[str, tuple[Any, ...]]:
        """The rows of `products`, by sku. A pruned delivery has none in effect."""
        files = [
            MergedFile(id_, file.delivered_at, read(file, self.read_as[id_]).winners)
            for id_, file in self.files.items()
            if self.ledger.get(id_) == MERGED and id_ not in self.pruned
        ]
        return {row[0]: row for row in expected_products(files, self._merged_deletions)}

    def rows_in_effect(self, id_: str) -> int:
        """Count the skus that a delivery has won, or was the last to delete."""
        won = sum(row[3] == id_ for row in self.products.values())
        return won + sum(deleter == id_ for _, deleter in self.last_deletions.values())

    def pruned_before(self, id_: str) -> list[str]:
        """Return the older deliveries that are merged and pruned."""
        return [
            older
            for older in self.pruned
            if self.ledger.get(older) == MERGED and self.order(older) < self.order(id_)
        ]

    def unseen_before(self, id_: str) -> list[str]:
        """Return the older pruned deliveries that a new database has not seen.

        A refused delivery had no rows.
        """
        return [
            older
            for older in self.pruned - self.reverted - set(self.ledger) - self.refused_before_loss
            if self.order(older) < self.order(id_)
        ]

    def would_lose_rows(self, id_: str) -> bool:
        """Whether a reversal may need rows of pruned deliveries."""
        lost = self.pruned_before(id_) or self.unseen_before(id_)
        return bool(self.rows_in_effect(id_) and lost)

    @property
    def tables(self) -> Tables:
        products = sorted(self.products.values())
        return {
            "products": products,
            "name_counts": count_names(products),
            "deletions": expected_deletions(self._merged_deletions),
            "ledger": sorted(self._entry(id_, status) for id_, status in self.ledger.items()),
            "rejected_rows": sorted(
                (id_, number)
                for id_, status in self.ledger.items()
                if id_ in self.files and status in {MERGED, REFUSED}
                for number in read(self.files[id_], self.read_as[id_]).rejects
            ),
            "recorded": [
                (id_, rules)
                for id_, rules in self.read_as.items()
                if self.ledger[id_] in {MERGED, REVERTED}
            ],
        }

    def _entry(self, id_: str, status: str) -> tuple[Any, ...]:
        at, _ = self.order(id_)
        if status != MERGED:
            return id_, status, at, 0, 0, 0, 0, True
        if id_ in self.deletions:
            return id_, status, at, len(self.deletions[id_].skus), 0, 0, 0, True
        file = self.files[id_]
        found = read(file, self.read_as[id_])
        superseded, rejected = len(found.accepted) - len(found.winners), len(found.rejects)
        return id_, status, at, len(file.records), superseded, rejected, 0, True

    def row_counts(self, file: File) -> tuple[int, int, int, int]:
        """Count the rows of an arriving file: inserted, updated, unchanged, stale."""
        winners = read(file, self.rules_of(file.delivery_id)).winners
        arriving = MergedFile(file.delivery_id, file.delivered_at, winners)
        counts = count_winners(arriving, self.products.values(), self.last_deletions)
        return counts["inserted"], counts["updated"], counts["unchanged"], counts["stale"]

    @property
    def marks(self) -> Marks:
        stated = {id_: file.stated_microseconds for id_, file in self.files.items()}
        landed = {*self.files, *self.deletions}
        return Marks(landed, set(self.reverted), set(self.pruned), stated)

    def with_marks(self, marks: Marks) -> Self:
        """Return this state where the raw zone has only these marks."""

        def landed(entries: dict[str, Any]) -> dict[str, Any]:
            return {id_: entry for id_, entry in entries.items() if id_ in marks.landed}

        return replace(
            self,
            files={
                id_: _with_stated(file, marks.stated[id_])
                for id_, file in landed(self.files).items()
            },
            deletions=landed(self.deletions),
            reverted=set(marks.reverted),
            pruned=set(marks.pruned),
            ledger=landed(self.ledger),
            to_retry=self.to_retry & marks.landed,
            read_as=landed(self.read_as),
            permitted=set(self.permitted),
            completes=landed(self.completes),
            due=self.due & marks.landed,
        )

    def copy(self) -> Self:
        return copy.deepcopy(self)


def _with_stated(file: Version, microseconds: int) -> Version:
    return replace(file, stated=None if microseconds == file.microseconds else microseconds)
