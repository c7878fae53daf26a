"""What operators do to a data folder: revert, reinstate, purge, prune, rebuild."""

from dataclasses import dataclass
from datetime import timedelta

from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LfpError, OperationRefusedError
from lfp_pipeline.operations.prune import prune_raw
from lfp_pipeline.operations.purge import Selection, purge_products
from lfp_pipeline.operations.rebuild import rebuild_products
from lfp_pipeline.operations.revert import reinstate_delivery, revert_delivery
from testing.engine import LOG, tables
from testing.raw_folder import EPOCH, read_deletion
from verification.histories.actions import Action
from verification.histories.expected_state import ExpectedState
from verification.histories.folder_state import MERGED, REFUSED
from verification.histories.rules import read
from verification.histories.storage_choice import storage_of

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Revert(Action):
    delivery_id: str
    ignore_pruned_history: bool
    dry_run: bool
    use_present_settings: bool

    def do(self, engine: Engine, state: ExpectedState) -> None:
        done = revert_delivery(
            engine,
            self.delivery_id,
            LOG,
            dry_run=self.dry_run,
            ignore_pruned_history=self.ignore_pruned_history,
            use_present_settings=self.use_present_settings,
        )
        if not self.dry_run:
            assert done.figures["products_before"] == len(state.products)

    def error(self, state: ExpectedState) -> type[LfpError] | None:
        if state.would_lose_rows(self.delivery_id) and not self.ignore_pruned_history:
            return OperationRefusedError
        use_present = self.use_present_settings
        reversal = state.plan_reversal(self.delivery_id, use_present=use_present)
        return OperationRefusedError if reversal.is_refused else None

    def apply(self, state: ExpectedState, engine: Engine) -> None:
        if self.dry_run or self.error(state):
            return
        state.reverted.add(self.delivery_id)
        state.permitted.discard(self.delivery_id)
        if self.use_present_settings:
            state.permitted.add(self.delivery_id)
        state.reconcile([self.delivery_id])


@dataclass(frozen=True)
class Reinstate(Action):
    delivery_id: str
    dry_run: bool
    use_present_settings: bool

    def do(self, engine: Engine, state: ExpectedState) -> None:
        reinstate_delivery(
            engine,
            self.delivery_id,
            LOG,
            dry_run=self.dry_run,
            use_present_settings=self.use_present_settings,
        )

    def error(self, state: ExpectedState) -> type[LfpError] | None:
        if self.delivery_id not in state.reverted or self.delivery_id in state.pruned:
            return OperationRefusedError
        if self.delivery_id not in state.files or state.ledger.get(self.delivery_id) == MERGED:
            return None  # Nothing is read.
        rules = state.rules if self.use_present_settings else state.rules_of(self.delivery_id)
        is_refused = read(state.files[self.delivery_id], rules).is_refused
        return OperationRefusedError if is_refused else None

    def apply(self, state: ExpectedState, engine: Engine) -> None:
        if self.dry_run or self.error(state):
            return
        state.reverted.discard(self.delivery_id)
        if self.use_present_settings:
            state.read_as.pop(self.delivery_id, None)
        state.mark_due(self.delivery_id)
        state.reconcile([self.delivery_id])


