"""Draws cases: clean and dirty files, plain and packed, whole and damaged.

A seed and a number always give the same case.
"""

from dataclasses import dataclass, replace
from random import Random

from verification.fuzz.cases import RECORD_BYTES, Case, File
from verification.fuzz.packings import PACKINGS

_HEADERS = (
    ("sku", "name", "description"),
    ("name", "sku", "description"),
    ("name", "sku", "extra", "description"),
    ("description", "x", "sku", "name", "y"),
)
_WORDS = ("a", "b1", "c c", "Lamp", "é", "\U0001f600", "=1+1", "-", "0", "NULL", "\\N", "'", "\\")
_SLIPS = (
    *(b'"', b'"', b'""', b" ", b"  ", b"\n", b"\r", b"\r\n", b"\0", b"\t", b",", b";", b"|", b"'"),
    *(b"\\", b"\xff", b"\xe2\x82", b"\xed\xa0\x80", b"\xc0\x80", b"\xef\xbb\xbf", b'"a" "b"'),
    *(b' "', b'" ', b'  "a"', "\u00a0".encode(), "\u2028".encode(), b"sep=;\n", b"\x1a", b"#"),
)
_UNSEEN = ("\u200b", "\ufeff", "\u00ad", "\u200e", "\u00a0", "\u2060")
_NULL_TOKENS = ((), (), (), ("NULL",), ("\\N", "NULL", "-"))


def case_of(seed: int, number: int) -> Case:
    """Return the case of a seed with this number."""
    rng = Random(f"{seed} {number}")
    way = rng.choices(["read", "merge", "directly"], [6, 2, 1])[0]
    limit = rng.choice([RECORD_BYTES, RECORD_BYTES, 300, 2_000])
    files = tuple(_random_file(rng, limit, way) for _ in range(rng.choice([1, 1, 2, 3])))
    return Case(
        way,
        files,
        record_bytes=limit,
        threads=rng.choice([1, 2, 4]),
        max_reject_share=rng.choice([1, 1, 0.5, 0.1]) if way != "read" else 1,
        null_tokens=rng.choice(_NULL_TOKENS),
        require_all_cells=rng.random() < 0.2,
    )


def _random_file(rng: Random, limit: int, way: str) -> File:
    file = _dirty(rng, _clean(rng, limit), limit)
    if limit == RECORD_BYTES and rng.random() < 0.1:  # Smaller limits could not hold a header.
        file = replace(file, text=_mutated(rng, file.text, file, limit), start=None)
    if file.start is not None and rng.random() < 0.1 and not file.text.startswith(b"\xef\xbb\xbf"):
        try:
            file.text.decode()
        except UnicodeDecodeError:
            pass
        else:
            file = replace(file, encoding=rng.choice(["utf-16-le", "utf-16-be"]))
    if rng.random() < 0.4:
        packing = rng.choice([name for name in PACKINGS if name != "plain"])
        damage = rng.randrange(10**9) if rng.random() < 0.6 else None
        file = replace(file, packing=packing, damage=damage)
    if way == "read":
        return file
    return replace(file, key=rng.choice(["a.csv", "a", "b.csv"]), microseconds=rng.randrange(3))


@dataclass(frozen=True)
class _Style:
    """How one writer writes a file.

    Attributes:
        columns: the names in the header.
        header_ends: the number of delimiters after the last name.
        row_ends: the number of delimiters after the last value of each row.
        short: how rows leave out empty cells at their ends: `never`, `often`, or in `blocks`.
        backslash: whether backslashes escape quotes.
        wrapped: whether skus are written as ="007".
        quoted: the share of values in quotes.
        between: the share of rows that follow a blank row, a header or an odd record.
        unseen: the share of skus and names with invisible characters around them.
    """

    delimiter: str
    newline: str
    columns: tuple[str, ...]
    header_ends: int
    row_ends: int
    short: str
    backslash: bool
    wrapped: bool
    quoted: float
    between: float
    unseen: float

    @property
    def quote(self) -> str:
        """A quote inside a quoted value."""
        return '\\"' if self.backslash else '""'


def _style(rng: Random) -> _Style:
    often = rng.choice([0, 1, 2])  # Most writers have one habit, or none.
    habits = set(rng.sample(["header", "rows", "short", "backslash", "wrapped", "between"], often))
    extra = rng.choice([1, 1, 2, 5])
    return _Style(
        delimiter=rng.choice(",,;\t|"),
        newline=rng.choice(["\n", "\r\n", "\r"]),
        columns=rng.choice(_HEADERS),
        header_ends=extra if "header" in habits else 0,
        row_ends=1 if "rows" in habits else 0,
        short=rng.choice(["often", "blocks"]) if "short" in habits else "never",
        backslash="backslash" in habits,
        wrapped="wrapped" in habits,
        quoted=rng.choice([0, 0.1, 0.5, 1]),
        between=rng.choice([0.02, 0.2]) if "between" in habits else 0,
        unseen=rng.choice([0, 0, 0, 0.1]),
    )


def _lines_above(rng: Random, style: _Style) -> str:
    """Draw titles and comments above the header."""
    lines = ["Price list", "# made by hand", f"Lamps Ltd.{style.delimiter}", "", '"Prices"', "sku"]
    lines += [style.delimiter * 2, f"Total{style.delimiter}12{style.delimiter}name", '5" lamps']
    number = rng.choice([0, 0, 0, 1, 3, 10])
    return "".join(rng.choice(lines) + style.newline for _ in range(number))


