"""What became of deliveries, for people."""

from dataclasses import dataclass

from lfp_pipeline.errors import StillWrittenError
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import LedgerEntry
from lfp_pipeline.reading.reader import Reading


@dataclass(frozen=True)
class IngestResult:
    """What became of a delivery, for people.

    Attributes:
        account: its account in the ledger.
        reading: what was read of it; None: it could not be read, or needed not.
        products: rows in `products` afterwards.
        seconds: from the landed file to the commit, waiting for the lock and the others of its
            batch included.
        batch: how many deliveries were merged together with it, itself included.
        busy: whether it failed only because the database was in other hands.
        database_id: of the database whose ledger has the account; None: none has it.
        warnings: what people should know of its times.
        merged_here: whether this call has merged it. It may have been merged before.
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
        """The partition that it is a delivery of."""
        return self.delivery.partition_key


@dataclass(frozen=True)
class LandingFailure:
    """A source that could not be brought into the raw zone.

    Attributes:
        partition_key: the partition that it is for.
        error: why.
        still_written: whether it was left alone only because a program is writing it.
    """

    partition_key: str
    error: str
    still_written: bool = False

    @classmethod
    def because_of(cls, error: Exception, partition_key: str) -> "LandingFailure":
        """A source that could not be landed because of an error."""
        return cls(partition_key, str(error), isinstance(error, StillWrittenError))
