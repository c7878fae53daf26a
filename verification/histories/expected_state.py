"""The expected state of a data folder, and how each event changes it."""

import itertools
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from testing.expected_tables import File, order_of
from verification.histories.folder_state import MERGED, REFUSED, REVERTED, UNAVAILABLE, FolderState
from verification.histories.rules import Version, read


@dataclass
class Reversal:
    """What becomes of older deliveries when a delivery is reverted.

    Attributes:
        unavailable: pruned deliveries that may have had rows which take effect now.
        corrected: deliveries that are read by other rules than before.
        is_refused: whether a corrected delivery is refused; then so is the reversal.
    """

    unavailable: list[str] = field(default_factory=list)
    corrected: list[str] = field(default_factory=list)
    is_refused: bool = False


@dataclass
class ExpectedState(FolderState):
    """A folder's state that follows deliveries, reversals, runs and losses."""

    def as_landed(self, file: File, landed_before: Iterable[File] = ()) -> File:
        """Return a file with the time that it gets when it lands after others.

        Of two versions with one time, the later landed is newer. So is a version that lands after a
        version of the future.
        """
        stated, now = file.microseconds, time.time_ns() // 1000
        # A delivery that lands again may have another stated time: the last one counts.
        last_landed = {other.delivery_id: other for other in (*self.files.values(), *landed_before)}
        known = [other for other in last_landed.values() if other.key == file.key]
        newest = max((other.microseconds for other in known), default=now)
        alike = [other for other in known if other.stated_microseconds == stated]
        last = max(alike, key=lambda other: other.microseconds, default=None)
        is_newest = last is not None and last.microseconds == newest
        if last and last.content == file.content and (is_newest or newest <= now):
            return last
        if newest > now >= stated:
            at = newest + 1
        else:
            taken = {other.microseconds for other in known if other.content != file.content}
            first = max(stated, last.microseconds + 1) if last else stated
            at = next(at for at in itertools.count(first) if at not in taken)
        return replace(file, microseconds=at, stated=None if at == stated else stated)

    def land(self, file: Version) -> None:
        id_ = file.delivery_id
        if id_ not in self.files:
            before = [other for other in self.files.values() if other.key == file.key]
            newest = max(before, key=order_of, default=None)
            if newest and _is_unfinished(newest, file):
                self.completes[id_] = newest.delivery_id
        elif id_ in self.pruned:  # Its effect has to be worked out again.
            self.pruned.discard(id_)
            self.to_retry.add(id_)
        else:
            self.files[id_] = file  # Its source may state another time now.
            if self.ledger.get(id_) == REFUSED:
                self.to_retry.add(id_)
            return
        self.files[id_] = file
        self.mark_due(id_)

    def mark_due(self, id_: str) -> None:
        """Have a delivery revert what it completes, once it is merged."""
        self.due |= {id_} & self.completes.keys()

    def reconcile(self, ids: Iterable[str]) -> None:
        """Bring the ledger to the desired state of some deliveries."""
        ids = list(ids)
        for id_ in ids:
            if self.is_replayable(id_):
                self.to_retry.discard(id_)
                if id_ in self.reverted:
                    self._revert(id_)
                elif self.ledger.get(id_) != MERGED:
                    self.ledger[id_], rules = self.desired_status(id_), self.rules_of(id_)
                    if id_ in self.files:
                        self.read_as[id_] = rules
        for id_ in ids if self.reverts_unfinished else ():
            if self.is_due(id_):
                self.due.discard(id_)
                self._revert_unfinished(self.completes[id_])

    def _revert_unfinished(self, id_: str) -> None:
        """Revert an unfinished upload, unless that loses rows: no operator has asked for it."""
        if id_ not in self.reverted and not self.would_lose_rows(id_):
            self.reverted.add(id_)
            self.permitted.discard(id_)
            self.to_retry.discard(id_)
            self._revert(id_)

    def _revert(self, id_: str) -> None:
        if self.ledger.get(id_) == REVERTED:
            return
        reversal = self.plan_reversal(id_, use_present=id_ in self.permitted)
        assert not reversal.is_refused
        if self.ledger.get(id_) == REFUSED:
            del self.read_as[id_]
        self.ledger[id_] = REVERTED
        for older in reversal.unavailable:
            self.ledger[older] = UNAVAILABLE
            del self.read_as[older]
        self.read_as |= dict.fromkeys(reversal.corrected, self.rules)

    def plan_reversal(self, id_: str, *, use_present: bool) -> Reversal:
        """Return what becomes of older deliveries, which are searched from the newest on."""
        products = self.products
        sought = {sku for sku, row in products.items() if row[3] == id_}
        sought |= {
            sku
            for sku, (_, deleter) in self.last_deletions.items()
            if deleter == id_ and sku not in products
        }
        deleted = replace(self, ledger=self.ledger | {id_: REVERTED}).last_deletions
        found: set[str] = set()
        searched = set()
        done = Reversal()
        for older in reversed(self.ids):
            if self.ledger.get(older) != MERGED or older not in self.files:
                continue
            if self.order(older) >= self.order(id_):
                continue
            order, file, rules = self.order(older), self.files[older], self.read_as[older]
            missing = {sku for sku in sought - found if deleted.get(sku, order) <= order}
            if not missing or (file.content, rules) in searched:
                continue
            if older in self.pruned:
                done.unavailable.append(older)
            elif use_present and rules != self.rules:
                done.is_refused |= read(file, self.rules).is_refused
                done.corrected.append(older)
                sought |= {sku for sku, row in products.items() if row[3] == older}
                out = {id_, *done.corrected}
                for sku in read(file, self.rules).winners:
                    *_, holder, at, _ = products.get(sku, (None, None, id_, None, None))
                    if holder in out or (at, holder) < order:
                        found |= {sku} if deleted.get(sku, order) <= order else set()
                searched.add((file.content, self.rules))
            else:
                found |= missing & read(file, rules).winners.keys()
                searched.add((file.content, rules))
        return done

    def lose_database(self) -> None:
        refused = {id_ for id_, status in self.ledger.items() if status == REFUSED}
        self.refused_before_loss = (self.refused_before_loss - self.ledger.keys()) | refused
        self.ledger.clear()
        self.read_as.clear()
        self.snapshots.clear()


def _is_unfinished(before: Version, file: Version) -> bool:
    """Whether a version was an unfinished upload of the next one."""
    size = len(before.content)
    is_begin = 0 < size < len(file.content) and file.content.startswith(before.content)
    return is_begin and file.ends_inside_a_record(size)
