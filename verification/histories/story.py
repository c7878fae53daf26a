"""One database through a random history: batch by batch something is done, and all is looked at."""

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from unittest import mock

from lfp_pipeline.errors import LfpError
from lfp_pipeline.ingest import batch_merge
from lfp_pipeline.warehouse import direct_load, matching, merge, name_counts
from testing.engine import LOG, engine_at
from verification.histories.death import DeathError, dying
from verification.histories.deeds import Deed, drawn_deed, take_in_all
from verification.histories.inbox import IGNORED_BY_SETTING, clear, ignored, skipped
from verification.histories.rules import read
from verification.histories.truth import (
    FORGONE,
    MERGED,
    REFUSED,
    Looker,
    Notes,
    Tables,
    Truth,
    notes_of,
)

BATCHES = 15
"""Of one history."""

DIE = 0.3
"""The share of batches in which somebody dies."""

_DIE_AGAIN = 0.3


@dataclass(frozen=True)
class Case:
    """A history. Each batch has randomness of its own, so that some can be left out."""

    seed: int
    number: int
    batches: tuple[int, ...] = tuple(range(BATCHES))


class DifferenceError(Exception):
    """What was found is not what the oracle tells.

    Attributes:
        batches: those that were done, with the one in which it was found.
        told: what was done, for people.
    """

    def __init__(self, what: str, batches: tuple[int, ...], told: list[str]) -> None:
        super().__init__(what)
        self.batches = batches
        self.told = told


def live_through(case: Case, parent: Path) -> Iterator[str]:
    """Live through a history; tell each batch that ended as it must, by what was done in it.

    Args:
        case: which.
        parent: where its data folder is made, and gone afterwards.

    Raises:
        DifferenceError: something is not as the oracle tells.
    """
    data = Path(mkdtemp(prefix="lfp-history-", dir=parent))
    told: list[str] = []
    try:
        with _conditions(Random(f"{case.seed} {case.number}")) as settings:
            life = _Life(data, settings)
            for place, batch in enumerate(case.batches):
                try:
                    yield life.go_on(Random(f"{case.seed} {case.number} {batch}"), told)
                except Exception as error:
                    what = f"{type(error).__name__}: {error}"
                    raise DifferenceError(what, case.batches[: place + 1], told) from error
    finally:
        clear(data / "inbox")
        shutil.rmtree(data)


def shrunk(case: Case, difference: DifferenceError, parent: Path) -> DifferenceError:
    """The difference again, by fewer batches, as far as some can be left out."""
    for batch in reversed(difference.batches[:-1]):
        fewer = tuple(one for one in difference.batches if one != batch)
        try:
            for _ in live_through(Case(case.seed, case.number, fewer), parent):
                pass
        except DifferenceError as again:
            difference = again
    return difference


@contextmanager
def _conditions(random: Random) -> Iterator[dict[str, object]]:
    """How the work is done, which must make no difference: settings, and limits that are ours."""
    with ExitStack() as patches:

        def put(where: object, name: str, value: object) -> None:
            patches.enter_context(mock.patch.object(where, name, value))

        put(name_counts, "RECOUNT_SHARE", random.choice([0.0, 0.1, 1e9]))
        put(merge, "MOST_MOVED", random.choice([0, 3, 10**6]))
        put(matching, "STRETCH_ROWS", random.choice([1, 7, 10**6]))
        if random.random() < 0.5:
            put(direct_load, "LEAST_BYTES", 0)
            put(direct_load, "should_load_directly", lambda *_: True)
            put(batch_merge, "size_in_bytes", lambda _: 0)
        yield {"batch_files": random.choice([2, 100, 100, 100]), "threads": 1}


