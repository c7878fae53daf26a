"""Malformed rows in otherwise good files, and odd values that are kept."""

from collections.abc import Iterator
from itertools import product

from verification.corpus.cases import BLANK, HEADER, Case, Fate, Piece, as_bytes
from verification.corpus.styles import STYLES, Style


def dirty(style: Style) -> Iterator[Case]:
    """Yield files with each kind of dirt: in the first, a middle and the last row."""
    for number, (name, text, fate) in enumerate(bad_records(style)):
        for place in range(3):
            # The three are in different styles.
            if (number + place) % len(STYLES) != STYLES.index(style):
                continue
            rows = [style.row(1), style.row(2, description="two\nlines"), style.row(3)]
            end = text if place < 2 else text.removesuffix(style.newline)
            rows[place] = end, fate
            yield style.file(f"{name} {('first', 'middle', 'last')[place]}", *rows)
    yield from between_rows(style)
    yield from odd_habits(style)
    yield from kept_values(style)


def bad_records(style: Style) -> Iterator[tuple[str, str, Fate]]:
    """Yield records with one fault: its name, its text, its fate."""
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
    """Yield files whose records have a fault, and CSV in a quoted value: each is one reject."""
    rows = [style.row(1), style.row(2, description="two\nlines"), style.row(3)]
    quoted = (
        style.raw('"Bed"', '"§4"', '"big, red; with | and\t."'),
        ("§4", "Bed", "big, red; with | and\t."),
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
    """Return values that look like records, lines and quotes."""
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
    """Yield faults: the name, the reason, the other cells, and whether these follow the text."""
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
    """Yield files with something between rows, or with something missing there."""
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


def odd_habits(style: Style) -> Iterator[Case]:
    """Yield files whose writer has a habit, or almost has one."""
    newline, rows = style.newline, [style.row(number) for number in range(1, 5)]
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
    """Yield files whose odd values are kept as they are."""
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