@dataclass(frozen=True)
class Purge(Action):
    selection: Selection
    dry_run: bool

    def do(self, engine: Engine, state: ExpectedState) -> None:
        skus, products = self._selected(state), state.products
        started = utc_now()
        done = purge_products(engine, self.selection, LOG, dry_run=self.dry_run)
        ended = utc_now()
        present = [products[sku] for sku in skus if sku in products]
        assert done.figures["skus"] == len(skus)
        assert done.figures["products_deleted"] == len(present)
        if self.dry_run or not skus:
            assert "delivery_id" not in done.figures
            return
        deletion = read_deletion(engine.raw_zone.find(str(done.figures["delivery_id"])).path)
        assert deletion.skus == skus
        newest = max((row[4] for row in present), default=EPOCH) + _MICROSECOND
        others = len(state.deletions) * _MICROSECOND  # No two deletions have the same time.
        assert max(started, newest) <= deletion.delivered_at <= max(ended, newest) + others

    def error(self, state: ExpectedState) -> type[LfpError] | None:
        known = {id_.split("#")[0] for id_ in state.ledger}
        is_unknown = self.selection.partition and self.selection.partition not in known
        skus, products = self._selected(state), state.products
        ahead = [sku for sku in skus if sku in products and products[sku][4] > utc_now()]
        is_mixed = 0 < len(ahead) < len(skus)
        return OperationRefusedError if is_unknown or is_mixed else None

    def apply(self, state: ExpectedState, engine: Engine) -> None:
        for raw_file in storage_of(engine).purges(engine):
            deletion = read_deletion(raw_file)
            if deletion.delivery_id not in state.deletions:
                assert deletion.skus == self._selected(state)
                assert not self.dry_run
                state.deletions[deletion.delivery_id] = deletion
                state.reconcile([deletion.delivery_id])

    def _selected(self, state: ExpectedState) -> set[str]:
        selection, rows = self.selection, state.products
        if selection.skus:
            return {sku.strip() for sku in selection.skus}
        if selection.partition:
            return {s for s, row in rows.items() if row[3].split("#")[0] == selection.partition}
        if selection.older_than_days is not None:
            before = utc_now() - timedelta(days=selection.older_than_days)
            return {sku for sku, row in rows.items() if row[4] < before}
        return set(rows)


@dataclass(frozen=True)
class Prune(Action):
    dry_run: bool

    @property
    def steps(self) -> int:
        return 30

    def do(self, engine: Engine, state: ExpectedState) -> None:
        prune_raw(engine, 0, LOG, dry_run=self.dry_run)

    def apply(self, state: ExpectedState, engine: Engine) -> None:
        if not self.dry_run:
            needed = {row[3] for row in state.products.values()}
            reconciled = {id_ for id_ in state.files if state.is_reconciled(id_)}
            state.pruned |= reconciled - needed


@dataclass(frozen=True)
class Rebuild(Action):
    dry_run: bool
    use_present_settings: bool

    @property
    def steps(self) -> int:
        return 210

    def prepare(self, engine: Engine, state: ExpectedState) -> None:
        """Make a database: without one, a rebuild over pruned deliveries is refused."""
        if state.pruned:
            with engine.warehouse.session("testing", LOG):
                pass

    def do(self, engine: Engine, state: ExpectedState) -> None:
        id_ = engine.warehouse.cached_id()
        is_same = state.ledger and not state.pending_deliveries and not self.use_present_settings
        # Refused deliveries are tried again.
        is_same = is_same and all(
            state.desired_status(id_) == REFUSED
            for id_, status in state.ledger.items()
            if status == REFUSED and state.is_replayable(id_)
        )
        before = tables(engine) if is_same else None
        done = rebuild_products(
            engine, LOG, dry_run=self.dry_run, use_present_settings=self.use_present_settings
        )
        if self.dry_run:
            assert done.figures["deliveries"] == sum(map(state.is_replayable, state.ids))
            return
        assert id_ in {None, engine.warehouse.cached_id()}
        # Due reversals are made after the swap.
        storage_of(engine).check_swapped(engine, is_last=not state.due)
        if before is not None:
            assert "exactly as they were" in done.summary, done.summary
            assert {row[0] for row in before["ledger"]} <= {r[0] for r in tables(engine)["ledger"]}

    def error(self, state: ExpectedState) -> type[LfpError] | None:
        """Refuse where reading all files by the present rules gives more rejects: a loss."""
        if self.dry_run or not self.use_present_settings:
            return None
        for file in state.merged_files:
            id_ = file.delivery_id
            if state.is_replayable(id_) and id_ not in state.reverted:
                then, now = read(file, state.read_as[id_]), read(file, state.rules)
                if now.is_refused or len(now.rejects) > len(then.rejects):
                    return OperationRefusedError
        return None

    def apply(self, state: ExpectedState, engine: Engine) -> None:
        if self.dry_run or self.error(state):
            return
        if self.use_present_settings:
            for file in state.merged_files:
                if state.is_replayable(file.delivery_id) and file.delivery_id not in state.reverted:
                    state.read_as[file.delivery_id] = state.rules
        state.reconcile(state.ids)
