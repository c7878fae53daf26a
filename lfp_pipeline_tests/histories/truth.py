"""What must be in the tables, told by plain dicts from what the raw zone holds."""

import copy
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from lfp_pipeline.engine import Engine
from lfp_pipeline_tests.oracle import TABLES, File

MERGED, REFUSED, REVERTED, FORGONE = "merged", "refused", "reverted", "failed"

MAX_REJECT_SHARE = 0.5

Age = tuple[datetime, str]
Tables = dict[str, list[tuple[Any, ...]]]

_SEEN = {name: TABLES[name] for name in ("products", "name_counts")} | {
    "deletions": "SELECT sku, delivery_id, delivered_at FROM deletions",
    "ledger": """
        SELECT delivery_id, status, delivered_at, rows_read, rows_superseded, rows_rejected,
            rows_read - rows_inserted - rows_updated - rows_unchanged - rows_superseded
                - rows_stale - rows_rejected - rows_deleted AS missing,
            blank_lines >= 0 AND repeated_headers >= 0 AND lines_above_header >= 0 AS counted
        FROM deliveries
    """,
    "rejected_rows": "SELECT delivery_id, row_number FROM rejected_rows",
}

_TABLE_COUNT = "SELECT count(*) FROM duckdb_tables() WHERE database_name = 'looked_at'"


@dataclass(frozen=True)
class Deletion:
    """A purge that has landed."""

    delivery_id: str
    delivered_at: datetime
    skus: frozenset[str]


@dataclass
class Notes:
    """What the raw zone holds: ids of deliveries, and what people want of them."""

    landed: set[str] = field(default_factory=set)
    reverted: set[str] = field(default_factory=set)
    pruned: set[str] = field(default_factory=set)


