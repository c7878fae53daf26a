"""Malformed and odd CSV files, a few hundred, made systematically; none is kept as a file."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

from verification.corpus.cases import (
    BLANK,
    HEADER,
    Case,
    Fate,
    Piece,
    accepted,
    as_bytes,
    refused,
)

ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "utf-8": bytes,
    "utf-16-le with mark": lambda plain: ("\ufeff" + plain.decode()).encode("utf-16-le"),
    "utf-16-be with mark": lambda plain: ("\ufeff" + plain.decode()).encode("utf-16-be"),
    "utf-16-le": lambda plain: plain.decode().encode("utf-16-le"),
    "utf-16-be": lambda plain: plain.decode().encode("utf-16-be"),
}
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
NEWLINES = {"\n": "LF", "\r\n": "CRLF", "\r": "CR"}


@dataclass(frozen=True)
class Style:
    """How a file is written."""

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
        """Values as they are."""
        return self.delimiter.join(values) + self.newline

    def row(self, number: int, name: str = "Lamp", description: str = "plain") -> Piece:
        """A good row."""
        sku = f"§{number}"
        return self.line(name, sku, description), (sku, name, description)

    @property
    def head(self) -> str:
        return self.line("name", "sku", "description")

    def file(self, name: str, *pieces: Piece, spaced: bool = False) -> Case:
        """A file written so."""
        return accepted(
            f"{name}, {self}", *pieces, head=self.head, delimiter=self.delimiter, spaced=spaced
        )


STYLES = [
    Style(",", "\n", quoted=False),
    Style(";", "\r\n", quoted=True),
    Style("\t", "\r", quoted=False),
    Style("|", "\n", quoted=True),
]


def csv_files() -> list[Case]:
    """All of them, each with skus of its own."""
    cases = [
        *clean(),
        *(case for style in STYLES for case in dirty(style)),
        *(case for style in STYLES for case in with_text_within(style)),
        *headers(),
        *encodings(),
        *odd(),
        *large(),
        *no_products(),
    ]
    return [case.with_skus(f"c{number}-") for number, case in enumerate(cases)]


def clean() -> Iterator[Case]:
    """Every way in which a good file may be written."""
    for number, (delimiter, newline, quoted) in enumerate(
        product(DELIMITERS, NEWLINES, (False, True))
    ):
        style, mark = Style(delimiter, newline, quoted), number // 2 % 2
        yield accepted(
            f"clean, {style}{', with mark' * mark}",
            *texts(style),
            head="\ufeff" * mark + style.head,
            delimiter=delimiter,
        )
    for (encoding, recode), style in product(ENCODINGS.items(), STYLES):
        if encoding != "utf-8":
            yield accepted(
                f"clean, {style}, {encoding}",
                *texts(style),
                head=style.head,
                delimiter=style.delimiter,
                delivered=recode,
            )


def texts(style: Style) -> list[Piece]:
    """Good rows, of which the last has no line end."""
    last, fate = style.row(6, "Zoë", "Größe 5, \u20ac")
    return [
        style.row(1),
        style.row(2, "Chair, big; | tab\t.", 'quotes: "a", ""'),
        style.row(3, "\U0001f600", "two\nlines"),
        style.row(4, "Desk", "\r\nlines\r\rand\n\nblank ones\n"),
        style.row(5, "Sofa", ""),
        (str(last).removesuffix(style.newline), fate),
    ]


def dirty(style: Style) -> Iterator[Case]:
    """Each kind of dirt, in the first, a middle and the last row, or where it belongs."""
    for number, (name, text, fate) in enumerate(bad_records(style)):
        for place in range(3):
            if (number + place) % len(STYLES) != STYLES.index(style):  # Each in a style of its own.
                continue
            rows = [style.row(1), style.row(2, description="two\nlines"), style.row(3)]
            end = text if place < 2 else text.removesuffix(style.newline)
            rows[place] = end, fate
            yield style.file(f"{name} {('first', 'middle', 'last')[place]}", *rows)
    yield from between_rows(style)
    yield from kept_values(style)


def bad_records(style: Style) -> Iterator[tuple[str, str, Fate]]:
    """Records with something wrong: what, how it is written, its fate."""
    raw, line = style.raw, style.line
    yield "quote opens description", raw("Sofa", "§9", '"never closed'), "unclosed quote"
    yield "quote opens name", raw('"Sofa', "§9", "never closed"), "unclosed quote"
    yield "text after quote", raw("Sofa", "§9", '"closed" here'), "text after a closing quote"
    yield "backslash before quote", raw("Sofa", "§9", r'"a \" b"'), "text after a closing quote"
    yield "quotes side by side", raw("Sofa", "§9", '"a" "b"'), "text after a closing quote"
    yield "zero byte in name", line("So\0fa", "§9", "x"), "NUL byte"
    yield "zero byte in description", line("Sofa", "§9", "x\0"), "NUL byte"
    yield "one column", line("Sofa"), "missing columns"
    yield "two columns", line("Sofa", "§9"), "missing columns"
    yield "four columns", line("Sofa", "§9", "x", "y"), "too many columns"
    yield "one delimiter too many", line("Sofa", "§9", "x", ""), "too many columns"
    yield "two delimiters too many", line("Sofa", "§9", "x", "", ""), "too many columns"
    yield "header again", style.head, HEADER
    yield "header again with a mark", "\ufeff" + raw("name", "sku", "description"), HEADER
    yield "header again in capitals", raw(" NAME", "Sku ", "D e s c r i p t i o n"), HEADER
    yield "header again, wider", line("name", "sku", "description", "", "price"), HEADER
    yield "delimiters only", raw("", "", ""), BLANK
    yield "fewer delimiters only", raw("", ""), BLANK
    yield "more delimiters only", raw("", "", "", "", ""), BLANK
    yield "empty quotes only", raw('""', '""', '""'), BLANK
    yield "white space only", raw(" ", "\u00a0", "\u3000\u200b\ufeff"), BLANK
    yield "invisible sku", line("Sofa", "\u2800\u3164", "x"), "no sku"
    yield "invisible name", line("\x01\u200d\ufe0f", "§9", "x"), "no name"
    yield "no sku", line("Sofa", "", "x"), "no sku"
    yield "no name", line("", "§9", "x"), "no name"
    yield "blank sku", line("Sofa", " \u00a0 ", "x"), "no sku"
    yield "sku too long", line("Sofa", "§" + "9" * 200, "x"), "sku too long"
    yield "spaces only", "  " + style.newline, BLANK


def with_text_within(style: Style) -> Iterator[Case]:
    """Records with one thing wrong, and CSV in another, quoted value: one reject each, whole."""
    rows = [style.row(1), style.row(2, description="two\nlines"), style.row(3)]
    quoted = (
        style.raw('"Bed"', '"§4"', '"big, red; with | and\t."'),
        (
            "§4",
            "Bed",
            "big, red; with | and\t.",
        ),
    )
    last = str(style.row(5)[0]).removesuffix(style.newline), style.row(5)[1]
    for (kind, text), (wrong, reason, others, after) in product(
        texts_like_csv(style).items(), wrong_records()
    ):
        value = '"' + text.replace('"', '""') + '"'
        cells = [value, *others] if after else [*others, value]
        for name, more in (("then bare ones", [rows[2], last]), ("then quoted ones", [quoted])):
            bad = style.delimiter.encode().join(map(as_bytes, cells)) + style.newline.encode()
            yield style.file(f"{kind}, {wrong}, {name}", *rows[:2], (bad, reason), *more)


def texts_like_csv(style: Style) -> dict[str, str]:
    """Texts that look like records, lines and quotes."""
    row = style.delimiter.join(["Fake", "F-1", "text"])
    wide = style.delimiter.join(['"Fake"', '"F-2"', '"a ""b"""'])
    return {
        "a record": f"one{style.newline}{row}{style.newline}two",
        "records alone": f"{style.newline}{row}{style.newline}{row}{style.newline}",
        "quoted records": f"one{style.newline}{wide}{style.newline}two",
        "quoted records alone": f"{style.newline}{wide}{style.newline}",
        "blank lines": f"one{style.newline * 3}two",
        "delimiters": f"a{style.delimiter * 5}{style.newline}{style.delimiter * 2}",
        "quotes": f'say "hi"{style.newline}"big"{style.newline}',
        "the header": f"one{style.newline}{style.head}two",
    }


