"""A file of the corpus, and what is to become of it: said where it is made, record by record."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

SKU = "§"
"""Stands for what the skus of a case begin with, so that no two cases have one in common."""

BLANK, HEADER = "blank", "header"
"""Fates of rows that are skipped: they have a number, but are neither rows nor rejects."""

Fate = tuple[str, str, str] | str | None
"""Of a piece of a file: a row (sku, name, description), why it is skipped or a reject, or no record
at all."""

Piece = tuple[str | bytes, Fate]


@dataclass(frozen=True)
class Case:
    """A file, and what is to become of it.

    Attributes:
        name: of the case.
        head: what comes before the first record, of the plain text.
        pieces: its records and blank lines, with their fates. Together with the head they are the
            plain text; of several members, their texts one after the other.
        delivered: how the file comes to be what is delivered.
        refused: a pattern for what is said of a file that is refused; otherwise nothing.
        delimiter: of its records.
        spaced: whether there are spaces around quotes, of which Python's reader knows nothing.
    """

    name: str
    head: bytes = b""
    pieces: Sequence[tuple[bytes, Fate]] = ()
    delivered: Callable[[bytes], bytes] = bytes
    refused: str = ""
    delimiter: str = ","
    spaced: bool = False

    @property
    def plain(self) -> bytes:
        return self.head + b"".join(data for data, _ in self.pieces)

    @property
    def data(self) -> bytes:
        return self.delivered(self.plain)

    @property
    def between(self) -> list[tuple[int, int]]:
        """What is no row and no reject: first byte, byte after the last."""
        kinds = (None, BLANK, HEADER)
        return [(start, end) for _, start, end, fate in self._places() if fate in kinds]

    @property
    def numbers(self) -> list[int]:
        """The numbers of the rows that are accepted."""
        return [row[0] for row in self.rows]

    @property
    def blank_lines(self) -> int:
        """How many lines are blank: empty ones, and rows without a value."""
        blank = sum(fate == BLANK for _, fate in self.pieces)
        return blank + sum(
            len(re.findall(rb"\r\n|\r|\n", data))
            for data, fate in self.pieces
            if fate is None and not data.strip()
        )

    @property
    def repeated_headers(self) -> int:
        """How many rows repeat the header."""
        return sum(fate == HEADER for _, fate in self.pieces)

    @property
    def rows(self) -> list[tuple[int, str, str, str]]:
        """The rows that are accepted, with their numbers."""
        return [
            (number, *fate) for number, _, _, fate in self._records() if isinstance(fate, tuple)
        ]

    @property
    def rejects(self) -> list[tuple[int, int, int, str]]:
        """Number, first byte, byte after the last, and reason."""
        return [
            (number, start, end, fate)
            for number, start, end, fate in self._records()
            if isinstance(fate, str) and fate not in (BLANK, HEADER)
        ]

    def _records(self) -> Iterator[tuple[int, int, int, Fate]]:
        return (place for place in self._places() if place[3] is not None)

    def _places(self) -> Iterator[tuple[int, int, int, Fate]]:
        number, start = 0, len(self.head)
        for data, fate in self.pieces:
            number += fate is not None
            yield number, start, start + len(data), fate
            start += len(data)

    def with_skus(self, prefix: str) -> "Case":
        """The same case with skus of its own."""
        if self.refused:
            return self

        def own(data: bytes) -> bytes:
            return data.replace(SKU.encode(), prefix.encode())

        def own_fate(fate: Fate) -> Fate:
            if isinstance(fate, tuple):
                sku, name, description = (value.replace(SKU, prefix) for value in fate)
                return sku, name, description
            return fate

        pieces = [(own(data), own_fate(fate)) for data, fate in self.pieces]
        return replace(self, head=own(self.head), pieces=pieces)


def as_bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def accepted(
    name: str,
    *pieces: Piece,
    head: str | bytes = "name,sku,description\n",
    delivered: Callable[[bytes], bytes] = bytes,
    delimiter: str = ",",
    spaced: bool = False,
) -> Case:
    """A file that is taken, as far as its records are good."""
    written = [(as_bytes(text), fate) for text, fate in pieces]
    return Case(name, as_bytes(head), written, delivered, "", delimiter, spaced)


def refused(name: str, data: str | bytes, message: str) -> Case:
    """A file of which nothing is taken."""
    return Case(name, as_bytes(data), refused=message)
