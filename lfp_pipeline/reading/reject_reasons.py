"""Why records are rejected, for people: the commonest reason, an example of it, and a remedy."""

from dataclasses import dataclass

from lfp_pipeline.common.text import printable
from lfp_pipeline.model.table_spec import PRODUCT_SPEC, REQUIRED_COLUMNS

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
    **{
        f"no {column}": f"Give each row a {column}; if it is in another column, name that in "
        "LFP_COLUMN_ALIASES."
        for column in REQUIRED_COLUMNS
    },
    **{
        f"{column.name} too long": f"Raise LFP_{column.length_setting.upper()}."
        for column in PRODUCT_SPEC
    },
    "NUL byte": "Remove the zero bytes from the file.",
}

CUT_SHORT = ("missing columns", "unclosed quote")
"""Reasons that a record gets by being cut off."""

_CUT_OFF = (
    "The last record is short, and has no line end: the file may be cut off. Drop the complete "
    "file."
)


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