def wrong_records() -> Iterator[tuple[str, str, list[str | bytes], bool]]:
    """What is wrong, its reason, the other cells, and whether they are after the text."""
    for after in (False, True):
        side = "after" if after else "before"
        yield f"too few {side}", "missing columns", ["Sofa"], after
        yield f"too many {side}", "too many columns", ["Sofa", "§9", "x"], after
        yield f"NUL {side}", "NUL byte", ["S\0fa", "§9"], after
        yield f"encoding {side}", "invalid encoding", [b"S\xf6fa", "§9"], after
        yield f"after a quote {side}", "text after a closing quote", ['"Sofa"s', "§9"], after
        yield f"stray {side}", "stray quote", ['S"ofa', "§9"], after
        yield f"unclosed {side}", "unclosed quote", ['"Sofa', "§9"], after
    long = "§" + "9" * 200
    yield "long sku", "sku too long", ["Sofa", long], False
    yield "long name", "name too long", ["S" * 1_001, "§9"], False
    yield "long record", "record too long", ["S" * 2_000_001, "§9"], False


def between_rows(style: Style) -> Iterator[Case]:
    """What is between rows, or missing between them."""
    newline = style.newline
    blank = newline * 3, None
    yield style.file("blank lines", blank, style.row(1), blank, style.row(2), blank)
    other = "\r\n" if newline == "\n" else "\n"
    rows = [style.row(number) for number in range(1, 5)]
    mixed = [(str(text).removesuffix(newline) + other, fate) for text, fate in rows[1:3]]
    yield style.file("mixed line ends", rows[0], *mixed, rows[3])
    for name, end, reason in (
        ("before a field", style.cell("Sofa") + style.delimiter, "missing columns"),
        ("after a field", style.cell("Sofa"), "missing columns"),
        ("in a quote", style.delimiter.join(["Sofa", "§9", '"So ']), "unclosed quote"),
    ):
        yield style.file(f"cut off {name}", rows[0], rows[1], (end, reason))
    bare = style.delimiter.join(["Sofa", "§9", "Grö"]).encode()
    yield style.file("cut off in a character", rows[0], (bare[:-1], "invalid encoding"))
    slip = style.delimiter.encode().join([b"S\xf6fa", "§9".encode(), b"x"]) + newline.encode()
    yield style.file("Latin-1 slip", rows[0], (slip, "invalid encoding"), rows[1])
    yield style.file("the end of DOS", rows[0], (b"\x1a", "missing columns"))
    yield style.file("zeros at the end", rows[0], (bytes(100), "missing columns"))
    hole = bytes(5_000) + newline.encode()
    yield style.file("a hole", rows[0], (hole, "missing columns"), rows[1])
    yield style.file("a comment", ("# made by us" + newline, "missing columns"), rows[0])
    two = [style.row(1, "Lamp", "old"), style.row(2), style.row(1, "Lamp", "new"), style.row(2)]
    yield style.file("the same sku twice", *two)
    for spaces in (" ", "    "):
        text = style.raw(*(f'{spaces}"{value}"{spaces}' for value in ("Sofa", "§9", "x, y")))
        row = text, ("§9", "Sofa", "x, y")
        yield style.file(f"{len(spaces)} spaces around quotes", rows[0], row, spaced=True)
    ended = [
        (str(text).removesuffix(newline) + style.delimiter + newline, fate) for text, fate in rows
    ]
    yield style.file("a delimiter at the end of every row", *ended)
    yield style.file(
        "a delimiter at the end of one row", (ended[0][0], "too many columns"), *rows[1:]
    )
    many_ended = ended * 5
    yield style.file(
        "a delimiter at the end of all rows but one", *many_ended, (rows[0][0], "missing columns")
    )
    more = str(ended[0][0]).removesuffix(newline) + style.delimiter + newline, "too many columns"
    yield style.file("surplus delimiters", more, *rows[1:])
    short = [
        (style.line("Bed", f"§{number}"), (f"§{number}", "Bed", "")) for number in range(200, 215)
    ]
    yield style.file("short rows", *rows, *short[:3])
    yield style.file("two short rows", *rows, *[(text, "missing columns") for text, _ in short[:2]])
    full = [style.row(number) for number in range(50, 150)]
    yield style.file("fifteen short rows in a row", *full, *short, *full)
    yield style.file(
        "fourteen short rows in a row",
        *full,
        *[(text, "missing columns") for text, _ in short[:14]],
        *full,
    )
    escaped = [
        (
            style.raw("Bed", f"§{number}", rf'"a \"big\" bed{style.delimiter}"'),
            (f"§{number}", "Bed", f'a "big" bed{style.delimiter}'),
        )
        for number in range(60, 64)
    ]
    yield style.file("quotes escaped by backslashes", *escaped, rows[0], spaced=True)
    formulas = style.raw('="Sofa"', '="§007"', '="x y"'), ("§007", "Sofa", "x y")
    yield style.file("formulas that are texts", formulas, *rows)
    stray = style.raw('Rack 19"', "§9", "x"), "stray quote"
    quoted = style.raw('"Rack"', "§8", '"x"'), ("§8", "Rack", "x")
    yield style.file("a stray quote among quoted values", quoted, stray, *rows)
    two_bad = style.raw("Sofa", "§9", '"never closed'), "unclosed quote"
    many = [style.row(number) for number in range(10, 30)]
    yield style.file("two quotes that are never closed", *many[:9], two_bad, *many[9:], two_bad)


