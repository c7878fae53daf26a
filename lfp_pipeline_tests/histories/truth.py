"""What must be in the tables, told by plain dicts from what the raw zone holds."""

import copy
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from lfp_pipeline.engine import Engine
from lfp_pipeline.landing.partition_key import PURGES
from lfp_pipeline_tests.histories.rules import Rules, Version, read
from lfp_pipeline_tests.oracle import TABLES, File

MERGED, REFUSED, REVERTED, FORGONE = "merged", "refused", "reverted", "failed"
ENDS = {MERGED, REFUSED, REVERTED}

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
    "recorded": """
        SELECT delivery_id, read_conditions FROM deliveries WHERE read_conditions IS NOT NULL
    """,
}

_TABLE_COUNT = "SELECT count(*) FROM duckdb_tables() WHERE database_name = 'looked_at'"


@dataclass(frozen=True)
class Deletion:
    """A purge that has landed."""

    delivery_id: str
    delivered_at: datetime
    skus: frozenset[str]


_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 (as in the records: UTC without a zone)


@dataclass
class Notes:
    """What the raw zone holds: ids of deliveries, and what people want of them.

    Attributes:
        stated: the times that the sources of files stated, in microseconds, by delivery id.
    """

    landed: set[str] = field(default_factory=set)
    reverted: set[str] = field(default_factory=set)
    pruned: set[str] = field(default_factory=set)
    stated: dict[str, int] = field(default_factory=dict)


@dataclass
class Reversal:
    """What becomes of older deliveries when one is taken out.

    Attributes:
        forgone: those that are pruned, and may have had what falls to others now.
        corrected: those that are read by other rules than before.
        is_refused: whether one of these is refused then; and so is the reversal.
    """

    forgone: list[str] = field(default_factory=list)
    corrected: list[str] = field(default_factory=list)
    is_refused: bool = False


