"""All ways to damage a catalogue in one place."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from verification.damage.catalogue import ROWS, Catalogue

LINE_ENDS = ("\n", "\r\n", "\r")

_QUOTED = re.compile(r'"(?:[^"]|"")*"')


@dataclass(frozen=True)
class Damaged:
    """A damaged file, and what may be read from it.

    Attributes:
        what: the damage and where it is.
        touched: numbers of the rows that may be rejected.
        literal: the product that the damaged text states, where it differs from the clean file.
        blank: blank lines that the clean file does not have.
        headers: repeated headers.
        above: lines above the header.
        header: whether the header is damaged: then the file may be refused.
    """

    what: str
    text: str
    touched: tuple[int, ...] = ()
    literal: tuple[str, str, str] | None = None
    blank: int = 0
    headers: int = 0
    above: int = 0
    header: bool = False


class Damages:
    """All damages of one catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.style = catalogue.style
        self.records = [catalogue.record(number) for number in range(ROWS)]

    def all(self) -> list[Damaged]:
        kinds = (
            self._delimiters_more(),
            self._delimiters_fewer(),
            self._quotes_more(),
            self._quotes_fewer(),
            self._line_ends(),
            self._lines_between(),
            self._above(),
            self._headers(),
        )
        return [damaged for kind in kinds for damaged in kind]

    def kinds(self) -> list[list[Damaged]]:
        """Return all damages, those of one kind together."""
        by_kind: dict[str, list[Damaged]] = {}
        for damaged in self.all():
            by_kind.setdefault(damaged.what.partition(":")[0], []).append(damaged)
        return list(by_kind.values())

    def _file(self, records: Sequence[str], header: str | None = None, before: str = "") -> str:
        newline = self.style.newline
        lines = [self.catalogue.header if header is None else header, *records]
        return before + "".join(line + newline for line in lines)

    def _with_row(self, number: int, record: str) -> str:
        return self._file([*self.records[:number], record, *self.records[number + 1 :]])

    def _places(self) -> Iterator[tuple[int, int, str, str, list[int]]]:
        """Yield row, column, the cell as it is written, its value, and places within the cell."""
        for number, (cells, values) in enumerate(
            zip(self.catalogue.cells, self.catalogue.values, strict=True)
        ):
            for column, (cell, value) in enumerate(zip(cells, values, strict=True)):
                yield number, column, cell, value, sorted({0, len(cell) // 2, len(cell)})

    def _with_cell(self, number: int, column: int, cell: str) -> str:
        cells = list(self.catalogue.cells[number])
        cells[column] = cell
        return self._with_row(number, self.style.delimiter.join(cells))

    def _product_with(self, number: int, column: int, value: str) -> tuple[str, str, str]:
        values = list(self.catalogue.values[number])
        values[column] = value
        return self.catalogue.product_of_values(values)

    def _delimiters_more(self) -> Iterator[Damaged]:
        mark = self.style.delimiter
        for number, column, cell, _, places in self._places():
            for place in places:
                text = self._with_cell(number, column, cell[:place] + mark + cell[place:])
                literal = None
                # In quotes, but not between the two of an escaped quote, it is part of the value.
                if _QUOTED.fullmatch(cell[:place] + mark + cell[place:]):
                    other = (cell[1:place] + mark + cell[place:-1]).replace('""', '"')
                    literal = self._product_with(number, column, other)
                what = f"delimiter more: row {number}, column {column}, byte {place}"
                yield Damaged(what, text, (number,), literal)

    def _delimiters_fewer(self) -> Iterator[Damaged]:
        mark = self.style.delimiter
        for number, cells in enumerate(self.catalogue.cells):
            for column in range(len(cells) - 1):
                left, right = mark.join(cells[: column + 1]), mark.join(cells[column + 1 :])
                what = f"delimiter fewer: row {number}, after column {column}"
                yield Damaged(what, self._with_row(number, left + right), (number,))

    def _quotes_more(self) -> Iterator[Damaged]:
        for number, column, cell, value, places in self._places():
            for place in places:
                text = self._with_cell(number, column, cell[:place] + '"' + cell[place:])
                literal = None
                if self.style.quoting == "none" and place:
                    other = value[:place] + '"' + value[place:]
                    literal = self._product_with(number, column, other)
                what = f"quote more: row {number}, column {column}, byte {place}"
                yield Damaged(what, text, (number,), literal)

    def _quotes_fewer(self) -> Iterator[Damaged]:
        for number, record in enumerate(self.records):
            for place, mark in enumerate(record):
                if mark == '"':
                    damaged = record[:place] + record[place + 1 :]
                    what = f"quote fewer: row {number}, byte {place}"
                    yield Damaged(what, self._with_row(number, damaged), (number,))

    def _line_ends(self) -> Iterator[Damaged]:
        newline = self.style.newline
        lines = [self.catalogue.header, *self.records]
        for number in range(len(lines)):
            before = newline.join(lines[: number + 1])
            rest = "".join(line + newline for line in lines[number + 1 :])
            for other in LINE_ENDS:
                if other != newline:
                    what = f"line end other: line {number}, {other!r}"
                    yield Damaged(what, before + other + rest)
            for other in LINE_ENDS:
                # A CR and a LF are one line end.
                twice = not (newline == "\r" and other.startswith("\n"))
                what = f"line end more: line {number}, {other!r}"
                yield Damaged(what, before + newline + other + rest, blank=int(twice))
            if number < len(lines) - 1:
                touched = () if number == 0 else (number - 1, number)
                what = f"line end lost: line {number}"
                yield Damaged(what, before + rest, touched, header=number == 0)
            else:
                yield Damaged("line end lost: the last", before)

    def _lines_between(self) -> Iterator[Damaged]:
        mark, columns = self.style.delimiter, self.style.columns
        blanks = ["", " ", mark * (len(columns) - 1), mark, f'""{mark}""']
        headers = [self.catalogue.header, self.catalogue.header.upper()]
        headers.append(mark.join(f" {column.title()} " for column in columns))
        for number in range(ROWS + 1):
            for lines, kind in ((blanks, "blank"), (headers, "headers")):
                for line in lines:
                    text = self._file([*self.records[:number], line, *self.records[number:]])
                    counts = {"blank": int(kind == "blank"), "headers": int(kind == "headers")}
                    yield Damaged(f"{kind} between: before row {number}, {line!r}", text, **counts)

    def _above(self) -> Iterator[Damaged]:
        mark, newline = self.style.delimiter, self.style.newline
        titles = ["Price list", f"Price list{mark}{mark}", "# made by hand", f'"Lamps{mark} Ltd."']
        for title in [*titles, newline.join(titles), f"Lamps{newline}"]:
            text = self._file(self.records, before=title + newline)
            above = (title + newline).count(newline)
            yield Damaged(f"lines above: {title!r}", text, above=above)
        for byte_order_mark in ("\ufeff", "\ufeff\ufeff"):
            text = self._file(self.records, before=byte_order_mark)
            yield Damaged(f"byte order mark: {byte_order_mark!r}", text)

    def _headers(self) -> Iterator[Damaged]:
        mark, header = self.style.delimiter, self.catalogue.header
        for place in range(len(header) + 1):
            for added in (mark, '"'):
                text = self._file(self.records, header[:place] + added + header[place:])
                yield Damaged(f"header with {added!r} more: byte {place}", text, header=True)
            if header[place : place + 1] in (mark, '"'):
                lost = header[place]
                text = self._file(self.records, header[:place] + header[place + 1 :])
                yield Damaged(f"header with {lost!r} fewer: byte {place}", text, header=True)
