"""Good, odd and refused CSV files, a few hundred, made systematically."""

import random
from collections.abc import Callable, Iterator
from itertools import product

from verification.corpus.cases import BLANK, HEADER, Case, Fate, Piece, accepted, refused
from verification.corpus.dirty_rows import dirty, with_text_within
from verification.corpus.styles import DELIMITERS, ENCODINGS, NEWLINES, STYLES, Style


def csv_files() -> list[Case]:
    """Return all cases, each with skus of its own."""
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
    """Yield good files in every style and encoding."""
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
        yield accepted(
            f"clean, {style}, {encoding}",
            *texts(style),
            head=style.head,
            delimiter=style.delimiter,
            delivered=recode,
        )


def texts(style: Style) -> list[Piece]:
    """Return good rows, the last one without a line end."""
    last, fate = style.row(6, "Zoë", "Größe 5, \u20ac")
    return [
        style.row(1),
        style.row(2, "Chair, big; | tab\t.", 'quotes: "a", ""'),
        style.row(3, "\U0001f600", "two\nlines"),
        style.row(4, "Desk", "\r\nlines\r\rand\n\nblank ones\n"),
        style.row(5, "Sofa", ""),
        (str(last).removesuffix(style.newline), fate),
    ]


def headers() -> Iterator[Case]:
    """Yield files with odd headers that are accepted."""
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
    """Yield files that are not all of one encoding."""
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
        if encoding != "utf-7":  # Of such a file, UTF-7 is ASCII.
            yield refused(f"in {encoding}", data, "binary data|no column")
    for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
        yield accepted(
            f"two marks in {encoding}",
            good,
            delivered=lambda plain, to=encoding: ("\ufeff\ufeff" + plain.decode()).encode(to),
        )


def odd() -> Iterator[Case]:
    """Yield odd files that fit nowhere else."""
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
    """Yield files with values, lines and records at or over the limits."""
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
    """Yield files that are refused whole."""
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
    not_csv = "not a line of CSV|no col"
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
        ("a quote in the header", '"name,sku,description\nLamp,A-1,x\n', not_csv),
        ("text after a quote in the header", '"name"x,sku,description\n', not_csv),
        ("2,001 columns", "name,sku,description" + ",x" * 1_998 + "\n", "at most 2,000"),
        (
            "a header too long",
            "name,sku,description," + "x" * 300_000 + "\n",
            "longer than|not a line",
        ),
        ("delimiters only", ",,,\n,,,\n", "no column"),
    ):
        yield refused(name, text, message)
