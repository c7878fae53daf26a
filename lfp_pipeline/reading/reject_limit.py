"""How many rejects a file may have, and why they are rejected, for people."""

from dataclasses import dataclass, replace
from math import ceil

from lfp_pipeline.common.text import printable
from lfp_pipeline.errors import TooManyRejectsError
from lfp_pipeline.reading.columns import WANTED

INVALID_ENCODING = "invalid encoding"

_SHOWN_CHARACTERS = 80

_QUOTES = (
    "Put quotes around a value that holds a quote, and write that quote twice; or escape all "
    "quotes of the file by backslashes."
)
_HINTS = {
    "missing columns": "If all rows have fewer cells than the header, take the surplus delimiter "
    "out of the header. Otherwise, write a delimiter for each empty cell (or unset "
    "LFP_REQUIRE_ALL_CELLS, if it is set), and quotes around a text with line breaks.",
    "too many columns": "If most rows have more cells than the header, name each column in the "
    "header. Otherwise, put quotes around values that contain the delimiter.",
    "unclosed quote": _QUOTES,
    "stray quote": _QUOTES,
    "text after a closing quote": _QUOTES,
    "record too long": "Raise LFP_MAX_RECORD_BYTES.",
    "no sku": "Give each row a sku; if it is in another column, name that in LFP_COLUMN_ALIASES.",
    "no name": "Give each row a name; if it is in another column, name that in LFP_COLUMN_ALIASES.",
    "sku too long": "Raise LFP_MAX_SKU_LENGTH.",
    "name too long": "Raise LFP_MAX_NAME_LENGTH.",
    "description too long": "Raise LFP_MAX_DESCRIPTION_LENGTH.",
    "NUL byte": "Remove the zero bytes from the file.",
}

CUT_SHORT = ("missing columns", "unclosed quote")
"""Reasons that a record gets by being cut off."""

_CUT_OFF = (
    "The last record is short, and has no line end: the file may be cut off. Drop the complete "
    "file."
)

MAX_REJECTS = 100_000
"""Of one file. Each takes memory that DuckDB does not count, and is written with its bytes."""

KEPT_AS_EVIDENCE = 10_000
"""So many are always found out and kept, even if they refuse the file."""

_LEAST_REJECT_BYTES = 2  # A character and a line end.


@dataclass(frozen=True)
class CommonestReason:
    """The reason that most rejects of a delivery have, and the first of these rejects.

    Attributes:
        reason: as in `rejected_rows`.
        count: rejects that have it.
        rejects: all of them.
        place: where the first one is, such as `row 17`.
        detail: more on the reason.
        raw: its first bytes, if they are at hand.
        cut_off: whether of all records only the last one is short, and has no line end.
    """

    reason: str
    count: int
    rejects: int
    place: str
    detail: str
    raw: bytes
    cut_off: bool = False

    def __str__(self) -> str:
        """Reason, share, example and remedy, in two or three sentences."""
        text = printable(self.raw.rstrip(b"\r\n").decode("utf-8", "backslashreplace"))
        excerpt = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
        example = ", ".join(filter(None, (self.place, self.detail)))
        example += f": {excerpt}" if excerpt else ""
        # What is cut off is not mended by the remedy for records that are short throughout.
        is_cut = self.cut_off and self.reason in CUT_SHORT
        remedy = "" if is_cut else _HINTS.get(self.reason, "")
        told = (
            f"The commonest reason is {self.reason!r} ({self.count:,} of {self.rejects:,} "
            f"rejects). The first is {example}."
        )
        return " ".join(filter(None, (told, remedy, _CUT_OFF if self.cut_off else "")))


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
    size_bytes: int = 0
    columns: int = len(WANTED)
    found: int = 0

    def with_text(self, size_bytes: int, columns: int) -> "RejectLimit":
        """The same with one more text, of that size and width."""
        narrowest = len(WANTED) if self.size_bytes else columns
        return replace(self, size_bytes=self.size_bytes + size_bytes, columns=narrowest)

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
