"""A file of the corpus with its expected result, which is given record by record."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

SKU = "§"
"""Stands for the begin of the skus of a case, so that no two cases have one in common."""

BLANK, HEADER = "blank", "header"
"""Fates of rows that are skipped: they have a number, but are neither rows nor rejects."""

Fate = tuple[str, str, str] | str | None
"""Of a piece of a file: the row (sku, name, description), the reason why it is skipped or a reject,
or None, for no record."""

Piece = tuple[str | bytes, Fate]


@dataclass(frozen=True)
class Case:
    """A file and its expected result.

    Attributes:
        head: the plain text before the first record.
        pieces: records and blank lines, with their fates. The head and the pieces are the plain
            text; of several members, their texts one after the other.
        delivered: makes the bytes that are delivered from the plain text.
        refused: a pattern for the error of a refused file; empty: the file is accepted.
        spaced: whether there are spaces around quotes, which Python's csv does not remove.
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
        """The pieces that are no row and no reject: first byte, byte after the last."""
        kinds = (None, BLANK, HEADER)
        return [(start, end) for _, start, end, fate in self._spans() if fate in kinds]

    @property
    def blank_lines(self) -> int:
        """The number of blank lines: empty ones, and rows without a value."""
        blank = sum(fate == BLANK for _, fate in self.pieces)
        return blank + sum(
            len(re.findall(rb"\r\n|\r|\n", data))
            for data, fate in self.pieces
            if fate is None and not data.strip()
        )

    @property
    def repeated_headers(self) -> int:
        """The number of rows that repeat the header."""
        return sum(fate == HEADER for _, fate in self.pieces)

    @property
    def rows(self) -> list[tuple[int, str, str, str]]:
        """The accepted rows, with their numbers."""
        return [
            (number, *fate) for number, _, _, fate in self._records() if isinstance(fate, tuple)
        ]

    @property
    def rejects(self) -> list[tuple[int, int, int, str]]:
        """Of each reject: number, first byte, byte after the last, reason."""
        return [
            (number, start, end, fate)
            for number, start, end, fate in self._records()
            if isinstance(fate, str) and fate not in (BLANK, HEADER)
        ]

    def _records(self) -> Iterator[tuple[int, int, int, Fate]]:
        return (span for span in self._spans() if span[3] is not None)

    def _spans(self) -> Iterator[tuple[int, int, int, Fate]]:
        number, start = 0, len(self.head)
        for data, fate in self.pieces:
            number += fate is not None
            yield number, start, start + len(data), fate
            start += len(data)

    def with_skus(self, prefix: str) -> "Case":
        """Return the case with skus of its own."""
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
    """Return the case of a file that is accepted, as far as its records are good."""
    written = [(as_bytes(text), fate) for text, fate in pieces]
    return Case(name, as_bytes(head), written, delivered, "", delimiter, spaced)


def refused(name: str, data: str | bytes, message: str) -> Case:
    """Return the case of a file that is refused."""
    return Case(name, as_bytes(data), refused=message)