def kept_values(style: Style) -> Iterator[Case]:
    """Values that are taken as they are."""
    values = {
        "formulas": ("=1+1", "@SUM(A1)", "-2+3", "+cmd|' /C calc'!A0"),
        "control characters": ("a\x01b", "a\x1bb", "a\x7fb", "a\x08b"),
        "line separators within": ("a\u2028b", "a\u2029b", "a\u0085b", "a\x0bb", "a\x0cb"),
        "zero width within": ("a\u200bb", "a\u2060b", "a\u00adb", "a\u200fb", "a\u034fb"),
        "marks in the middle": ("a\ufeffb", "a\ufeff\ufeffb"),
        "selectors": ("\u2764\ufe0f", "a\U000e0100"),
        "forms": ("\u00e4", "a\u0308", "\ufb01", "fi", "\u212b", "\u00c5"),
        "cases": ("a", "A", "\u00df", "ss", "\u0130", "i"),
        "what means nothing elsewhere": ("NULL", "\\N", "nan", "N/A", "None", "#N/A", "true"),
        "numbers": ("007", "7", "7.0", "1e5", "0x10", "1,5", "-0"),
        "escapes": ("\\", "\\n", "\\t", "%20", "&amp;", "'a'", "`a`", "$(a)"),
        "beyond the plane": ("\U0001f468\u200d\U0001f469", "\U0010ffff", "\U00020000"),
    }
    for name, several in values.items():
        rows: list[Piece] = []
        for value in several:
            sku = f"§{value}"
            rows.append((style.line(value, sku, value), (sku, value, value)))
        yield style.file(f"{name} kept", *rows)
    for value in (
        "\u200ba",
        "a\u200b",
        "\u2060a\u2060",
        "\u200fa",
        "\ufeffa",
        "a\ufeff",
        "\u00ada",
    ):
        text = style.line(f"{value}b{value}", f"§{value}", value)
        name = value.strip("\u200b\u2060\u200f\ufeff\u00ad")
        inside = f"{value}b{value}".strip("\u200b\u2060\u200f\ufeff\u00ad")
        row = text, ("§" + value.rstrip("\u200b\u2060\u200f\ufeff\u00ad"), inside, value)
        assert name == "a"
        yield style.file(f"{value!a} around", row, style.row(1))
    padded = style.line("\u2003 Sofa\t", " §9\u3000", " x ")
    yield style.file("white space around", (padded, ("§9", "Sofa", " x ")), style.row(1))
    if not style.quoted:
        inch = style.raw('Rack 19"', "§9", '6" deep')
        yield style.file("inch marks", (inch, ("§9", 'Rack 19"', '6" deep')), style.row(1))


