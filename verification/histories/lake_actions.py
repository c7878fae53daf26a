"""What is done only to a lake: its files are maintained, and its snapshots are read."""

from dataclasses import dataclass
from datetime import timedelta
from unittest import mock

from lfp_pipeline.engine import Engine
from lfp_pipeline.operations.maintain import maintain_tables
from lfp_pipeline.warehouse import lake_maintenance
from testing.engine import LOG
from verification.histories.actions import Action
from verification.histories.expected_state import ExpectedState
from verification.histories.lake_storage import unknown_files
from verification.histories.storage_choice import storage_of

_FROM_NOW = -timedelta(minutes=1)
"""Ages before which files are removed: those of this maintenance, too."""


@dataclass(frozen=True)
class Maintain(Action):
    """Files are written again, and what is older than the retention is removed at once."""

    retention_hours: int
    dry_run: bool

    @property
    def steps(self) -> int:
        return 32

    def do(self, engine: Engine, state: ExpectedState) -> None:
        settings = engine.settings.model_copy(update={"lake_retention_hours": self.retention_hours})
        with mock.patch.multiple(lake_maintenance, GRACE=_FROM_NOW, ORPHAN_AGE=_FROM_NOW):
            maintain_tables(Engine(settings, engine.warehouse), LOG, dry_run=self.dry_run)
        if not self.dry_run and engine.warehouse.exists:
            assert not (unknown := unknown_files(engine)), unknown

    def apply(self, state: ExpectedState, engine: Engine) -> None:
        if not (self.dry_run or self.retention_hours):
            state.snapshots.clear()


@dataclass(frozen=True)
class LookBack(Action):
    """A reader looks at an earlier snapshot, which must be as it was."""

    snapshot: int

    def do(self, engine: Engine, state: ExpectedState) -> None:
        reader = storage_of(engine).reader()
        found = repr(reader.tables(engine, f"SNAPSHOT_VERSION {self.snapshot}"))
        expected = state.snapshots[self.snapshot]
        assert found == expected, f"snapshot {self.snapshot} has {found}, had {expected}"

    def apply(self, state: ExpectedState, engine: Engine) -> None:
        """Change nothing."""
