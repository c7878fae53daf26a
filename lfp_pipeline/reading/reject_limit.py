"""The limit of rejects of a delivery, and the refusal beyond it, with reason and remedy."""

from dataclasses import dataclass, replace
from math import ceil

from lfp_pipeline.common.text import printable, shortened
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
"""Reasons of a record that is cut off."""

_CUT_OFF = (
    "The last record is short, and has no line end: the file may be cut off. Drop the complete "
    "file."
)

MAX_REJECTS = 100_000
"""Most rejects of a delivery. DuckDB does not count their memory; their bytes are stored."""

KEPT_AS_EVIDENCE = 10_000
"""So many rejects are always found and kept, even if the file is refused for them."""

_LEAST_REJECT_BYTES = 2  # A character and a line end.


@dataclass(frozen=True)
class CommonestReason:
    """The reason that most rejects of a delivery have, and the first of these rejects.

    Attributes:
        reason: as in `rejected_rows`.
        count: number of rejects with this reason.
        rejects: number of all rejects.
        place: position of the first of these rejects, such as `row 17`.
        raw: first bytes of that reject, if known.
        cut_off: whether only the last record is short, and has no line end.
    """

    reason: str
    count: int
    rejects: int
    place: str
    detail: str
    raw: bytes
    cut_off: bool = False

    def __str__(self) -> str:
        """Return reason, share, place and remedy, in two or three sentences."""
        example = ", ".join(filter(None, (self.place, self.detail)))
        # The remedy for records that are short throughout does not help a file that is cut off.
        is_cut = self.cut_off and self.reason in CUT_SHORT
        remedy = "" if is_cut else _HINTS.get(self.reason, "")
        message = (
            f"The commonest reason is {self.reason!r} ({self.count:,} of {self.rejects:,} "
            f"rejects). The first is {example}."
        )
        return " ".join(filter(None, (message, remedy, _CUT_OFF if self.cut_off else "")))

    @property
    def quoted_record(self) -> str:
        """The first of these rejects on a line of its own, to end a message; empty if unknown."""
        text = printable(self.raw.rstrip(b"\r\n").decode("utf-8", "backslashreplace"))
        return f"\n    {shortened(text, _SHOWN_CHARACTERS)}" if text else ""


@dataclass(frozen=True)
class RejectLimit:
    """The limit of rejects for a delivery of a given size and width.

    Attributes:
        max_share: largest share of rejects that is accepted (setting LFP_MAX_REJECT_SHARE).
        size_bytes: size of all texts of the delivery.
        columns: number of columns of the narrowest text.
        found: number of rejects in the texts that were read before.
    """

    max_share: float
    size_bytes: int = 0
    columns: int = len(WANTED)
    found: int = 0

    def with_text(self, size_bytes: int, columns: int) -> "RejectLimit":
        """Return the limit for a delivery with one more text of this size and width."""
        narrowest = len(WANTED) if self.size_bytes else columns
        return replace(self, size_bytes=self.size_bytes + size_bytes, columns=narrowest)

    @property
    def max_rejects(self) -> int:
        """Most rejects. With more, the share is exceeded whatever the remaining records are.

        The shortest good record has a sku, a name, its delimiters and a line end, which the last
        record of a file may lack. At most MAX_REJECTS.
        """
        good_bytes = self.columns + 2
        bytes_per_reject = _LEAST_REJECT_BYTES * self.max_share + good_bytes * (1 - self.max_share)
        possible = ceil((self.size_bytes + 1) * self.max_share / bytes_per_reject)
        return min(max(possible, KEPT_AS_EVIDENCE), MAX_REJECTS)

    @property
    def remaining(self) -> int:
        """Number of rejects that may still be found."""
        return max(0, self.max_rejects - self.found)

    def refusal(self, commonest: CommonestReason) -> TooManyRejectsError:
        """Return the error for a delivery with more rejects."""
        msg = (
            f"More than {self.max_rejects:,} records are rejected, which refuses the whole file "
            "whatever else is in it (setting LFP_MAX_REJECT_SHARE; at most "
            f"{MAX_REJECTS:,}). {commonest} "
            f"None is kept in rejected_rows.{commonest.quoted_record}"
        )
        return TooManyRejectsError(msg, commonest.reason)