class _Life:
    """A data folder, and the truth about it."""

    def __init__(self, data: Path, settings: dict[str, object]) -> None:
        self.data = data
        self.truth = Truth()
        settings = settings | {"ignored_files": [IGNORED_BY_SETTING]}
        self.engine = engine_at(data, **settings, **self.truth.rules.settings)
        self.looker = Looker()

    def go_on(self, random: Random, told: list[str]) -> str:
        """Do something, and see that all is as it must be then."""
        deed = drawn_deed(random, self.truth)
        end = ""
        reverted = set(self.truth.reverted)
        told.append(str(deed))
        deed.prepare(self.engine, self.truth)
        before = self.truth.copy()
        last = random.randrange(deed.steps) if random.random() < DIE else 10**9
        must_fail = deed.error(before)
        try:
            with dying(self.data, last) as life:
                deed.do(self.engine, before)
        except DeathError:
            told.append(f"  died after {last} steps")
            self._die(deed, random, told)
            end = ", died"
        except LfpError as error:
            if type(error) is not must_fail:
                raise
            told.append(f"  {type(error).__name__}: {error}")
            deed.tell(self.truth, self.engine)
            end = ", refused"
        else:
            assert must_fail is None, must_fail
            deed.tell(self.truth, self.engine)
            told.append(f"  done in {life.steps} steps")
        self._look()
        return _kind(deed, self.truth.reverted - reverted) + end

    def _die(self, deed: Deed, random: Random, told: list[str]) -> None:
        """Take over from who died: as far as it was noted what he wanted, that is to be so."""
        before, merged, after = self.truth, self.truth.copy(), self.truth.copy()
        merged.takes_out = False  # Maybe he died before he took out what was unfinished.
        deed.tell(merged, self.engine)
        deed.tell(after, self.engine)
        unfinished = {merged.completes[id_] for id_ in merged.due}
        notes = notes_of(self.engine.settings.raw_dir)
        for name in ("landed", "reverted", "pruned"):
            was, is_, will_be = (getattr(one, name) for one in (before.notes, notes, after.notes))
            most = was | will_be | (unfinished if name == "reverted" else set())
            assert was & will_be <= is_ <= most, (name, was, is_, will_be)
        self._look_at_remains([before, merged, after], notes)
        while random.random() < _DIE_AGAIN:
            last = random.randrange(80)
            try:
                with dying(self.data, last):
                    take_in_all(self.engine)
            except DeathError:
                told.append(f"  so did who took over, after {last}")
            ends = _ends(merged.noted(notes))
            notes = self._noted_since(notes, unfinished)
            self._look_at_remains([before, merged, *ends, after], notes)
        take_in_all(self.engine)
        notes = self._noted_since(notes, unfinished)
        noted = merged.noted(notes)
        noted.takes_out = True
        noted.ledger = {id_: status for id_, status in before.ledger.items() if id_ in notes.landed}
        noted.read_as = {id_: rules for id_, rules in before.read_as.items() if id_ in notes.landed}
        _, most = _ends(noted)
        found = self.looker.tables(self.engine)
        for id_, status in _statuses(found).items():
            wanted = {noted.wanted(id_), before.ledger.get(id_), after.ledger.get(id_)}
            assert status in wanted or status == FORGONE == most.ledger.get(id_), (id_, status)
        self.truth = _as_found(noted, found, [before, merged, after])
        self._conclude()

    def _noted_since(self, before: Notes, unfinished: set[str]) -> Notes:
        """What is noted when an ordinary run has gone on: it takes out what was unfinished."""
        notes = notes_of(self.engine.settings.raw_dir)
        assert notes.reverted - before.reverted <= unfinished, (before, notes)
        assert replace(notes, reverted=before.reverted) == before, (before, notes)
        return notes

    def _conclude(self) -> None:
        """See that whatever is merged has taken out what it completes, unless that would lose."""
        truth = self.truth
        for id_ in [id_ for id_ in truth.due if truth.ledger.get(id_) == MERGED]:
            one = truth.completes[id_]
            may_lose = truth.pruned_before(one) or truth.unknown_before(one)
            assert one in truth.reverted or may_lose, (id_, one)
            truth.due.discard(id_)

    def _look_at_remains(self, ends: Sequence[Truth], notes: Notes) -> None:
        """Whoever died has left each delivery in the tables whole, or not at all."""
        found = self.looker.tables(self.engine)
        remains = ends[-1].noted(notes)
        remains = _as_found(remains, found, ends)
        for id_ in remains.ids:
            status = remains.ledger.get(id_)
            assert status in {end.ledger.get(id_) for end in ends}, (id_, status)
        _assert_same(found, remains.tables)

    def _look(self) -> None:
        """See that everything is as it must be."""
        _assert_same(self.looker.tables(self.engine), self.truth.tables)
        notes = notes_of(self.engine.settings.raw_dir)
        assert notes == self.truth.notes, (notes, self.truth.notes)
        pending_deliveries = [one.delivery_id for one in self.engine.pending_deliveries(LOG)]
        assert pending_deliveries == self.truth.pending_deliveries, (
            pending_deliveries,
            self.truth.pending_deliveries,
        )
        keys = {one.split("#")[0] for one in self.truth.ids}
        found = {key for key in keys if self.engine.has_pending(key)}
        true = {one.split("#")[0] for one in self.truth.pending_deliveries}
        assert found == true, (found, true)
        self._look_into_inbox()

    def _look_into_inbox(self) -> None:
        """See that what is odd is told of, and nothing else is there any more."""
        names, listing = self.truth.odd_names, self.engine.pending_inbox(LOG)
        found = {one.name: one.reason for one in listing.skipped}
        assert found == skipped(names), (found, names)
        assert set(listing.ignored) == ignored(names), (listing, names)
        assert not listing.ready, listing
        assert not listing.still_writing, listing