def headers() -> Iterator[Case]:
    """Headers that are odd, and taken."""
    one: Fate = ("§1", "Lamp", "plain")
    for head, row in {
        '"name","sku","description"\n': "Lamp,§1,plain\n",
        " NAME , Sku,\tDescription \n": "Lamp,§1,plain\n",
        "description,sku,name\n": "plain,§1,Lamp\n",
        "id,name,sku,price,description\n": "5,Lamp,§1,9.5,plain\n",
        "x,name,x,sku,x,description\n": ",Lamp,,§1,,plain\n",
        "name,sku,description,,\n": "Lamp,§1,plain,,\n",
        ",name,sku,description\n": "5,Lamp,§1,plain\n",
        'name,"sku\n(short)",description,sku\n': "Lamp,x,plain,§1\n",
        'name,sku,description,5" deep\n': 'Lamp,§1,plain,"x"\n',
        "\n\r\n \nname,sku,description\n": "Lamp,§1,plain\n",
        "sep=,\nname,sku,description\n": "Lamp,§1,plain\n",
        '"sep=,"\r\nname,sku,description\r\n': "Lamp,§1,plain\r\n",
        "\ufeffSEP=,\nname,sku,description\n": "Lamp,§1,plain\n",
        "\ufeff\nname,sku,description\n": "Lamp,§1,plain\n",
        "\U0001f600,name,sku,description\n": "5,Lamp,§1,plain\n",
        "n a m e,s k u,description\n": "Lamp,§1,plain\n",
        "Price list 2026\n\nname,sku,description\n": "Lamp,§1,plain\n",
        "# by us, for you\r\n\r\nname,sku,description\r\n": "Lamp,§1,plain\r\n",
        "a title,,\nname,sku,description\n": "Lamp,§1,plain\n",
        "x\n" * 19 + "name,sku,description\n": "Lamp,§1,plain\n",
        'a "title\nname,sku,description\n': "Lamp,§1,plain\n",
        "name,\ufeffsku,description\ufeff\n": "Lamp,§1,plain\n",
        "title\n\ufeffname,sku,description\n": "Lamp,§1,plain\n",
        'title\n\ufeff"name","sku","description"\n': '"Lamp","§1","plain"\n',
        "\u200bname\u2060,s\u00adku,description\u200b\n": "Lamp,§1,plain\n",
        "name,sku,description,,,\n": "Lamp,§1,plain\n",
        "name,sku,description,\n": "Lamp,§1,plain,\n",
    }.items():
        yield accepted(f"header {head!r}", (row, one), head=head)
    for mark in "^~:/":
        head = f"sep={mark}\nname{mark}sku{mark}description\n"
        row = f"Lamp{mark}§1{mark}plain"
        yield accepted(f"separator {mark}", (row, one), head=head, delimiter=mark)
    for newline, name in NEWLINES.items():
        yield accepted(f"header only, {name}", head=f"name,sku,description{newline}")
    yield accepted("header without line end", head="name,sku,description")
    yield accepted("header and blank lines", ("\n\n\n", None))
    others = [f"x{number}" for number in range(1_997)]
    wide, row = ",".join([*others, "name,sku,description\n"]), ",".join(["", *others[1:], "Lamp,"])
    yield accepted("2,000 columns", (row + "§1,plain\n", one), head=wide)
    long = "x" * 200_000
    yield accepted(
        "a long header", ("5,Lamp,§1,plain\n", one), head=f"{long},name,sku,description\n"
    )


