"""One random history of a database: batch by batch, an action is done and everything is checked."""

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
from lfp_pipeline.warehouse import delta_load, matching, name_counts
from testing.engine import LOG, engine_at, loading_deltas, loading_directly
from verification.histories.actions import Action, ingest_inbox
from verification.histories.drawing import draw_action
from verification.histories.expected_state import ExpectedState
from verification.histories.folder_state import MERGED, REFUSED, UNAVAILABLE, Marks, Tables
from verification.histories.kill_points import KilledError, killed_after
from verification.histories.lakes import Lakes
from verification.histories.odd_entries import IGNORED_BY_SETTING, clear, ignored, skipped
from verification.histories.rules import read
from verification.histories.storage_choice import storage_of

BATCHES = 15
"""Batches of one history."""

KILL_SHARE = 0.3
"""The share of batches that are killed."""

_KILL_AGAIN_SHARE = 0.3


@dataclass(frozen=True)
class Case:
    """A history. Each batch has randomness of its own, so that some can be left out."""

    seed: int
    number: int
    batches: tuple[int, ...] = tuple(range(BATCHES))


class DifferenceError(Exception):
    """What was found is not what the reference model expects.

    Attributes:
        batches: those that were done, up to the one in which the difference was found.
        report: what was done, a line each.
    """

    def __init__(self, what: str, batches: tuple[int, ...], report: list[str]) -> None:
        super().__init__(what)
        self.batches = batches
        self.report = report


def run_history(case: Case, parent: Path, lakes: Lakes | None = None) -> Iterator[str]:
    """Run a history; yield what was done in each batch, once the batch is checked.

    The data folder is made in `parent`, and removed afterwards.

    Args:
        lakes: makes the lake of the history; None: the database is in a file.

    Raises:
        DifferenceError: something is not what the reference model expects.
    """
    data = Path(mkdtemp(prefix="lfp-history-", dir=parent))
    report: list[str] = []
    try:
        with ExitStack() as made:
            settings = made.enter_context(_conditions(Random(f"{case.seed} {case.number}")))
            if lakes is not None:
                lake = lakes.made(data, Random(f"{case.seed} {case.number} lake"))
                settings |= made.enter_context(lake)
            run = _Run(data, settings)
            for position, batch in enumerate(case.batches):
                try:
                    yield run.batch(Random(f"{case.seed} {case.number} {batch}"), report)
                except Exception as error:
                    what = f"{type(error).__name__}: {error}"
                    raise DifferenceError(what, case.batches[: position + 1], report) from error
    finally:
        clear(data / "inbox")
        shutil.rmtree(data)


def shrink(
    case: Case, difference: DifferenceError, parent: Path, lakes: Lakes | None = None
) -> DifferenceError:
    """Leave out the batches that are not needed for a difference; return the last difference."""
    for batch in reversed(difference.batches[:-1]):
        fewer = tuple(other for other in difference.batches if other != batch)
        try:
            for _ in run_history(Case(case.seed, case.number, fewer), parent, lakes):
                pass
        except DifferenceError as again:
            difference = again
    return difference


@contextmanager
def _conditions(random: Random) -> Iterator[dict[str, object]]:
    """For the block, draw settings and internal limits, which must make no difference."""
    with ExitStack() as patches:

        def put(where: object, name: str, value: object) -> None:
            patches.enter_context(mock.patch.object(where, name, value))

        put(name_counts, "RECOUNT_SHARE", random.choice([0.0, 0.1, 1e9]))
        put(matching, "STRETCH_ROWS", random.choice([1, 7, 10**6]))
        put(delta_load, "UPDATED_ROWS", random.choice([1, 7, 500_000]))
        if random.random() < 0.5:
            patches.enter_context(loading_deltas(sample_bits=random.choice([0, 8, 32])))
        if random.random() < 0.5:
            patches.enter_context(loading_directly())
            put(batch_merge, "size_in_bytes", lambda _: 0)
        yield {"batch_files": random.choice([2, 100, 100, 100]), "threads": 1}


