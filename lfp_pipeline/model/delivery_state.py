"""The state of a delivery in one database: what people want of it, and what the database has."""

from typing import NamedTuple

from lfp_pipeline.model.ledger_entry import Status


class DeliveryState(NamedTuple):
    """The desired and the recorded state of a delivery in one database.

    Attributes:
        desired: `REVERTED` if people have reverted the delivery, else `MERGED`.
        recorded: the status in the ledger of the database, or in a status note about that database;
            None: there is none.
        bytes_kept: whether the raw zone keeps the bytes of the delivery, which are not pruned.
    """

    desired: Status
    recorded: Status | None
    bytes_kept: bool = True

    @property
    def is_reconciled(self) -> bool:
        """Whether the delivery is in its desired state; a refused one is, unless reverted since.

        A failed delivery is tried again. A refused one is not, because bad data remains bad.
        """
        if self.desired is Status.REVERTED:
            return self.recorded is Status.REVERTED
        return self.recorded is Status.MERGED or self.recorded is Status.REFUSED

    @property
    def awaits_reversal(self) -> bool:
        """Whether people have reverted the delivery, and the database has not yet."""
        return self.desired is Status.REVERTED and not self.is_reconciled

    @property
    def needs_bytes(self) -> bool:
        """Whether another database needs the bytes: a merge reads them, a reversal does not."""
        return self.desired is not Status.REVERTED

    @property
    def is_replayable(self) -> bool:
        """Whether the delivery can reach its desired state in any database."""
        return self.bytes_kept or not self.needs_bytes