def encodings() -> Iterator[Case]:
    """Files that are not all of one encoding."""
    good: Piece = ("Lamp,§1,plain\n", ("§1", "Lamp", "plain"))
    for name, bad in {
        "lone byte": b"\xff",
        "half a character": b"\xe2\x82",
        "a surrogate": b"\xed\xa0\x80",
        "an overlong zero": b"\xc0\x80",
        "beyond Unicode": b"\xf5\x80\x80\x80",
        "smart quotes of Windows": b"\x93a\x94",
        "continuation": b"\x80\x80",
    }.items():
        row = b"So" + bad + b"fa," + "§9,x\n".encode()
        yield accepted(f"in UTF-8, {name}", good, (row, "invalid encoding"), good)

    def with_end(end: bytes) -> Callable[[bytes], bytes]:
        return lambda plain: plain.removesuffix(b"\xff").decode().encode("utf-16") + end

    cut: Piece = (b"Sofa,S-9,x\xff", "invalid encoding")
    yield accepted("UTF-16 with an odd byte at its end", good, cut, delivered=with_end(b"x"))

    def with_half_a_pair(plain: bytes) -> bytes:
        return plain.decode("utf-8", "surrogatepass").encode("utf-16", "surrogatepass")

    half: Piece = ("Sofa,S-9,\ud83d\n".encode("utf-8", "surrogatepass"), "invalid encoding")
    yield accepted("UTF-16 with half a pair", good, half, good, delivered=with_half_a_pair)
    for encoding in ("utf-32-le", "utf-32-be"):
        yield accepted(
            f"{encoding} with a mark",
            good,
            good,
            delivered=lambda plain, to=encoding: ("\ufeff" + plain.decode()).encode(to),
        )
    for encoding in ("utf-32-be", "utf-7", "cp037"):
        data = "name,sku,description\nLamp,A-1,plain\n".encode(encoding)
        if encoding != "utf-7":  # Which is ASCII, for such a file.
            yield refused(f"in {encoding}", data, "binary data|no column")
    for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
        yield accepted(
            f"two marks in {encoding}",
            good,
            delivered=lambda plain, to=encoding: ("\ufeff\ufeff" + plain.decode()).encode(to),
        )


