"""What a history asks of the place of its tables and records: a database file, or a lake."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lfp_pipeline.common.duckdb_tools import write_ahead_logs
from lfp_pipeline.engine import Engine
from lfp_pipeline.model.partition_key import PURGES
from testing.engine import database_file
from verification.histories.folder_state import Marks
from verification.histories.kill_points import StepLimit
from verification.histories.observed import TableReader, marks_in

NOTHING = "nothing"
DATABASE = "the database"
_ID = "the id"


class Storage(ABC):
    """A kind of storage. It has no state; each method looks at the place of an engine.

    Attributes:
        losses: what may be lost before a run.
        has_snapshots: whether former tables can be read; then they are to be maintained, too.
        steps_factor: the steps of an action, beside those in a database file.
    """

    losses: Sequence[str]
    has_snapshots = False
    steps_factor = 1.0

    @abstractmethod
    def reader(self) -> TableReader:
        """Return a new reader of the tables."""

    @abstractmethod
    def marks(self, engine: Engine) -> Marks:
        """Return the marks of the raw zone."""

    @abstractmethod
    def purges(self, engine: Engine) -> list[Path]:
        """Return the raw files of the purges that have a record, or copies of them."""

    @abstractmethod
    def lose(self, what: str, engine: Engine) -> None:
        """Lose something."""

    @abstractmethod
    def check_swapped(self, engine: Engine, *, is_last: bool) -> None:
        """Assert that a rebuild has left nothing beside the tables.

        Args:
            is_last: whether nothing was merged after the rebuild.
        """

    def newest_snapshot(self, engine: Engine) -> int:
        """Return the number of the newest snapshot."""
        raise NotImplementedError

    @contextmanager
    def more_steps(self, limit: StepLimit) -> Iterator[None]:
        """For the block, count what only this kind of storage has (see `killed_after`)."""
        del limit
        yield


class FileStorage(Storage):
    """A database in a file, and records in the folder of the raw zone."""

    losses = (NOTHING, DATABASE, _ID)

    def reader(self) -> TableReader:
        return TableReader()

    def marks(self, engine: Engine) -> Marks:
        return marks_in(engine.settings.raw_dir)

    def purges(self, engine: Engine) -> list[Path]:
        records = sorted((engine.settings.raw_dir / PURGES).glob("[!.]*.json"))
        return [record.with_suffix(".raw") for record in records]

    def lose(self, what: str, engine: Engine) -> None:
        path = database_file(engine)
        cached_id = path.with_name(f"{path.name}.id")
        lost = [cached_id] if what == _ID else [path, *write_ahead_logs(path), cached_id]
        for file in lost:
            file.unlink(missing_ok=True)

    def check_swapped(self, engine: Engine, *, is_last: bool) -> None:
        path = database_file(engine)
        assert not (is_last and write_ahead_logs(path))
        assert not list(path.parent.glob(".rebuild*"))