def _statuses(found: Tables) -> dict[str, str]:
    return {row[0]: row[1] for row in found["ledger"]}


def _as_found(truth: Truth, found: Tables, ends: Sequence[Truth]) -> Truth:
    """The truth where deliveries have come as far, and were read by such rules, as was found.

    What was refused may have been tried again, by the rules of now, or not.
    """
    truth = truth.copy()
    truth.ledger, recorded = _statuses(found), dict(found["recorded"])
    truth.come_again = set()
    for id_, rules in recorded.items():
        assert rules in {truth.rules, *(end.read_as.get(id_) for end in ends)}, (id_, rules)
    for id_, status in truth.ledger.items():
        if status == REFUSED:
            rejects = [number for one, number in found["rejected_rows"] if one == id_]
            known = [end.read_as[id_] for end in ends if id_ in end.read_as]
            recorded[id_] = next(
                rules
                for rules in [*known, truth.rules]
                if sorted(read(truth.files[id_], rules).rejects) == rejects
            )
    truth.read_as = recorded
    return truth


def _ends(truth: Truth) -> tuple[Truth, Truth]:
    """All taken in: with as little forgone as can be, and with as much.

    What is taken out meets more of what may come in its place the later it goes.
    """
    late, early = truth.copy(), truth.copy()
    late.take_in(sorted(truth.pending_deliveries, key=lambda id_: id_ in truth.reverted))
    early.take_in(sorted(truth.pending_deliveries, key=lambda id_: id_ not in truth.reverted))
    return late, early


def _assert_same(found: Tables, true: Tables) -> None:
    for name, rows in true.items():
        odd, lacking = Counter(found[name]) - Counter(rows), Counter(rows) - Counter(found[name])
        assert odd == lacking == Counter(), f"{name} has {list(odd)}, lacks {list(lacking)}"


def _kind(deed: Deed, reverted: set[str]) -> str:
    """What was done, and what is reverted since though nobody had asked for it."""
    name = type(deed).__name__
    if reverted - {getattr(deed, "delivery_id", None)}:
        name = f"{name} that completes"
    return f"{name}, dry run" if getattr(deed, "dry_run", False) else name