def odd() -> Iterator[Case]:
    """What there is one of."""
    good: Piece = ("Lamp,§1,plain\n", ("§1", "Lamp", "plain"))
    yield accepted(
        "a carriage return within a value",
        ("So\r", "missing columns"),
        ("fa,§9,x\n", ("§9", "fa", "x")),
        good,
    )
    yield accepted(
        "doubled carriage returns",
        ("\r\n", None),
        ("Lamp,§1,plain\r", ("§1", "Lamp", "plain")),
        ("\r\n", None),
        ("Sofa,§2,x\r", ("§2", "Sofa", "x")),
        ("\r\n", None),
        head="name,sku,description\r",
    )
    yield accepted("line feed before return", ("Lamp,§1,x\n", ("§1", "Lamp", "x")), ("\r", None))
    row = '"""a"" ""b""","§1","""\n"""\n', ("§1", '"a" "b"', '"\n"')
    yield accepted("quotes in quotes", row, good)
    yield accepted("only quotes", ('"","",""\n', BLANK), ('"""",§9,""""\n', ("§9", '"', '"')))
    yield accepted("only delimiters", (",,\n", BLANK), (",\n", BLANK), good, (",,,,\n", BLANK))
    like = '"one\nSofa,C-3,x\nDesk,D-4,y\n"'
    text = like[1:-1]
    yield accepted("records within a text", (f"Lamp,§2,{like}\n", ("§2", "Lamp", text)), good)
    yield accepted(
        "records within a text, and dirt",
        (f"Lamp,§2,{like}\n", ("§2", "Lamp", text)),
        ("bad\n", "missing columns"),
        good,
    )
    mustard = "x" * 256 + "mustard,name,sku,description\n"
    yield accepted("the mark of a tar, almost", ("9," + str(good[0]), good[1]), head=mustard)
    yield accepted("many headers", *[("name,sku,description\n", HEADER)] * 50, good)
    another = "name,sku,description\nLamp,A-1,x\nsku,name,description\nB-2,Chair,x\n"
    yield refused("header in another order", another, "Row 2 is a header, .*in another order")
    marked = "\ufeffname,sku,description\n"
    yield accepted("files with marks, one after the other", good, (marked, HEADER), good)
    yield accepted("all the same", *[good] * 50)
    yield accepted("a footer", good, ("Total: 1\n", "missing columns"), ("---", "missing columns"))
    yield accepted(
        "JSON in a value", ('Lamp,§2,"{""a"": [1, 2]}"\n', ("§2", "Lamp", '{"a": [1, 2]}'))
    )
    yield accepted(
        "HTML in a value", ('Lamp,§2,<b class="x">y</b>\n', ("§2", "Lamp", '<b class="x">y</b>'))
    )
    rng = random.Random(1)
    noise = bytes(rng.choices(range(128, 256), k=3_000)) + b"\n"
    yield accepted("noise in the middle", good, (noise, "missing columns"), good)