@dataclass
class Truth:
    """The raw zone, and the status in the ledger of what came to an end; the rest follows.

    Attributes:
        come_again: what was pruned or refused, has landed again, and was not looked at since.
        rules: those of now.
        read_as: by which each file was read that is merged or refused, or was merged and is
            reverted.
        permitted: what is to be out though older files may have to be read by other rules.
        completes: of what completes an unfinished upload, that one.
        due: of these, those that take it out once they are merged: they have not done so yet, or
            count again as if they had just arrived.
        takes_out: whether they do so; not, while the batch that they are merged in is.
        odd_names: of what lies in the inbox and is never taken in.
        noted_refused: what the databases that were lost had refused, as the raw zone notes it.
    """

    files: dict[str, Version] = field(default_factory=dict)
    deletions: dict[str, Deletion] = field(default_factory=dict)
    reverted: set[str] = field(default_factory=set)
    pruned: set[str] = field(default_factory=set)
    ledger: dict[str, str] = field(default_factory=dict)
    come_again: set[str] = field(default_factory=set)
    rules: Rules = field(default_factory=Rules)
    read_as: dict[str, Rules] = field(default_factory=dict)
    permitted: set[str] = field(default_factory=set)
    completes: dict[str, str] = field(default_factory=dict)
    due: set[str] = field(default_factory=set)
    takes_out: bool = True
    odd_names: frozenset[str] = frozenset()
    noted_refused: frozenset[str] = frozenset()

    # What happens

    def placed(self, file: File, landed_before: Iterable[File] = ()) -> File:
        """A file as it lands after others.

        Of two versions with one time, the later landed is newer, and so is what lands after a
        version of the future.
        """
        stated, now = file.microseconds, time.time_ns() // 1000
        # The same delivery once more may have another stated time: the last one counts.
        before = {one.delivery_id: one for one in (*self.files.values(), *landed_before)}
        known = [one for one in before.values() if one.key == file.key]
        newest = max((one.microseconds for one in known), default=now)
        alike = [one for one in known if one.stated_microseconds == stated]
        last = max(alike, key=lambda one: one.microseconds, default=None)
        is_newest = last is not None and last.microseconds == newest
        if last and last.content == file.content and (is_newest or newest <= now):
            return last
        if newest > now >= stated:
            at = newest + 1
        else:
            taken = {one.microseconds for one in known if one.content != file.content}
            first = max(stated, last.microseconds + 1) if last else stated
            at = next(at for at in itertools.count(first) if at not in taken)
        return replace(file, microseconds=at, stated=None if at == stated else stated)

    def land(self, file: Version) -> None:
        id_ = file.delivery_id
        if id_ not in self.files:
            before = [one for one in self.files.values() if one.key == file.key]
            newest = max(before, key=lambda one: self.age(one.delivery_id), default=None)
            if newest and _is_unfinished(newest, file):
                self.completes[id_] = newest.delivery_id
        elif id_ in self.pruned:  # Whether it counts is to be looked at again.
            self.pruned.discard(id_)
            self.come_again.add(id_)
        else:
            self.files[id_] = file  # Its source may date it otherwise now.
            if self.ledger.get(id_) == REFUSED:  # It is tried again.
                self.come_again.add(id_)
            return
        self.files[id_] = file
        self.expect(id_)

    def expect(self, id_: str) -> None:
        """Have a delivery take out what it completes once it is merged."""
        self.due |= {id_} & self.completes.keys()

    def take_in(self, ids: Iterable[str]) -> None:
        """Have the ledger follow the raw zone for some deliveries."""
        ids = list(ids)
        for id_ in ids:
            if self.can_follow(id_):
                self.come_again.discard(id_)
                if id_ in self.reverted:
                    self._take_out(id_)
                elif self.ledger.get(id_) != MERGED:
                    self.ledger[id_], rules = self.wanted(id_), self.rules_of(id_)
                    if id_ in self.files:
                        self.read_as[id_] = rules
        for id_ in ids if self.takes_out else ():
            if self._is_due(id_):
                self.due.discard(id_)
                self._take_out_unfinished(self.completes[id_])

    def _take_out_unfinished(self, id_: str) -> None:
        """Nobody has asked for it, so nothing may be lost by it."""
        if id_ not in self.reverted and not self.would_lose(id_):
            self.reverted.add(id_)
            self.permitted.discard(id_)
            self.come_again.discard(id_)
            self._take_out(id_)

    def would_lose(self, id_: str) -> bool:
        """Whether, if that is reverted, something may be gone that pruned deliveries had."""
        return bool(self.orphans(id_) and (self.pruned_before(id_) or self.unknown_before(id_)))

    def _take_out(self, id_: str) -> None:
        if self.ledger.get(id_) == REVERTED:
            return
        reversal = self.reversal(id_, use_present=id_ in self.permitted)
        assert not reversal.is_refused
        if self.ledger.get(id_) == REFUSED:
            del self.read_as[id_]
        self.ledger[id_] = REVERTED
        for one in reversal.forgone:
            self.ledger[one] = FORGONE
            del self.read_as[one]
        self.read_as |= dict.fromkeys(reversal.corrected, self.rules)

    def reversal(self, id_: str, *, use_present: bool) -> "Reversal":
        """What becomes of older deliveries when one is taken out: they are read, newest first."""
        products = self.products
        sought = {sku for sku, row in products.items() if row[3] == id_}
        sought |= {
            sku
            for sku, (_, deleter) in self.last_deletions.items()
            if deleter == id_ and sku not in products
        }
        deleted = replace(self, ledger=self.ledger | {id_: REVERTED}).last_deletions
        found: set[str] = set()
        looked_into = set()
        done = Reversal()
        for older in reversed(self.ids):
            if self.ledger.get(older) != MERGED or older not in self.files:
                continue
            if self.age(older) >= self.age(id_):
                continue
            age, file, rules = self.age(older), self.files[older], self.read_as[older]
            missing = {sku for sku in sought - found if deleted.get(sku, age) <= age}
            if not missing or (file.content, rules) in looked_into:
                continue
            if older in self.pruned:
                done.forgone.append(older)
            elif use_present and rules != self.rules:
                done.is_refused |= read(file, self.rules).is_refused
                done.corrected.append(older)
                sought |= {sku for sku, row in products.items() if row[3] == older}
                out = {id_, *done.corrected}
                for sku in read(file, self.rules).winners:
                    *_, holder, at, _ = products.get(sku, (None, None, id_, None, None))
                    if holder in out or (at, holder) < age:
                        found |= {sku} if deleted.get(sku, age) <= age else set()
                looked_into.add((file.content, self.rules))
            else:
                found |= missing & read(file, rules).winners.keys()
                looked_into.add((file.content, rules))
        return done

    def lose_database(self) -> None:
        refused = {id_ for id_, status in self.ledger.items() if status == REFUSED}
        self.noted_refused = (self.noted_refused - self.ledger.keys()) | refused
        self.ledger.clear()
        self.read_as.clear()

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
        is_refused = id_ in self.files and read(self.files[id_], self.rules_of(id_)).is_refused
        return REFUSED if is_refused else MERGED

    def rules_of(self, id_: str) -> Rules:
        """By which a file is read when it is read next: as it was, if it was merged before."""
        if self.ledger.get(id_) == REFUSED:
            return self.rules
        return self.read_as.get(id_, self.rules)

    def can_follow(self, id_: str) -> bool:
        """Without its bytes, a delivery can only be taken out."""
        return id_ not in self.pruned or id_ in self.reverted

    def is_settled(self, id_: str) -> bool:
        """Whether the ledger says what people want."""
        status = self.ledger.get(id_)
        return status in ENDS and (status == REVERTED) == (id_ in self.reverted)

    @property
    def unended(self) -> list[str]:
        return [
            id_
            for id_ in self.ids
            if self.can_follow(id_)
            and (not self.is_settled(id_) or id_ in self.come_again or self._is_due(id_))
        ]

    def _is_due(self, id_: str) -> bool:
        """Whether a delivery is merged, and has still to take out what it completes."""
        return id_ in self.due and self.ledger.get(id_) == MERGED

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
            rules = self.read_as[file.delivery_id]
            for sku, (number, row) in read(file, rules).winners.items():
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
        """Of pruned deliveries, older than that one, those that a new database has not seen.

        What was refused had nothing.
        """
        return [
            one
            for one in self.pruned - self.reverted - set(self.ledger) - self.noted_refused
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
                for number in read(self.files[id_], self.read_as[id_]).rejects
            ),
            "recorded": [
                (id_, rules)
                for id_, rules in self.read_as.items()
                if self.ledger[id_] in {MERGED, REVERTED}
            ],
        }

    def _entry(self, id_: str, status: str) -> tuple[Any, ...]:
        at, _ = self.age(id_)
        if status != MERGED:
            return id_, status, at, 0, 0, 0, 0, True
        if id_ in self.deletions:
            return id_, status, at, len(self.deletions[id_].skus), 0, 0, 0, True
        file = self.files[id_]
        found = read(file, self.read_as[id_])
        superseded, rejected = len(found.accepted) - len(found.winners), len(found.rejects)
        return id_, status, at, len(file.records), superseded, rejected, 0, True

    def fates(self, file: File) -> tuple[int, int, int, int]:
        """Of a file that arrives now, how many rows are inserted, updated, unchanged and stale."""
        fates = Counter[str]()
        products, deleted = self.products, self.last_deletions
        age = file.delivered_at, file.delivery_id
        for sku, (_, row) in read(file, self.rules_of(file.delivery_id)).winners.items():
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
        stated = {id_: file.stated_microseconds for id_, file in self.files.items()}
        return Notes({*self.files, *self.deletions}, set(self.reverted), set(self.pruned), stated)

    def noted(self, notes: Notes) -> "Truth":
        """The same where only that much was noted in the raw zone."""
        return Truth(
            {
                id_: _stating(file, notes.stated[id_])
                for id_, file in self.files.items()
                if id_ in notes.landed
            },
            {id_: one for id_, one in self.deletions.items() if id_ in notes.landed},
            set(notes.reverted),
            set(notes.pruned),
            {id_: status for id_, status in self.ledger.items() if id_ in notes.landed},
            self.come_again & notes.landed,
            self.rules,
            {id_: rules for id_, rules in self.read_as.items() if id_ in notes.landed},
            set(self.permitted),
            {id_: one for id_, one in self.completes.items() if id_ in notes.landed},
            self.due & notes.landed,
            self.takes_out,
            self.odd_names,
            self.noted_refused,
        )

    def copy(self) -> "Truth":
        return copy.deepcopy(self)


