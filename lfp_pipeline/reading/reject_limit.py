"""How many rejects a file may have, before the rest of it is not worth reading."""

from dataclasses import dataclass
from math import ceil

from lfp_pipeline.errors import DeliveryRefusedError

MAX_REJECTS = 100_000
"""Of one file. Each takes memory that DuckDB does not count, and is written with its bytes."""

KEPT_AS_EVIDENCE = 10_000
"""So many are always found out and kept, even if they refuse the file."""

_LEAST_REJECT_BYTES = 2  # A character and a line end.


@dataclass(frozen=True)
class RejectLimit:
    """The largest share of rejects that is accepted, for files of one size and width."""

    max_share: float
    file_bytes: int
    columns: int

    @property
    def most(self) -> int:
        """With more, the share is too large whatever the other records are, or they are too many.

        A good record has a sku, a name, its delimiters and a line end, which the last one of a file
        may lack.
        """
        good_bytes = self.columns + 2
        bytes_per_reject = _LEAST_REJECT_BYTES * self.max_share + good_bytes * (1 - self.max_share)
        possible = ceil((self.file_bytes + 1) * self.max_share / bytes_per_reject)
        return min(max(possible, KEPT_AS_EVIDENCE), MAX_REJECTS)

    def refusal(self, place: str, reason: str) -> DeliveryRefusedError:
        """The error that says that there are more."""
        return DeliveryRefusedError(
            f"More than {self.most:,} records are rejected, which refuses the whole file whatever "
            f"else is in it (setting LFP_MAX_REJECT_SHARE; at most {MAX_REJECTS:,}). One of them "
            f"is {place}: {reason}. None is kept in rejected_rows."
        )
