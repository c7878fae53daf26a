"""Settings that decide how files are read, and a plain reader that follows them."""

import csv
import io
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

from testing.expected_tables import File, Row, Winners

_MIN_SHORT_ROWS = 3
_MIN_SHORT_SHARE = 10
"""Short rows are a habit if at least one row in so many is short."""


@dataclass(frozen=True)
class Rules:
    """Settings that decide what is read.

    Attributes:
        name_alias: another name of the column name: `label` or `title`; None: there is none.
    """

    name_alias: str | None = None
    max_name_length: int = 1_000
    null_tokens: tuple[str, ...] = ()
    max_reject_share: float = 0.5
    require_all_cells: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "column_aliases": {"name": [self.name_alias]} if self.name_alias else {},
            "max_name_length": self.max_name_length,
            "null_tokens": self.null_tokens,
            "max_reject_share": self.max_reject_share,
            "require_all_cells": self.require_all_cells,
        }

    @classmethod
    def recorded(cls, conditions: str) -> "Rules":
        """Return the rules that a ledger entry records."""
        found = json.loads(conditions)["settings"]
        (alias,) = found["column_aliases"].get("name", [None])
        return cls(
            alias,
            found["max_name_length"],
            tuple(found["null_tokens"]),
            found["max_reject_share"],
            found["require_all_cells"],
        )


@dataclass(frozen=True)
class Version(File):
    """A version of a file, whose name column may have names that only an alias knows.

    Attributes:
        has_two_names: whether names stand in the column `label`, and in swapped case in `title`.
        size: the bytes of an unfinished upload; None: the upload is finished.
    """

    has_two_names: bool = False
    size: int | None = None

    @cached_property
    def content(self) -> bytes:
        return self.pack(b"".join(self.texts)[: self.size])

    @cached_property
    def texts(self) -> list[bytes]:
        """The header and each record of the finished upload, as they are written."""
        header, rows = ("sku", "name", "description"), self.rows
        if self.has_two_names:
            header = ("sku", "label", "title", "description")
            rows = tuple(
                (*row[:2], row[1].swapcase(), *row[2:]) if row[1:] else row for row in rows
            )
        return [_written(row) for row in [header, *rows]]

    @cached_property
    def records(self) -> dict[int, Row]:
        if self.size is None:
            return super().records
        whole = [start for start, end in self._spans[1:] if end <= self.size]
        rows = [*self.rows[: len(whole)], *_rows_of(self._last_part)]
        return replace(self, rows=tuple(rows), size=None).records

    @property
    def lacks_columns(self) -> bool:
        """Whether the upload ends within the header."""
        return self.size is not None and self.size < self._spans[0][1]

    def ends_inside_a_record(self, size: int) -> bool:
        """Whether the first `size` bytes end within a record or the header."""
        return any(start < size < end for start, end in self._spans)

    @property
    def is_plain(self) -> bool:
        """Whether this oracle can read the upload: it is text, and its last record is clear."""
        try:
            cells = [len(row) for row in _rows_of(self._last_part)]
        except UnicodeDecodeError:
            return False
        # With more cells than the header, the only row may have a delimiter at its end.
        limit = 1 if self.has_two_names else 3
        return self.lacks_columns or max(cells, default=1) <= limit

    @cached_property
    def _spans(self) -> list[tuple[int, int]]:
        """First byte and end of the header and each record, line ends excluded."""
        ends = list(itertools.accumulate(map(len, self.texts)))
        return [(start, end - len(_LINE_END)) for start, end in zip([0, *ends], ends, strict=False)]

    @property
    def _last_part(self) -> bytes:
        """The bytes of the record within which the upload ends."""
        inside = [start for start, end in self._spans if start < (self.size or 0) < end]
        return self.content[inside[0] :] if inside else b""


_LINE_END = b"\r\n"


def _written(row: Row) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(row)
    return text.getvalue().encode()


def _rows_of(part: bytes) -> list[Row]:
    """Return the rows that a part of a record gives.

    A value without its closing quote is a reject, and the next line is read as usual.
    """
    text = part.decode()
    if text.count('"') % 2:
        head, _, tail = text.rpartition('"')  # No value has a line end and a quote.
        rest, _, next_line = tail.partition("\n")
        return [(line,) for line in (f'{head}"{rest}', next_line) if line]
    return [tuple(row) for row in csv.reader(io.StringIO(text, newline=""))]


@dataclass(frozen=True)
class Read:
    """What is read of a file: accepted rows by number, and the numbers of rejects."""

    accepted: Mapping[int, Row]
    rejects: tuple[int, ...]
    is_refused: bool

    @cached_property
    def winners(self) -> Winners:
        return {row[0]: (number, row) for number, row in self.accepted.items()}


@lru_cache(maxsize=10_000)
def read(file: File, rules: Rules) -> Read:
    """Read a file by rules."""
    two_names = isinstance(file, Version) and file.has_two_names
    lacks_columns = isinstance(file, Version) and file.lacks_columns
    if lacks_columns or (two_names and rules.name_alias is None):
        return Read({}, (), is_refused=True)
    short = sum(len(row) == 2 for row in file.records.values())
    is_habit = short >= _MIN_SHORT_ROWS and short * _MIN_SHORT_SHARE >= len(file.records)
    may_be_short = is_habit and not rules.require_all_cells
    accepted, rejects = {}, []
    for number, row in file.records.items():
        if len(row) != 3 and not (len(row) == 2 and may_be_short):
            rejects.append(number)
            continue
        sku, name, description = (*row, "")[:3]
        name = name.swapcase() if two_names and rules.name_alias == "title" else name
        values = sku.strip(), name.strip(), description
        values = tuple("" if value in rules.null_tokens else value for value in values)
        if values[0] and 0 < len(values[1]) <= rules.max_name_length:
            accepted[number] = values
        else:
            rejects.append(number)
    is_refused = len(rejects) > rules.max_reject_share * len(file.records)
    return Read(accepted, tuple(rejects), is_refused)