def _stating(file: Version, microseconds: int) -> Version:
    return replace(file, stated=None if microseconds == file.microseconds else microseconds)


def _is_unfinished(before: Version, file: Version) -> bool:
    """Whether a version was an unfinished upload of the next one."""
    size = len(before.content)
    is_begin = 0 < size < len(file.content) and file.content.startswith(before.content)
    return is_begin and file.ends_in_a_record(size)


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
            found = {
                name: sorted(connection.execute(sql).fetchall()) if count else []
                for name, sql in _SEEN.items()
            }
            found["recorded"] = [(id_, Rules.recorded(text)) for id_, text in found["recorded"]]
            return found
        finally:
            connection.execute("USE memory")
            connection.execute("DETACH looked_at")


def notes_of(raw: Path) -> Notes:
    """What the names of the files in a raw zone tell."""

    def ids(suffix: str) -> set[str]:
        paths = raw.glob(f"*/[!.]*{suffix}")
        return {f"{path.parent.name}#{path.stem.replace('-', '#')}" for path in paths}

    records = [json.loads(path.read_text()) for path in raw.glob("*/[!.]*.json")]
    stated = {
        record["delivery_id"]: (
            datetime.fromisoformat(record.get("stated_at", record["delivered_at"])) - _EPOCH
        )
        // timedelta(microseconds=1)
        for record in records
        if record["partition_key"] != PURGES
    }
    notes = Notes(ids(".json"), ids(".reverted"), ids(".pruned"), stated)
    assert notes.landed <= ids(".raw") | notes.pruned
    return notes