def _clean(rng: Random, limit: int) -> File:
    """Draw a file as some CSV writer might have written it."""
    style = _style(rng)
    delimiter, newline = style.delimiter, style.newline
    before = rng.choice([""] * 6 + ["\ufeff", "\ufeff\ufeff", newline, f"sep={delimiter}{newline}"])
    above = _lines_above(rng, style)
    names = (*style.columns, *[""] * style.header_ends)
    head = (before + above + delimiter.join(names) + newline).encode()
    rows = rng.choice([rng.randrange(6), rng.randrange(30), rng.randrange(300), 3_000])
    if rows > 300 and rng.random() < 0.7:
        rows = 100
    values = _Values(rng, style, rng.choice([3, rows + 1]), limit)
    records = []
    for number in range(rows):
        if rng.random() < style.between:
            records.append(_between(rng, style))
        records.append(values.row(number))
    data = "".join(record + newline for record in records).encode()
    return File(head + data, len(head), delimiter, names)


@dataclass(frozen=True)
class _Values:
    """Makes the rows of a file."""

    rng: Random
    style: _Style
    skus: int
    limit: int

    def row(self, number: int) -> str:
        cells = [self._value(column) for column in self.style.columns]
        cells += [""] * self.style.row_ends
        needed = 1 + max(self.style.columns.index(name) for name in ("sku", "name"))
        block = number // 16 % 2 == 0
        if self.style.short == "blocks" and block:
            cells = cells[:needed]
        elif self.style.short == "often" and self.rng.random() < 0.5:
            cells = cells[: self.rng.randint(needed, len(cells))]
        return self.style.delimiter.join(cells)

    def _value(self, column: str) -> str:
        rng, style = self.rng, self.style
        unseen = rng.choice(_UNSEEN) if column in {"sku", "name"} else ""
        unseen = unseen if rng.random() < style.unseen else ""
        if column == "sku" and rng.random() < 0.97:
            sku = f"{unseen}s{rng.randrange(self.skus)}"
            if style.wrapped:
                return f'="{sku}"' if rng.random() < 0.7 else f'"=""{sku}"""'
            return sku
        if rng.random() < style.quoted:
            inside = ("aaa", "b", " ", style.quote, style.delimiter, style.newline, "x", "\n")
            inside += ("\r", "é", "\\\\" if style.backslash else "\\ ")
            return f'"{"".join(rng.choices(inside, k=rng.randint(0, 12)))}"'
        if rng.random() < 0.02:
            long = self.limit < 10**5
            return "y" * rng.choice([self.limit // 2, self.limit - 30, self.limit]) if long else "y"
        words = "".join(rng.choices(_WORDS, k=rng.randint(0, 4)))
        return unseen + words.replace(style.delimiter, "")


def _between(rng: Random, style: _Style) -> str:
    """Draw a record between rows: blank, the header again, or with one slip."""
    mark, width = style.delimiter, len(style.columns) + style.header_ends
    what = rng.randrange(4)
    if what == 0:
        cells = [rng.choice(["", "", "", " ", '""', "\u200b", "\ufeff"]) for _ in range(width)]
        return mark.join(cells[: rng.randint(1, width)])
    if what == 1:
        change = rng.choice([str, str.upper, str.title, lambda name: f" {name} ", '"{}"'.format])
        ends = mark * rng.choice([0, style.header_ends, 1])
        return mark.join(map(change, style.columns)) + ends
    cells = [f"s{rng.randrange(9)}" for _ in style.columns]
    text = style.newline.join([mark.join(["s1", "Lamp", "x"][: len(cells)])] * rng.randint(1, 4))
    quoted = rng.choice(["", style.quote]).join([text, text, "end"])
    cells[rng.randrange(len(cells))] = f'"{rng.choice(["", "Parts:" + style.newline])}{quoted}"'
    place = rng.randrange(len(cells))
    if what == 2:
        return mark.join(rng.choice([[*cells, "surplus"], cells[:-1], [*cells, "", "x"]]))
    cells[place] = rng.choice(['5" lamp', '"a" b', '"', "a\0b", '"a""', ' "a"x'])
    return mark.join(cells)


def _dirty(rng: Random, file: File, limit: int) -> File:
    start = file.start or 0
    body = file.text[start:]
    slips = rng.choice([0, 0, 1, 2, 5, 20]) if len(body) < 50_000 else rng.choice([0, 1, 3])
    for _ in range(slips):
        body = _mutated(rng, body, file, limit)
    text = file.text[:start] + body
    if start and text[start - 1 : start + 1] == b"\r\n":  # Both belong to the end of the header.
        start += 1
    return replace(file, text=text, start=file.start and start)


def _mutated(rng: Random, data: bytes, file: File, limit: int) -> bytes:
    place = rng.randrange(len(data) + 1)
    other = min(len(data), place + rng.choice([1, 1, 3, 10, 100]))
    header = file.delimiter.join(file.header).encode()
    what = rng.randrange(8)
    if what <= 2:
        return data[:place] + rng.choice(_SLIPS) + data[place:]
    if what == 3 and place < len(data):
        return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
    if what == 4:
        return data[:place] + data[other:]
    if what == 5:
        return data[:other] + data[place:]
    if what == 6:
        return data[:place] + b"\n" + header + b"\n" + data[place:]
    long = rng.choice([limit // 3, limit, limit + 5, 5 * limit]) if limit < 10**5 else 50
    return data[:place] + rng.choice([b"y", b"y,", b'"', b"\n", b'"\n']) * long + data[place:]