class _Run:
    """A data folder, and the state that it must have."""

    def __init__(self, data: Path, settings: dict[str, object]) -> None:
        self.data = data
        self.state = ExpectedState()
        settings = settings | {"ignored_files": [IGNORED_BY_SETTING]}
        self.engine = engine_at(data, **settings, **self.state.rules.settings)
        self.storage = storage_of(self.engine)
        self.reader = self.storage.reader()

    def batch(self, random: Random, report: list[str]) -> str:
        """Do an action, kill it in some batches, and check everything; return what was done."""
        action = draw_action(random, self.state, self.storage)
        end = ""
        reverted = set(self.state.reverted)
        report.append(str(action))
        action.prepare(self.engine, self.state)
        before = self.state.copy()
        steps = int(action.steps * self.storage.steps_factor)
        last = random.randrange(steps) if random.random() < KILL_SHARE else 10**9
        expected_error = action.error(before)
        try:
            with killed_after(self.data, last, self.storage.more_steps) as limit:
                action.do(self.engine, before)
        except KilledError:
            report.append(f"  killed after {last} steps")
            self._recover(action, random, report)
            end = ", killed"
        except LfpError as error:
            if type(error) is not expected_error:
                raise
            report.append(f"  {type(error).__name__}: {error}")
            action.apply(self.state, self.engine)
            end = ", refused"
        else:
            assert expected_error is None, expected_error
            action.apply(self.state, self.engine)
            report.append(f"  done in {limit.steps} steps")
        self._check()
        return _kind(action, self.state.reverted - reverted) + end

    def _recover(self, action: Action, random: Random, report: list[str]) -> None:
        """Run again after a kill: what is marked in the raw zone must be reached, and no more."""
        before, merged, after = self.state, self.state.copy(), self.state.copy()
        merged.reverts_unfinished = False  # The kill may come before unfinished ones are reverted.
        action.apply(merged, self.engine)
        action.apply(after, self.engine)
        unfinished = {merged.completes[id_] for id_ in merged.due}
        marks = self.storage.marks(self.engine)
        for name in ("landed", "reverted", "pruned"):
            was, is_, will_be = (getattr(s, name) for s in (before.marks, marks, after.marks))
            limit = was | will_be | (unfinished if name == "reverted" else set())
            assert was & will_be <= is_ <= limit, (name, was, is_, will_be)
        self._check_remains([before, merged, after], marks)
        while random.random() < _KILL_AGAIN_SHARE:
            last = random.randrange(int(80 * self.storage.steps_factor))
            try:
                with killed_after(self.data, last, self.storage.more_steps):
                    ingest_inbox(self.engine)
            except KilledError:
                report.append(f"  the next run was killed after {last} steps")
            ends = _ends(merged.with_marks(marks))
            marks = self._marks_since(marks, unfinished)
            self._check_remains([before, merged, *ends, after], marks)
        ingest_inbox(self.engine)
        marks = self._marks_since(marks, unfinished)
        state = merged.with_marks(marks)
        state.reverts_unfinished = True
        state.ledger = {id_: status for id_, status in before.ledger.items() if id_ in marks.landed}
        state.read_as = {id_: rules for id_, rules in before.read_as.items() if id_ in marks.landed}
        _, limit = _ends(state)
        found = self.reader.tables(self.engine)
        for id_, status in _statuses(found).items():
            wanted = {state.desired_status(id_), before.ledger.get(id_), after.ledger.get(id_)}
            is_lost = status == UNAVAILABLE == limit.ledger.get(id_)
            assert status in wanted or is_lost, (id_, status)
        self.state = _as_found(state, found, [before, merged, after])
        self._conclude()

    def _marks_since(self, before: Marks, unfinished: set[str]) -> Marks:
        """Return the marks after an ordinary run, which may only revert unfinished uploads."""
        marks = self.storage.marks(self.engine)
        assert marks.reverted - before.reverted <= unfinished, (before, marks)
        assert replace(marks, reverted=before.reverted) == before, (before, marks)
        return marks

    def _conclude(self) -> None:
        """Assert that merged deliveries have reverted what they complete, where no row is lost."""
        state = self.state
        for id_ in [id_ for id_ in state.due if state.ledger.get(id_) == MERGED]:
            upload = state.completes[id_]
            may_lose = state.pruned_before(upload) or state.unseen_before(upload)
            assert upload in state.reverted or may_lose, (id_, upload)
            state.due.discard(id_)

    def _check_remains(self, ends: Sequence[ExpectedState], marks: Marks) -> None:
        """Assert that a kill has left each delivery in the tables whole, or not at all."""
        found = self.reader.tables(self.engine)
        remains = ends[-1].with_marks(marks)
        remains = _as_found(remains, found, ends)
        for id_ in remains.ids:
            status = remains.ledger.get(id_)
            assert status in {end.ledger.get(id_) for end in ends}, (id_, status)
        _assert_same(found, remains.tables)

    def _check(self) -> None:
        """Assert that tables, marks, the backlog and the inbox are as the state expects."""
        found = self.reader.tables(self.engine)
        _assert_same(found, self.state.tables)
        if self.storage.has_snapshots:
            self.state.snapshots[self.storage.newest_snapshot(self.engine)] = repr(found)
        marks = self.storage.marks(self.engine)
        assert marks == self.state.marks, (marks, self.state.marks)
        pending = [delivery.delivery_id for delivery in self.engine.pending_deliveries(LOG)]
        assert pending == self.state.pending_deliveries, (pending, self.state.pending_deliveries)
        keys = {id_.split("#")[0] for id_ in self.state.ids}
        with_pending = {key for key in keys if self.engine.backlog.has_pending(key)}
        expected = {id_.split("#")[0] for id_ in self.state.pending_deliveries}
        assert with_pending == expected, (with_pending, expected)
        self._check_inbox()

    def _check_inbox(self) -> None:
        """Assert that the listing names the odd entries, and that no file is left."""
        names, listing = self.state.odd_names, self.engine.pending_inbox(LOG)
        found = {entry.name: entry.reason for entry in listing.skipped}
        assert found == skipped(names), (found, names)
        assert set(listing.ignored) == ignored(names), (listing, names)
        assert not listing.ready, listing
        assert not listing.still_writing, listing


