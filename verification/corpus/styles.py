"""How files of the corpus are written: delimiters, line ends, quoting, encodings."""

from collections.abc import Callable
from dataclasses import dataclass

from verification.corpus.cases import Case, Piece, accepted

ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "utf-16-le with mark": lambda plain: ("\ufeff" + plain.decode()).encode("utf-16-le"),
    "utf-16-be with mark": lambda plain: ("\ufeff" + plain.decode()).encode("utf-16-be"),
    "utf-16-le": lambda plain: plain.decode().encode("utf-16-le"),
    "utf-16-be": lambda plain: plain.decode().encode("utf-16-be"),
}
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
NEWLINES = {"\n": "LF", "\r\n": "CRLF", "\r": "CR"}


@dataclass(frozen=True)
class Style:
    """A delimiter, a line end, and whether all values are quoted."""

    delimiter: str
    newline: str
    quoted: bool

    def __str__(self) -> str:
        quoting = "quoted" if self.quoted else "bare"
        return f"{DELIMITERS[self.delimiter]} {NEWLINES[self.newline]} {quoting}"

    def cell(self, value: str) -> str:
        special = any(mark in value for mark in (self.delimiter, '"', "\r", "\n"))
        return '"' + value.replace('"', '""') + '"' if self.quoted or special else value

    def line(self, *values: str) -> str:
        return self.delimiter.join(map(self.cell, values)) + self.newline

    def raw(self, *values: str) -> str:
        """Return a line of values that are not quoted."""
        return self.delimiter.join(values) + self.newline

    def row(self, number: int, name: str = "Lamp", description: str = "plain") -> Piece:
        """Return a row that is accepted."""
        sku = f"§{number}"
        return self.line(name, sku, description), (sku, name, description)

    @property
    def head(self) -> str:
        return self.line("name", "sku", "description")

    def file(self, name: str, *pieces: Piece, spaced: bool = False) -> Case:
        """Return a case in this style."""
        return accepted(
            f"{name}, {self}", *pieces, head=self.head, delimiter=self.delimiter, spaced=spaced
        )


STYLES = [
    Style(",", "\n", quoted=False),
    Style(";", "\r\n", quoted=True),
    Style("\t", "\r", quoted=False),
    Style("|", "\n", quoted=True),
]