def large() -> Iterator[Case]:
    """Fields, lines and records that are too long, or almost."""
    good: Piece = ("Lamp,§1,plain\n", ("§1", "Lamp", "plain"))
    for name, length in (("longest", 100_000), ("too long", 100_001)):
        text = "é" * length
        fate: Fate = ("§9", "Sofa", text) if length == 100_000 else "description too long"
        yield accepted(f"description {name}", (f"Sofa,§9,{text}\n", fate), good)
    for name, length in (("longest", 1_000), ("too long", 1_001)):
        text = "é" * length
        fate = ("§9", text, "") if length == 1_000 else "name too long"
        yield accepted(f"name {name}", (f"{text},§9,\n", fate), good)
    yield accepted(
        "a line too long", good, ("Sofa,§9," + "x" * 2_000_000 + "\n", "record too long")
    )
    lines = '"' + "some text, and more\n" * 110_000 + '"'
    yield accepted("a text too long", (f"Sofa,§9,{lines}\n", "record too long"), good)
    yield accepted("very many columns in a row", ("," * 150_000 + "x\n", "too many columns"), good)
    far = [(f"Lamp,§{number},x\n", (f"§{number}", "Lamp", "x")) for number in range(10, 3_000)]
    bad: Piece = ('"Sofa,§9,x\n', "unclosed quote")
    inch: Piece = ('19" rack,§8,x\n', ("§8", '19" rack', "x"))
    yield accepted("an inch mark far below a quote", *far[:9], bad, *far[9:], inch, good)


def no_products() -> Iterator[Case]:
    """What is refused whole."""
    for name, data in {
        "nothing": b"",
        "a mark": b"\xef\xbb\xbf",
        "a mark of UTF-16": b"\xff\xfe",
        "blank lines": b"\n\n\r\n",
        "spaces": b"   \n\t\n",
        "a separator line": b"sep=;\n",
    }.items():
        yield refused(name, data, "is empty")
    rng = random.Random(2)
    for name, data, message in (
        ("PNG", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is a picture"),
        ("JPEG", b"\xff\xd8\xff\xe0\0\x10JFIF\0", "is a picture"),
        ("ELF", b"\x7fELF\2\1\1\0" + bytes(100), "is binary data"),
        ("SQLite", b"SQLite format 3\0\x10\0", "is a SQLite database"),
        ("Parquet", b"PAR1\x15\x04\x15\x10" + bytes(50) + b"PAR1", "is a Parquet file"),
        ("XLS", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "is an Excel workbook"),
        ("zeros", bytes(10_000), "is binary data"),
        ("noise", rng.randbytes(10_000), "is binary data"),
    ):
        yield refused(name, data, message)
    for name, text, message in (
        ("HTML", "<!DOCTYPE html>\n<html><body>Not found</body></html>", "is a web page"),
        ("XML", '<?xml version="1.0"?>\n<products><sku>1</sku></products>', "is XML"),
        ("JSON", '[{"name": "Lamp", "sku": "A-1", "description": "x"}]', "is JSON"),
        ("JSON lines", '{"name": "Lamp", "sku": "A-1"}\n', "is JSON"),
        ("PDF", "%PDF-1.4\n1 0 obj\n", "is a PDF document"),
        ("RTF", "{\\rtf1\\ansi}", "is an RTF document"),
        ("prose", "Dear all,\nfind the products below.\n", "no column"),
        ("fixed width", "name      sku     description\nLamp      A-1     x\n", "no column"),
        ("SQL", "INSERT INTO products VALUES ('Lamp', 'A-1', 'x');\n", "is an SQL dump"),
        ("no header", "Lamp,A-1,plain\n", "no column name"),
        ("no sku", "name,description\nLamp,x\n", "no column sku"),
        ("a header cut off", "name,sku,descr", "no column description"),
        ("sku twice", "name,sku,description,SKU\nLamp,A-1,x,B-2\n", "sku more than once"),
        ("another separator", "sep=;\nname,sku,description\n", "The delimiter seems to be ','"),
        ("an odd separator", "name^sku^description\n", r"The delimiter seems to be '\^'"),
        ("a header too far down", "x\n" * 20 + "name,sku,description\n", "the first 20 lines"),
        (
            "a quote in the header",
            '"name,sku,description\nLamp,A-1,x\n',
            "not a line of CSV|no col",
        ),
        (
            "text after a quote in the header",
            '"name"x,sku,description\n',
            "not a line of CSV|no col",
        ),
        ("2,001 columns", "name,sku,description" + ",x" * 1_998 + "\n", "at most 2,000"),
        (
            "a header too long",
            "name,sku,description," + "x" * 300_000 + "\n",
            "longer than|not a line",
        ),
        ("delimiters only", ",,,\n,,,\n", "no column"),
    ):
        yield refused(name, text, message)
