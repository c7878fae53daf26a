"""What happens to a data folder without an operator: deliveries, runs, losses, other settings."""

from collections.abc import Sequence
from dataclasses import dataclass

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LfpError
from lfp_pipeline.ingest.ingest import ingest
from lfp_pipeline.ingest.result import IngestResult
from lfp_pipeline.operations.verify import verify
from testing.dagster_project import drop
from testing.engine import LOG, land
from testing.expected_tables import order_of
from verification.histories.expected_state import ExpectedState
from verification.histories.folder_state import MERGED, UNAVAILABLE
from verification.histories.odd_entries import lay
from verification.histories.rules import Rules, Version
from verification.histories.storage import DATABASE, NOTHING
from verification.histories.storage_choice import storage_of


class Action:
    """Something that is done to a data folder, and its effect on the expected state."""

    @property
    def steps(self) -> int:
        """About how many steps the action takes; it may be killed after any of them."""
        return 75

    def prepare(self, engine: Engine, state: ExpectedState) -> None:
        """Do what comes before, and is never interrupted."""

    def do(self, engine: Engine, state: ExpectedState) -> None:
        """Do it, and check its result; `state` is the one before. Some only prepare something."""

    def error(self, state: ExpectedState) -> type[LfpError] | None:
        """Return the error that the action must raise."""
        return None

    def apply(self, state: ExpectedState, engine: Engine) -> None:
        """Change the expected state as the action must have, whether it was refused or not."""
        raise NotImplementedError


_STEPS_OF_WAYS = {
    "together": (50, 25),
    "at once": (70, 20),
    "by the inbox": (80, 25),
    "one by one": (0, 73),
    "not": (0, 6),
}
"""Of each way to ingest files, about how many steps it takes, and how many more for each file."""


@dataclass(frozen=True)
class Deliver(Action):
    """Files land and are ingested, in one of the ways of `_STEPS_OF_WAYS`."""

    files: Sequence[Version]
    way: str

    @property
    def steps(self) -> int:
        at_first, of_each = _STEPS_OF_WAYS[self.way]
        return at_first + of_each * len(self.files)

    def prepare(self, engine: Engine, state: ExpectedState) -> None:
        for file in self.files if self.way == "by the inbox" else ():
            drop(engine.settings.inbox_dir, file.key, file.content, file.stated_microseconds)

    def do(self, engine: Engine, state: ExpectedState) -> None:
        by_inbox = self.way == "by the inbox"
        landed = [] if by_inbox else [land(engine, file) for file in self.files]
        if by_inbox:
            done = ingest_inbox(engine)
        elif self.way == "together":
            done = ingest(landed, engine.raw_zone, engine.settings, engine.warehouse, LOG)
        elif self.way == "one by one":
            done = [engine.ingest(delivery, LOG) for delivery in landed]
        elif self.way == "at once":
            results = engine.ingest_all([], landed, LOG)
            done = [result for result in results if isinstance(result, IngestResult)]
        else:
            return
        self._check(done, state, engine)

    def _check(self, done: Sequence[IngestResult], state: ExpectedState, engine: Engine) -> None:
        """Compare ledger entries; where the order of merges is known, their row counts, too."""
        expected, after = state.copy(), state.copy()
        self._land(expected)
        self.apply(after, engine)
        if self.way in {"at once", "by the inbox"}:
            for result in done:
                id_ = result.delivery.delivery_id
                statuses = {expected.desired_status(id_), after.ledger[id_]}
                assert result.account.status in statuses, result.account
            return
        entries = [result.account for result in done]
        if self.way == "together":
            by_id = {entry.delivery_id: entry for entry in entries}
            entries = [by_id[file.delivery_id] for file in self._in_order]
            expected.reverts_unfinished = False
        for file, entry in zip(self._in_order, entries, strict=True):
            id_ = file.delivery_id
            wanted = expected.desired_status(id_)
            assert entry.status == wanted, (entry, wanted)
            if wanted == MERGED and expected.ledger.get(id_) != MERGED:
                found = (
                    entry.rows.inserted,
                    entry.rows.updated,
                    entry.rows.unchanged,
                    entry.rows.stale,
                )
                assert found == expected.row_counts(file), (id_, found, expected.row_counts(file))
            expected.reconcile([id_])

    def apply(self, state: ExpectedState, engine: Engine) -> None:
        for file in self.files if self.way == "by the inbox" else ():
            (engine.settings.inbox_dir / file.key).unlink(missing_ok=True)
        self._land(state)
        ids = state.pending_deliveries if self.way == "by the inbox" else []
        ids += [file.delivery_id for file in self.files]
        if self.way == "one by one":
            for id_ in ids:
                state.reconcile([id_])
        elif self.way != "not":
            state.reconcile(ids)

    def _land(self, state: ExpectedState) -> None:
        for file in self.files:
            state.land(file)

    @property
    def _in_order(self) -> list[Version]:
        return sorted(self.files, key=order_of) if self.way == "together" else list(self.files)


@dataclass(frozen=True)
class ChangeSettings(Action):
    """Files are read by other rules from now on."""

    rules: Rules

    def apply(self, state: ExpectedState, engine: Engine) -> None:
        state.rules = self.rules
        settings = engine.settings.model_copy(update=self.rules.settings)
        vars(engine).update(vars(Engine(settings, engine.warehouse)))


@dataclass(frozen=True)
class Clutter(Action):
    """Links, sockets, side files and the like lie in the inbox from now on."""

    names: frozenset[str]

    def apply(self, state: ExpectedState, engine: Engine) -> None:
        state.odd_names = self.names
        lay(engine.settings.inbox_dir, self.names)


@dataclass(frozen=True)
class CatchUp(Action):
    """An ordinary run, maybe after a loss (`Storage.losses`)."""

    lost: str

    @property
    def steps(self) -> int:
        return 150

    def prepare(self, engine: Engine, state: ExpectedState) -> None:
        if self.lost != NOTHING:
            storage_of(engine).lose(self.lost, engine)
        if self.lost == DATABASE:
            state.lose_database()

    def do(self, engine: Engine, state: ExpectedState) -> None:
        ingest_inbox(engine)

    def apply(self, state: ExpectedState, engine: Engine) -> None:
        state.reconcile(state.pending_deliveries)


@dataclass(frozen=True)
class Verify(Action):
    """The invariants of the tables are checked, and the notes of the raw zone."""

    full: bool

    def do(self, engine: Engine, state: ExpectedState) -> None:
        if state.to_retry or (self.full and state.pending_deliveries):
            return  # Status notes are missing, or tables are behind the raw zone, until a next run.
        done = verify(engine, LOG, full=self.full)
        assert not done.problems, done.problems

    def apply(self, state: ExpectedState, engine: Engine) -> None:
        """Change nothing."""


def ingest_inbox(engine: Engine) -> list[IngestResult]:
    """Ingest all that is pending in the inbox and the raw zone, as the job ingest_inbox does."""
    files = engine.pending_inbox(LOG).ready
    found = []
    for result in engine.ingest_all(files, engine.pending_deliveries(LOG, offered=files), LOG):
        assert isinstance(result, IngestResult), result
        assert result.account.status != UNAVAILABLE, result.account
        found.append(result)
    return found
