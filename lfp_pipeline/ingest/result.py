"""The results of landing and ingesting, and the reasons to ingest a batch in another way."""

from dataclasses import dataclass

from lfp_pipeline.errors import StillWrittenError
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import LedgerEntry
from lfp_pipeline.reading.reader import Reading
from lfp_pipeline.settings import Settings


@dataclass(frozen=True)
class IngestResult:
    """The result of ingesting a delivery.

    Attributes:
        account: its ledger entry.
        reading: what was read of the file; None: it could not be read, or needed not be.
        products: number of rows in `products` afterwards.
        seconds: from the landed file to the commit, including the wait for the lock and the other
            deliveries of the batch.
        batch: number of deliveries that were merged together.
        busy: whether the only error is that another process has the database open.
        database_id: id of the database whose ledger has the entry; None: no ledger has it.
        warnings: sentences on its time, and on an unfinished upload that it completes.
        merged_here: whether this call merged the delivery, and no earlier one.
    """

    delivery: Delivery
    account: LedgerEntry
    reading: Reading | None = None
    products: int = 0
    seconds: float = 0.0
    batch: int = 1
    busy: bool = False
    database_id: str | None = None
    warnings: tuple[str, ...] = ()
    merged_here: bool = False

    @property
    def partition_key(self) -> str:
        """The key of the delivery's partition."""
        return self.delivery.partition_key


@dataclass(frozen=True)
class LandingFailure:
    """A source that did not land.

    Attributes:
        still_written: whether the only reason is that a program is still writing the file.
        name: name of the file; empty if only its partition is known.
    """

    partition_key: str
    error: str
    still_written: bool = False
    name: str = ""

    @classmethod
    def because_of(cls, error: Exception, partition_key: str, name: str = "") -> "LandingFailure":
        """Return the failure that an error caused."""
        return cls(partition_key, str(error), isinstance(error, StillWrittenError), name)


class DesiredStateChangedError(Exception):
    """A delivery was reverted, reinstated or given another text format meanwhile."""


class OtherSettingsError(Exception):
    """A delivery that was merged before must be read with the settings of that time."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
