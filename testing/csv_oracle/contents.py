"""The expected contents of a file: its winners, rejects and skipped lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from unicodedata import category

from testing.csv_oracle.cells import BLANKS
from testing.csv_oracle.records import Oracle, bare_name, is_header

Row = tuple[int, str, str, str]
Rejected = tuple[int, int, int, str, bytes]


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        rows_read: records, rejects included, blank rows and repeated headers not.
        winners: row number, sku, name, description; by row number.
        rejects: row number, first byte, byte after the last, reason, bytes; by row number.
        blank: blank lines.
        headers: rows that repeat the header.
    """

    rows_read: int
    winners: list[Row]
    rejects: list[Rejected]
    blank: int
    headers: int

    @property
    def products(self) -> list[tuple[str, str, str]]:
        return [row[1:] for row in self.winners]

    @property
    def reasons(self) -> list[tuple[int, str]]:
        return [(reject[0], reject[3]) for reject in self.rejects]


def expected_contents(
    data: bytes,
    start: int,
    delimiter: str,
    header: Sequence[str],
    limit: int = 2_000_000,
    *,
    require_all: bool = False,
    null_tokens: Sequence[str] = (),
) -> Contents:
    """Return the contents of a file whose first record begins at `start`.

    Raises:
        AnotherHeaderError: the file must be refused.
    """
    oracle = Oracle(data, start, delimiter, header, limit, require_all=require_all)
    records = oracle.records()
    assert_every_byte_is_accounted_for(data, start, [(r.start, r.end) for r in records])
    rejects: list[Rejected] = []
    last: dict[str, Row] = {}
    blank, headers = oracle.empty_lines(), 0
    for number, record in enumerate(records, 1):
        reason, skipped = record.reason, record.skipped
        if not reason and not skipped:
            values = [value.decode() for value in record.values]
            if oracle.habits.backslash:
                values = [value.replace("\\\\", "\\") for value in values]
            values = ["" if value in null_tokens else value for value in values]
            named = dict(zip(header, values, strict=False))
            sku, name = (clean(named[key], null_tokens) for key in ("sku", "name"))
            row = (number, sku, name, unwrapped(named["description"]))
            skipped = _skipped(row, record.values)
            reason = "" if skipped else _broken_rule(*row[1:], oracle.habits.bare_quotes)
            if not reason and not skipped:
                last[sku] = row
        blank += skipped == "blank"
        headers += skipped == "header"
        if reason:
            raw = data[record.start : record.end]
            rejects.append((number, record.start, record.end, reason, raw))
    rows = len(records) - blank + oracle.empty_lines() - headers
    return Contents(rows, sorted(last.values()), rejects, blank, headers)


def _skipped(row: Row, values: Sequence[bytes]) -> str:
    if all(character in BLANKS for value in values for character in value.decode()):
        return "blank"
    return "header" if is_header([bare_name(value) for value in row[1:]]) else ""


def clean(value: str, null_tokens: Sequence[str] = ()) -> str:
    """Return a sku or name as it is stored."""
    value = _trimmed(unwrapped(_trimmed(value)))
    return "" if value in null_tokens else value


def _trimmed(value: str) -> str:
    ends = {*BLANKS, "\r", "\n"}
    while value and value[0] in ends:
        value = value[1:]
    while value and value[-1] in ends:
        value = value[:-1]
    return value


def unwrapped(value: str) -> str:
    """Return the text of a formula that is nothing but a text; any other value as it is."""
    if len(value) > 2 and value.startswith('="') and value.endswith('"'):
        parts = value[2:-1].split('""')
        if not any('"' in part for part in parts):
            return '"'.join(parts)
    return value


def _broken_rule(sku: str, name: str, description: str, bare_quotes: bool) -> str:
    if not _has_text(sku):
        return "no sku"
    if not _has_text(name):
        return "no name"
    values = sku, name, description
    if bare_quotes and any(value[:2] == '="' and '"' not in value[2:] for value in values):
        return "stray quote"
    if "\0" in sku + name + description:
        return "NUL byte"
    return ""


def _has_text(value: str) -> bool:
    unseen = {*BLANKS, "\r", "\n", "\u2800", "\u3164", "\u115f", "\u1160", "\uffa0"}
    return any(
        character not in unseen
        and category(character) != "Cc"
        and not 0xFE00 <= ord(character) <= 0xFE0F
        and not 0xE0000 <= ord(character) <= 0xE0FFF
        for character in value
    )


def assert_every_byte_is_accounted_for(
    data: bytes, start: int, spans: Sequence[tuple[int, int]]
) -> None:
    """Assert that records follow each other in order, with only blank lines between them."""
    position = start
    for first, end in [*spans, (len(data), len(data))]:
        assert position <= first <= end
        assert not data[position:first].strip(b"\r\n")
        position = end
