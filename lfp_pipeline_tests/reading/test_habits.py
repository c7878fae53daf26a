"""A systematic oddity is read as it is meant; an isolated one is rejected."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from lfp_pipeline.reading.dialect import detect_dialect
from lfp_pipeline.reading.habits import form_by_habits
from lfp_pipeline.reading.records import RecordForm
from testing.csv_oracle.contents import expected_contents
from testing.reader import FileRead, options, read

HEADER = ("name", "sku", "description", "price")

WAYS = [
    (",", "\n", False),
    (";", "\r\n", True),
    ("\t", "\r", False),
    ("|", "\n", True),
    ("^", "\r\n", False),
    ("^", "\n", True),
]
ways = pytest.mark.parametrize(
    ("delimiter", "newline", "quoted"),
    WAYS,
    ids=[f"{mark!r} {end!r} {'quoted' if quoted else 'bare'}" for mark, end, quoted in WAYS],
)


class Writer:
    """A writer of files with one form."""

    def __init__(
        self, delimiter: str, newline: str, *, quoted: bool, header: Sequence[str] = HEADER
    ) -> None:
        self.delimiter, self.newline, self.quoted, self.header = delimiter, newline, quoted, header
        self.numbers = iter(range(10_000))

    def line(self, *cells: str) -> str:
        shown = [f'"{cell}"' if self.quoted and cell else cell for cell in cells]
        return self.delimiter.join(shown)

    def row(self, description: str = "text", price: str = "9.5") -> list[str]:
        return ["Lamp", f"S-{next(self.numbers)}", description, price]

    def full(self, count: int) -> list[str]:
        return [self.line(*self.row()) for _ in range(count)]

    def trailing(self, count: int) -> list[str]:
        return [self.line(*self.row(), "") for _ in range(count)]

    def short(self, count: int, cells: int = 3) -> list[str]:
        return [self.line(*self.row()[:cells]) for _ in range(count)]

    def read(self, *rows: str, head_end: str = "", **settings: object) -> FileRead:
        """Read a file of these lines with the reader and the oracle, and check that they agree."""
        own = f"sep={self.delimiter}{self.newline}" if self.delimiter == "^" else ""
        header = (self.delimiter.join(self.header) + head_end).split(self.delimiter)
        head = own + self.delimiter.join(header) + self.newline
        data = (head + "".join(row + self.newline for row in rows)).encode()
        found = read(data, max_reject_share=1, **settings)
        names = [name if name in HEADER[:3] else name and f"other {name}" for name in header]
        all_cells = bool(settings.get("require_all_cells"))
        start = len(head.encode())
        truth = expected_contents(data, start, self.delimiter, names, require_all=all_cells)
        assert found.contents == truth
        return found


@pytest.fixture
def file() -> Writer:
    return Writer(",", "\n", quoted=False)


# A delimiter at the end of every row


@ways
def test_a_delimiter_at_the_end_of_every_row_adds_no_cell(
    delimiter: str, newline: str, quoted: bool
):
    file = Writer(delimiter, newline, quoted=quoted)
    found = file.read(*file.trailing(5))
    assert (len(found.winners), found.rejects) == (5, [])
    assert "one cell more than the header, and it is empty" in " ".join(found.notes)


@ways
def test_an_isolated_delimiter_at_the_end_of_a_row_rejects_the_row(
    delimiter: str, newline: str, quoted: bool
):
    file = Writer(delimiter, newline, quoted=quoted)
    found = file.read(*file.full(4), *file.trailing(1), *file.full(4))
    assert found.reasons == [(5, "too many columns")]
    assert len(found.winners) == 8
    assert not any("one cell more" in note for note in found.notes)


@pytest.mark.parametrize(
    ("trailing", "others", "is_habit"),
    [(1, 0, True), (8, 1, False), (9, 1, True), (89, 11, False), (90, 10, True), (1, 1, False)],
)
def test_nine_of_ten_rows_make_a_trailing_delimiter_a_habit(
    file: Writer, trailing: int, others: int, is_habit: bool
):
    found = file.read(*file.trailing(trailing), *file.full(others))
    reason, rejected = ("missing columns", others) if is_habit else ("too many columns", trailing)
    assert len(found.winners) == trailing + others - rejected
    assert [why for _, why in found.reasons] == [reason] * rejected


def test_blank_rows_and_empty_lines_do_not_count_for_a_habit(file: Writer):
    found = file.read(*file.trailing(9), *file.full(1), *[",,,", "", " "] * 9)
    assert found.reasons == [(10, "missing columns")]
    assert found.blank == 27


@pytest.mark.parametrize("end", [",x", ", x", ',"x"', ",\u00a0", ",,"])
def test_a_value_after_a_trailing_delimiter_has_no_column(file: Writer, end: str):
    rows = [*file.full(1), *file.trailing(20)]
    rows[0] += end
    assert file.read(*rows).reasons == [(1, "too many columns")]


@pytest.mark.parametrize("end", [",", ', "" ', ',""', ",  "])
def test_the_empty_cell_after_a_trailing_delimiter_may_be_quoted(file: Writer, end: str):
    rows = [row + end for row in file.full(20)]
    found = file.read(*rows)
    assert (len(found.winners), found.rejects) == (20, [])


def test_two_delimiters_at_the_end_of_every_row_reject_the_rows(file: Writer):
    found = file.read(*[row + ",," for row in file.full(5)])
    assert [why for _, why in found.reasons] == ["too many columns"] * 5


def test_repeated_headers_are_skipped_with_and_without_trailing_delimiters(file: Writer):
    header = ",".join(HEADER)
    found = file.read(*file.trailing(20), header, header + ",", *file.trailing(2))
    assert (found.headers, found.rejects, len(found.winners)) == (2, [], 22)
    assert found.winners[-1][0] == 24


# A header that ends in delimiters


@ways
@pytest.mark.parametrize("more", [1, 3])
def test_only_the_header_may_end_in_delimiters(
    delimiter: str, newline: str, quoted: bool, more: int
):
    file = Writer(delimiter, newline, quoted=quoted)
    found = file.read(*file.full(5), head_end=delimiter * more)
    assert (len(found.winners), found.rejects) == (5, [])


@ways
def test_header_and_rows_may_end_in_delimiters(delimiter: str, newline: str, quoted: bool):
    file = Writer(delimiter, newline, quoted=quoted)
    found = file.read(*file.trailing(5), head_end=delimiter)
    assert (len(found.winners), found.rejects) == (5, [])
    assert not found.repaired


@pytest.mark.parametrize(
    ("full", "trailing", "rejected"),
    [(25, 2, "too many columns"), (5, 4, ""), (4, 5, ""), (5, 5, "")],
)
def test_the_header_and_many_rows_may_end_in_a_delimiter(
    file: Writer, full: int, trailing: int, rejected: str
):
    found = file.read(*file.full(full), *file.trailing(trailing), head_end=",")
    assert {why for _, why in found.reasons} == ({rejected} if rejected else set())
    assert len(found.winners) == (full if rejected else full + trailing)


# Missing empty cells


@ways
def test_missing_cells_of_many_short_rows_are_empty(delimiter: str, newline: str, quoted: bool):
    file = Writer(delimiter, newline, quoted=quoted)
    found = file.read(*file.full(6), *file.short(2, 2), *file.short(2, 3), *file.full(6))
    assert found.rejects == []
    assert [row[3] for row in found.winners] == ["text"] * 6 + ["", "", "text", "text"] + [
        "text"
    ] * 6
    assert any("fewer cells than the header" in note for note in found.notes)


@ways
def test_an_isolated_short_row_is_rejected(delimiter: str, newline: str, quoted: bool):
    file = Writer(delimiter, newline, quoted=quoted)
    found = file.read(*file.full(6), *file.short(1, 3), *file.full(6))
    assert found.reasons == [(7, "missing columns")]
    assert len(found.winners) == 12
    assert not any("fewer cells" in note for note in found.notes)


@pytest.mark.parametrize(
    ("short", "full", "is_habit"),
    [
        (2, 0, True),  # All rows are short, so the file has another width.
        (2, 2, False),
        (3, 4, True),
        (3, 27, True),
        (3, 28, False),
        (7, 63, True),
        (7, 64, False),
    ],
)
def test_three_rows_and_one_of_ten_make_short_rows_a_habit(
    file: Writer, short: int, full: int, is_habit: bool
):
    rows = [*file.full(full), *file.short(short)]
    apart = [row for pair in zip(rows, rows[::-1], strict=True) for row in pair][: len(rows)]
    ordered = list(dict.fromkeys([*apart, *rows]))  # The short rows are not consecutive.
    found = file.read(*ordered)
    if full == 0:
        assert found.reasons == [(1, "missing columns"), (2, "missing columns")]
        return
    assert len(found.rejects) == (0 if is_habit else short)


@pytest.mark.parametrize(("run", "is_habit"), [(14, False), (15, True), (16, True)])
def test_fifteen_consecutive_short_rows_are_a_habit_in_a_file_of_any_length(
    file: Writer, run: int, is_habit: bool
):
    rows = [*file.full(500), *file.short(run, 2), *file.full(500)]
    assert len(file.read(*rows).rejects) == (0 if is_habit else run)
    split = [*file.full(500), *file.short(run - 1), *file.full(1), *file.short(1), *file.full(500)]
    assert len(file.read(*split).rejects) == (run if run <= 15 else 0)


@ways
def test_blocks_of_sixteen_as_excel_writes_them_are_read(
    delimiter: str, newline: str, quoted: bool
):
    """Excel writes no cells for the last columns of 16 rows that all have no value there."""
    file = Writer(delimiter, newline, quoted=quoted)
    blocks = [file.full(16), file.short(16, 2), file.full(16 * 20), file.short(16, 3)]
    rows = [row for block in blocks for row in block]
    found = file.read(*rows)
    assert (len(found.winners), found.rejects) == (len(rows), [])


@pytest.mark.parametrize(("last", "is_habit"), [(1, False), (14, False), (15, True), (16, True)])
def test_a_block_of_short_rows_at_the_end_is_a_habit_from_fifteen_rows_on(
    file: Writer, last: int, is_habit: bool
):
    found = file.read(*file.full(16 * 30), *file.short(last))
    assert len(found.rejects) == (0 if is_habit else last)


def test_blank_rows_continue_a_run_of_short_rows_and_bad_rows_do_not_make_one(file: Writer):
    rows = [*file.full(500), *file.short(8), ",,", "", *file.short(8), *file.full(500)]
    found = file.read(*rows)
    assert (found.rejects, found.blank) == ([], 2)


def test_a_short_row_without_sku_or_name_is_rejected_despite_the_habit(file: Writer):
    found = file.read(*file.full(5), *file.short(5, 2), *file.short(1, 1), "Lamp", ",S-77")
    assert found.reasons == [(11, "missing columns"), (12, "missing columns"), (13, "no name")]


def test_rows_without_a_sku_do_not_make_short_rows_a_habit(file: Writer):
    found = file.read(*file.full(5), *file.short(5, 1), *file.short(2, 2))
    assert [why for _, why in found.reasons] == ["missing columns"] * 7


def test_no_row_is_short_if_the_sku_is_the_last_column():
    header = ("description", "name", "price", "sku")
    file = Writer(",", "\n", quoted=False, header=header)
    found = file.read(*["x,Lamp,1,S-1"] * 5, *["x,Lamp,1"] * 5)
    assert [why for _, why in found.reasons] == ["missing columns"] * 5


@ways
@pytest.mark.parametrize("short", [1, 5, 40])
def test_require_all_cells_rejects_every_short_row(
    delimiter: str, newline: str, quoted: bool, short: int
):
    file = Writer(delimiter, newline, quoted=quoted)
    found = file.read(*file.full(41), *file.short(short, 2), require_all_cells=True)
    assert [why for _, why in found.reasons] == ["missing columns"] * short
    assert len(found.winners) == 41
    assert not any("fewer cells" in note for note in found.notes)


def test_require_all_cells_does_not_affect_other_habits(file: Writer):
    found = file.read(*file.trailing(5), require_all_cells=True)
    assert (len(found.winners), found.rejects) == (5, [])
    found = file.read(*file.full(5), head_end=",,", require_all_cells=True)
    assert (len(found.winners), found.rejects) == (5, [])


def test_a_long_row_is_rejected_in_a_file_of_short_rows(file: Writer):
    found = file.read(*file.full(5), *file.short(5), *file.trailing(1))
    assert found.reasons == [(11, "too many columns")]


# Quotes inside unquoted values


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "^"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_quote_is_a_character_if_no_value_is_quoted(delimiter: str, newline: str):
    file = Writer(delimiter, newline, quoted=False)
    found = file.read(file.line('Rack 19"', "R-1", '6" deep', "1"), *file.full(3))
    assert found.winners[0] == (1, "R-1", 'Rack 19"', '6" deep')
    assert found.rejects == []


@pytest.mark.parametrize(
    ("stray", "others", "is_habit"),
    [(2, 10, False), (3, 26, True), (3, 30, False), (60, 500, True)],
)
def test_among_quoted_values_many_rows_make_bare_quotes_a_habit(
    file: Writer, stray: int, others: int, is_habit: bool
):
    rows = [f'Rack 19",R-{number},x,1' for number in range(stray)]
    found = file.read('Sofa,A-1,"x, y",1', *rows, *file.full(others))
    assert [why for _, why in found.reasons] == ([] if is_habit else ["stray quote"] * stray)
    assert ("A-1", "Sofa", "x, y") in found.products
    assert any("taken as they are" in note for note in found.notes) == is_habit


def test_two_quotes_in_one_row_count_as_one_row_with_quotes(file: Writer):
    found = file.read('Sofa,A-1,"x",1', 'Rack 19" 20" 21",R-1,5" x,1"', 'Rack 1",R-2,x,1')
    assert [why for _, why in found.reasons] == ["stray quote"] * 2


def test_quotes_of_formulas_do_not_count_as_quoted_values(file: Writer):
    found = file.read('Lamp,="007",x,1', 'Rack 19",R-1,x,1', *file.full(3))
    assert found.products[:2] == [("007", "Lamp", "x"), ("R-1", 'Rack 19"', "x")]


@ways
def test_formulas_around_texts_are_unwrapped(delimiter: str, newline: str, quoted: bool):
    file = Writer(delimiter, newline, quoted=quoted)
    row = delimiter.join(['="Lamp"', '="007"', '="a b"', '=""'])
    found = file.read(row, *file.full(3))
    assert found.winners[0] == (1, "007", "Lamp", "a b")
    assert found.rejects == []


@ways
def test_quoted_formulas_around_texts_are_unwrapped(delimiter: str, newline: str, quoted: bool):
    file = Writer(delimiter, newline, quoted=quoted)
    row = delimiter.join(['"=""Lamp"""', '"=""007"""', '"=""a """"b"""""""', "1"])
    found = file.read(row, *file.full(3))
    assert found.winners[0] == (1, "007", "Lamp", 'a "b"')


# Quotes escaped by backslashes


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "^"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_backslashes_escape_quotes_if_all_inner_quotes_have_them(delimiter: str, newline: str):
    file = Writer(delimiter, newline, quoted=True)
    texts = [r"say \"hi\"", r"\"big\"", rf"a\"{delimiter}\"b", r"end\\", r"C:\dir", r"x\"\\"]
    found = file.read(*[file.line(*file.row(text)) for text in texts])
    assert [row[3] for row in found.winners] == [
        'say "hi"',
        '"big"',
        f'a"{delimiter}"b',
        "end\\",
        r"C:\dir",
        'x"\\',
    ]
    assert found.rejects == []
    assert "Quotes in values are escaped by backslashes." in found.notes


@pytest.mark.parametrize(("escaped", "is_habit"), [(1, False), (2, False), (3, True), (30, True)])
def test_three_rows_make_backslashes_a_habit(escaped: int, is_habit: bool):
    file = Writer(",", "\n", quoted=True)
    rows = [file.line(*file.row(r"a \" b")) for _ in range(escaped)]
    found = file.read(*file.full(300), *rows, *file.full(300))
    assert len(found.rejects) == (0 if is_habit else escaped)
    assert {why for _, why in found.reasons} <= {"text after a closing quote"}


def test_in_a_file_of_one_row_a_backslashed_quote_is_read():
    file = Writer(",", "\n", quoted=True)
    assert file.read(file.line(*file.row(r"a \" b"))).products == [("S-0", "Lamp", 'a " b')]


def test_backslashed_quotes_beside_doubled_quotes_are_rejected():
    file = Writer(",", "\n", quoted=True)
    backslashed = [file.line(*file.row(r"a \" b")) for _ in range(5)]
    doubled = [file.line(*file.row('a "" b')) for _ in range(5)]
    found = file.read(*backslashed, *doubled)
    assert [why for _, why in found.reasons] == ["text after a closing quote"] * 5
    assert [row[3] for row in found.winners] == ['a " b'] * 5


@pytest.mark.parametrize("text", ["C:\\dir\\", "\\", "a\\b", "\\\\server"])
def test_a_backslash_that_escapes_nothing_is_a_character(text: str):
    file = Writer(",", "\n", quoted=True)
    found = file.read(*[file.line(*file.row(text)) for _ in range(5)])
    assert [row[3] for row in found.winners] == [text] * 5


# The form


def form_of(data: bytes, *, require_all_cells: bool = False) -> RecordForm:
    dialect = detect_dialect(data, 0, None, options())
    return form_by_habits(data, dialect, require_all_cells=require_all_cells)


def test_the_form_of_the_given_dialect_is_ignored():
    data = b"name,sku,description\na,b,c\n"
    dialect = detect_dialect(data, 0, None, options())
    odd = replace(dialect, form=replace(dialect.form, width=9, fewest=1, backslash=True))
    assert form_by_habits(data, odd, require_all_cells=False) == form_of(data)


def test_a_file_without_rows_has_the_form_of_its_header():
    assert form_of(b"name,sku,description\n").width == 3
    assert form_of(b"name,sku,description,,\n").width in {3, 4, 5}


def test_one_habit_does_not_count_for_another():
    """Rows that end in delimiters do not count as short rows, nor their quotes as backslashed."""
    form = form_of(b'name,sku,description\na,b,"c",\n' + b'5" a,b,c,\n' * 20)
    assert (form.width, form.fewest, form.last_empty, form.bare_quotes) == (4, 4, True, True)


def test_a_habit_at_the_end_of_a_large_file_is_found(file: Writer):
    rows = [*file.full(4_000), *file.short(900)]
    large = [row.replace("Lamp", "L" * 100, 1) for row in rows]
    found = file.read(*large)
    assert (len(found.winners), found.rejects) == (4_900, [])


@pytest.mark.slow
def test_a_habit_of_only_the_first_rows_of_a_large_file_does_not_count(file: Writer):
    rows = [*file.trailing(2_500), *file.full(2_500)]
    large = [row.replace("Lamp", "L" * 100, 1) for row in rows]
    found = file.read(*large)
    assert len(found.rejects) == 2_500
    assert {why for _, why in found.reasons} == {"too many columns"}