@dataclass
class Truth:
    """The raw zone, and the status in the ledger of what came to an end; the rest follows.

    Attributes:
        come_again: what was pruned, has landed again, and was not looked at since.
    """

    files: dict[str, File] = field(default_factory=dict)
    deletions: dict[str, Deletion] = field(default_factory=dict)
    reverted: set[str] = field(default_factory=set)
    pruned: set[str] = field(default_factory=set)
    ledger: dict[str, str] = field(default_factory=dict)
    come_again: set[str] = field(default_factory=set)

    # What happens

    def land(self, file: File) -> None:
        self.files[file.delivery_id] = file
        if file.delivery_id in self.pruned:  # Whether it counts is to be looked at again.
            self.pruned.discard(file.delivery_id)
            self.come_again.add(file.delivery_id)

    def take_in(self, ids: Iterable[str]) -> None:
        """Have the ledger follow the raw zone for some deliveries."""
        for id_ in ids:
            if self.can_follow(id_):
                forgone = self._forgone_by(id_) if id_ in self.reverted else []
                self.ledger[id_] = self.wanted(id_)
                self.ledger |= dict.fromkeys(forgone, FORGONE)
                self.come_again.discard(id_)

    def _forgone_by(self, id_: str) -> list[str]:
        """Merged deliveries that are pruned, and may have had what falls to others now."""
        held = {sku for sku, row in self.products.items() if row[3] == id_}
        held |= {
            sku
            for sku, (_, deleter) in self.last_deletions.items()
            if deleter == id_ and sku not in self.products
        }
        after = replace(self, ledger=self.ledger | {id_: REVERTED})
        found = {sku: (row[4], row[3]) for sku, row in after.products.items()}
        deleted = after.last_deletions

        def may_have(age: Age, sku: str) -> bool:
            return max(age, found.get(sku, age), deleted.get(sku, age)) == age

        def has_kept_twin(one: str) -> bool:
            """The same bytes are kept in a later delivery, which tells what this one had."""
            return any(
                file.content == self.files[one].content
                and file.delivery_id not in self.pruned
                and self.age(one) < self.age(file.delivery_id) < self.age(id_)
                for file in after.merged_files
            )

        return [
            one
            for one in self.pruned_before(id_)
            if any(may_have(self.age(one), sku) for sku in held) and not has_kept_twin(one)
        ]

    def lose_database(self) -> None:
        self.ledger.clear()

    # What follows

    @property
    def ids(self) -> list[str]:
        """Of all deliveries, oldest first."""
        return sorted([*self.files, *self.deletions], key=self.age)

    def age(self, id_: str) -> Age:
        return (self.files.get(id_) or self.deletions[id_]).delivered_at, id_

    def wanted(self, id_: str) -> str:
        """The status that a delivery is to have."""
        if id_ in self.reverted:
            return REVERTED
        return REFUSED if id_ in self.files and is_refused(self.files[id_]) else MERGED

    def can_follow(self, id_: str) -> bool:
        """Without its bytes, a delivery can only be taken out."""
        return id_ not in self.pruned or id_ in self.reverted

    def is_settled(self, id_: str) -> bool:
        """Whether the ledger says what people want."""
        return self.ledger.get(id_) == self.wanted(id_)

    @property
    def unended(self) -> list[str]:
        return [
            id_
            for id_ in self.ids
            if self.can_follow(id_) and (not self.is_settled(id_) or id_ in self.come_again)
        ]

    @property
    def merged_files(self) -> list[File]:
        return [file for id_, file in self.files.items() if self.ledger.get(id_) == MERGED]

    @property
    def last_deletions(self) -> dict[str, Age]:
        """Of each sku that was ever deleted, by whom last."""
        last: dict[str, Age] = {}
        for id_, deletion in self.deletions.items():
            if self.ledger.get(id_) == MERGED:
                for sku in deletion.skus:
                    last[sku] = max(last.get(sku, self.age(id_)), self.age(id_))
        return last

    @property
    def products(self) -> dict[str, tuple[Any, ...]]:
        """The rows of `products`, by sku. What was pruned is gone."""
        best: dict[str, tuple[Age, tuple[Any, ...]]] = {}
        for file in self.merged_files:
            if file.delivery_id in self.pruned:
                continue
            age = self.age(file.delivery_id)
            for sku, (number, row) in file.winners.items():
                if sku not in best or age > best[sku][0]:
                    best[sku] = age, (*row, file.delivery_id, file.delivered_at, number)
        deleted = self.last_deletions
        return {
            sku: row for sku, (age, row) in best.items() if sku not in deleted or age > deleted[sku]
        }

    def orphans(self, id_: str) -> int:
        """How many skus a delivery has won, or was the last to delete."""
        won = sum(row[3] == id_ for row in self.products.values())
        return won + sum(deleter == id_ for _, deleter in self.last_deletions.values())

    def pruned_before(self, id_: str) -> list[str]:
        """Merged deliveries, older than that one, whose bytes are gone."""
        return [
            one
            for one in self.pruned
            if self.ledger.get(one) == MERGED and self.age(one) < self.age(id_)
        ]

    def unknown_before(self, id_: str) -> list[str]:
        """Of pruned deliveries, older than that one, those that a new database has not seen."""
        return [
            one
            for one in self.pruned - self.reverted - set(self.ledger)
            if self.age(one) < self.age(id_)
        ]

    @property
    def tables(self) -> Tables:
        products = self.products
        return {
            "products": sorted(products.values()),
            "name_counts": sorted(Counter(row[1] for row in products.values()).items()),
            "deletions": sorted((sku, id_, at) for sku, (at, id_) in self.last_deletions.items()),
            "ledger": sorted(self._entry(id_, status) for id_, status in self.ledger.items()),
            "rejected_rows": sorted(
                (id_, number)
                for id_, status in self.ledger.items()
                if id_ in self.files and status in {MERGED, REFUSED}
                for number in rejects(self.files[id_])
            ),
        }

    def _entry(self, id_: str, status: str) -> tuple[Any, ...]:
        at, _ = self.age(id_)
        if status != MERGED:
            return id_, status, at, 0, 0, 0, 0, True
        if id_ in self.deletions:
            return id_, status, at, len(self.deletions[id_].skus), 0, 0, 0, True
        file = self.files[id_]
        superseded = len(file.accepted) - len(file.winners)
        return id_, status, at, len(file.records), superseded, len(rejects(file)), 0, True

    def fates(self, file: File) -> tuple[int, int, int, int]:
        """Of a file that arrives now, how many rows are inserted, updated, unchanged and stale."""
        fates = Counter[str]()
        products, deleted = self.products, self.last_deletions
        age = file.delivered_at, file.delivery_id
        for sku, (_, row) in file.winners.items():
            *known, id_, at, _ = products.get(sku, (None, None, None))
            if max((at, id_) if id_ else age, deleted.get(sku, age)) > age:
                fates["stale"] += 1
            elif id_ is None:
                fates["inserted"] += 1
            else:
                fates["unchanged" if tuple(known) == row else "updated"] += 1
        return fates["inserted"], fates["updated"], fates["unchanged"], fates["stale"]

    @property
    def notes(self) -> Notes:
        return Notes({*self.files, *self.deletions}, set(self.reverted), set(self.pruned))

    def noted(self, notes: Notes) -> "Truth":
        """The same where only that much was noted in the raw zone."""
        return Truth(
            {id_: file for id_, file in self.files.items() if id_ in notes.landed},
            {id_: one for id_, one in self.deletions.items() if id_ in notes.landed},
            set(notes.reverted),
            set(notes.pruned),
            {id_: status for id_, status in self.ledger.items() if id_ in notes.landed},
            self.come_again & notes.landed,
        )

    def copy(self) -> "Truth":
        return copy.deepcopy(self)


def rejects(file: File) -> Collection[int]:
    """The numbers of the rows that are not accepted."""
    return [number for number in file.records if number not in file.accepted]


def is_refused(file: File) -> bool:
    return len(rejects(file)) > MAX_REJECT_SHARE * len(file.records)


class Looker:
    """Looks at databases, by a connection of its own: that is made once, which takes long."""

    def __init__(self) -> None:
        self._connection = duckdb.connect(config={"threads": 1})

    def tables(self, engine: Engine) -> Tables:
        """All tables as they are, sorted; empty where there are none."""
        path, connection = engine.warehouse.path, self._connection
        if not path.exists():
            return {name: [] for name in _SEEN}
        connection.execute(f"ATTACH '{path}' AS looked_at (READ_ONLY)")
        try:
            connection.execute("USE looked_at")
            # Whoever died before he made them has made none.
            (count,) = connection.execute(_TABLE_COUNT).fetchall()[0]
            return {
                name: sorted(connection.execute(sql).fetchall()) if count else []
                for name, sql in _SEEN.items()
            }
        finally:
            connection.execute("USE memory")
            connection.execute("DETACH looked_at")


def notes_of(raw: Path) -> Notes:
    """What the names of the files in a raw zone tell."""

    def ids(suffix: str) -> set[str]:
        paths = raw.glob(f"*/[!.]*{suffix}")
        return {f"{path.parent.name}#{path.stem.replace('-', '#')}" for path in paths}

    notes = Notes(ids(".json"), ids(".reverted"), ids(".pruned"))
    assert notes.landed <= ids(".raw") | notes.pruned
    return notes
