"""Clean catalogues in many styles."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

ROWS = 24

LAYOUTS = {
    "bare": ("sku", "name", "description"),
    "last column empty": ("id", "sku", "name", "description", "remark"),
    "last column filled": ("id", "brand", "sku", "name", "description", "weight"),
}


@dataclass(frozen=True)
class Style:
    """How a catalogue is written.

    Attributes:
        quoting: which values are quoted: `none`, `minimal` (those that need it), or `all`.
        layout: a name of `LAYOUTS`.
    """

    delimiter: str
    newline: str
    quoting: str
    layout: str

    @property
    def columns(self) -> tuple[str, ...]:
        return LAYOUTS[self.layout]

    def cell(self, value: str) -> str:
        """Return a value as it is written in this style."""
        needs_quotes = any(mark in value for mark in (self.delimiter, '"', "\r", "\n"))
        if self.quoting == "all" or (self.quoting == "minimal" and needs_quotes):
            return '"' + value.replace('"', '""') + '"'
        return value


def styles() -> Iterator[Style]:
    """Yield every style."""
    newlines, quotings = ("\n", "\r\n", "\r"), ("none", "minimal", "all")
    for parts in product(",;\t|", newlines, quotings, LAYOUTS):
        yield Style(*parts)


class Catalogue:
    """The rows of a catalogue: their values, and their cells as they are written."""

    def __init__(self, style: Style) -> None:
        self.style = style
        self.header = style.delimiter.join(map(style.cell, style.columns))
        self.values = [self._values(number) for number in range(ROWS)]
        self.cells = [[style.cell(value) for value in row] for row in self.values]

    def _values(self, number: int) -> list[str]:
        style = self.style
        descriptions = [
            f"Brass no. {number}",
            f"Brass{style.delimiter} and oak",
            f'Model "{number}"{style.delimiter} wide',
            f"Two{style.newline}lines",
            "",
            f"Parts:{style.newline}shade{style.delimiter} foot{style.newline}end",
        ]
        description = descriptions[number % len(descriptions)]
        if style.quoting == "none" and style.cell(description) != Style(
            style.delimiter, style.newline, "minimal", style.layout
        ).cell(description):
            description = f"Oak no. {number}"
        by_column = {
            "id": f"{1000 + number}",
            "brand": "Lux",
            "sku": f"s-{number:02d}",
            "name": f"Lamp {number}",
            "description": description,
            "remark": "",
            "weight": f"{number}.5",
        }
        return [by_column[column] for column in style.columns]

    def record(self, number: int) -> str:
        """Return a row as it is written, without its line end."""
        return self.style.delimiter.join(self.cells[number])

    def product_of(self, number: int) -> tuple[str, str, str]:
        """Return sku, name and description of a row."""
        return self.product_of_values(self.values[number])

    def product_of_values(self, values: list[str]) -> tuple[str, str, str]:
        """Return sku, name and description of a row with these values."""
        sku, name, description = (
            values[self.style.columns.index(column)] for column in ("sku", "name", "description")
        )
        return sku, name, description
