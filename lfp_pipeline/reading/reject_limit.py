"""How many rejects a file may have, before the rest of it is not worth reading."""

from dataclasses import dataclass
from math import ceil

from lfp_pipeline.errors import TooManyRejectsError
from lfp_pipeline.reading.columns import WANTED
from lfp_pipeline.reading.reject_reasons import CommonestReason

MAX_REJECTS = 100_000
"""Of one file. Each takes memory that DuckDB does not count, and is written with its bytes."""

KEPT_AS_EVIDENCE = 10_000
"""So many are always found out and kept, even if they refuse the file."""

_LEAST_REJECT_BYTES = 2  # A character and a line end.


@dataclass(frozen=True)
class RejectLimit:
    """The largest share of rejects that is accepted, for deliveries of one size and width.

    Attributes:
        max_share: the setting.
        size_bytes: of all texts of the delivery.
        columns: of the narrowest of them.
        found: rejects in those that were read before.
    """

    max_share: float
    size_bytes: int
    columns: int
    found: int = 0

    @property
    def most(self) -> int:
        """With more, the share is too large whatever the other records are, or they are too many.

        A good record has a sku, a name, its delimiters and a line end, which the last one of a file
        may lack.
        """
        good_bytes = self.columns + 2
        bytes_per_reject = _LEAST_REJECT_BYTES * self.max_share + good_bytes * (1 - self.max_share)
        possible = ceil((self.size_bytes + 1) * self.max_share / bytes_per_reject)
        return min(max(possible, KEPT_AS_EVIDENCE), MAX_REJECTS)

    @property
    def left(self) -> int:
        """So many more may still be found."""
        return max(0, self.most - self.found)

    def refusal(self, commonest: CommonestReason) -> TooManyRejectsError:
        """The error that says that there are more."""
        msg = (
            f"More than {self.most:,} records are rejected, which refuses the whole file whatever "
            f"else is in it (setting LFP_MAX_REJECT_SHARE; at most {MAX_REJECTS:,}). {commonest} "
            "None is kept in rejected_rows."
        )
        return TooManyRejectsError(msg, commonest.reason)


@dataclass(frozen=True)
class OtherFiles:
    """What a delivery holds beside the text that is read.

    Attributes:
        size_bytes: of the other texts.
        rejects: in those that were read already.
    """

    size_bytes: int = 0
    rejects: int = 0

    def limit(self, max_share: float, size_bytes: int, columns: int) -> RejectLimit:
        """The limit for a text of that size and width, as good rows may be elsewhere."""
        width = len(WANTED) if self.size_bytes else columns
        return RejectLimit(max_share, size_bytes + self.size_bytes, width, self.rejects)