def _statuses(found: Tables) -> dict[str, str]:
    return {row[0]: row[1] for row in found["ledger"]}


def _as_found(state: ExpectedState, found: Tables, ends: Sequence[ExpectedState]) -> ExpectedState:
    """Return the state with the statuses and the rules that were found in the ledger.

    A refused delivery may have been tried again, by the present rules, or not.
    """
    state = state.copy()
    state.ledger, recorded = _statuses(found), dict(found["recorded"])
    state.to_retry = set()
    for id_, rules in recorded.items():
        assert rules in {state.rules, *(end.read_as.get(id_) for end in ends)}, (id_, rules)
    for id_, status in state.ledger.items():
        if status == REFUSED:
            rejects = [number for other, number in found["rejected_rows"] if other == id_]
            known = [end.read_as[id_] for end in ends if id_ in end.read_as]
            recorded[id_] = next(
                rules
                for rules in [*known, state.rules]
                if sorted(read(state.files[id_], rules).rejects) == rejects
            )
    state.read_as = recorded
    return state


def _ends(state: ExpectedState) -> tuple[ExpectedState, ExpectedState]:
    """Return the states once all is reconciled: with the fewest, and the most unavailable rows.

    The later a delivery is reverted, the more deliveries are there that can take its place.
    """
    late, early = state.copy(), state.copy()
    late.reconcile(sorted(state.pending_deliveries, key=lambda id_: id_ in state.reverted))
    early.reconcile(sorted(state.pending_deliveries, key=lambda id_: id_ not in state.reverted))
    return late, early


def _assert_same(found: Tables, expected: Tables) -> None:
    for name, rows in expected.items():
        odd, lacking = Counter(found[name]) - Counter(rows), Counter(rows) - Counter(found[name])
        assert odd == lacking == Counter(), f"{name} has {list(odd)}, lacks {list(lacking)}"


def _kind(action: Action, reverted: set[str]) -> str:
    """Return what was done, and whether an unfinished upload was reverted with it."""
    name = type(action).__name__
    if reverted - {getattr(action, "delivery_id", None)}:
        name = f"{name} that completes"
    return f"{name}, dry run" if getattr(action, "dry_run", False) else name
