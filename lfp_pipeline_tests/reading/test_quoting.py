"""The check of the quotes of a file, and the proof by its bytes that a load is complete."""

import time
from pathlib import Path

import pytest

from lfp_pipeline.reading import loading, quoting
from lfp_pipeline.reading.dialect import Dialect, detect_dialect
from lfp_pipeline.reading.loading import empty_lines_beside
from lfp_pipeline.reading.quoting import Quoting, quoting_checked
from testing.reader import options

HEADER = "name,sku,description\n"
CHUNKS = [1, 2, 3, 7, 1 << 18]
NONE = Quoting(0, bare=True)


def dialect_of(path: Path, body: bytes, delimiter: str = ",", newline: str = "\n") -> Dialect:
    header = HEADER.replace(",", delimiter).replace("\n", newline).encode()
    path.write_bytes(header + body)
    return detect_dialect(header, 0, None, options())


def checked(path: Path, body: bytes, delimiter: str = ",") -> Quoting | None:
    dialect = dialect_of(path, body, delimiter)
    with quoting_checked(path, dialect) as checking:
        return checking.result()


@pytest.mark.parametrize("chunk_bytes", CHUNKS)
@pytest.mark.parametrize(
    ("body", "found"),
    [
        # No value is quoted.
        (b"", NONE),
        (b"a,b,c", NONE),
        (b"a,b,c\n\n", NONE),
        (b'5" a,b,c"\n', NONE),
        (b'a"b"c,d"",e"\n', NONE),
        (b'=a"b",c,d\n', NONE),
        # Quotes around values.
        (b'"a",b,c\n', Quoting(2, bare=False)),
        (b'a,"b",c\n', Quoting(2, bare=False)),
        (b'a,b,"c"\n', Quoting(2, bare=False)),
        (b'a,b,"c"', Quoting(2, bare=False)),
        (b'a,b,"c"\r\n', Quoting(2, bare=False)),
        (b'a,b,"c"\rd,e,f', Quoting(2, bare=False)),
        (b'"a","b","c"\n"d","e","f"\n', Quoting(12, bare=False)),
        (b'"","",""\n', Quoting(6, bare=False)),
        (b'a,"\n,\n",c\n', Quoting(2, bare=False)),
        # Escaped quotes drop one of two quotes.
        (b'"a""b",c,d\n', Quoting(3, bare=False)),
        (b'"""a""","""",""""""\n', Quoting(4 + 3 + 4, bare=False)),
        (b'"""",b,""""', Quoting(6, bare=False)),
        (b'"a"",""b",c,d\n', Quoting(4, bare=False)),
        # One space before or after quotes.
        (b' "a" , "b" , "c" \n', Quoting(6 + 6, bare=False)),
        (b'a, "b",c\n', Quoting(3, bare=False)),
        (b'"a" ,b,c', Quoting(3, bare=False)),
        # Formulas keep their quotes.
        (b'="007",b,c\n', NONE),
        (b'="007","b",c\n', None),
        (b'"a",="",="x"', None),
        (b'a,="",="x"', NONE),
        # Misplaced quotes.
        (b'"a,b,c\n', None),
        (b'"a"x,b,c\n', None),
        (b'"a" "b",c,d\n', None),
        (b'  "a",b,c\n', None),
        (b'"a"  ,b,c\n', None),
        (b'"a",5" b,c\n', None),
        (b'"a",5"" b,c\n', None),
        (b'5" a,"b",c\n', None),
        (b'"a\\"b",c,d\n', None),
        (b'a,b"c, "d"\n', None),
        (b'"a",b,"c\n', None),
        (b'a,b,"', None),
    ],
)
def test_the_result_does_not_depend_on_the_boundaries_of_chunks(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    chunk_bytes: int,
    body: bytes,
    found: Quoting | None,
):
    monkeypatch.setattr(quoting, "_CHUNK_BYTES", chunk_bytes)
    assert checked(tmp_path / "file.csv", body) == found


def test_all_quotes_are_counted(tmp_path: Path):
    for body, quotes in ((b"a,b,c\n", 0), (b'5" a,b,c\n', 1), (b'"a""b",c,"d"\n', 6)):
        found = checked(tmp_path / "file.csv", body)
        assert found is not None
        assert found.quotes == quotes


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_the_check_uses_the_delimiter_of_the_file(tmp_path: Path, delimiter: str):
    body = delimiter.join(['"a,"', '"b"', '"c"\n']).encode()
    assert checked(tmp_path / "file.csv", body, delimiter) == Quoting(6, bare=False)
    assert checked(tmp_path / "file.csv", b'"a",b,c\n', delimiter) is None


def test_an_equals_sign_as_delimiter_makes_no_formulas(tmp_path: Path):
    path = tmp_path / "file.csv"
    path.write_bytes(b'sep==\nname=sku=description\na="b"=c\n')
    dialect = detect_dialect(path.read_bytes(), 0, None, options())
    with quoting_checked(path, dialect) as checking:
        found = checking.result()
    text_bytes = len("abc")
    assert empty_lines_beside(1, text_bytes, found, path, dialect) in {0, None}


# Blocks that end early


def test_leaving_the_block_stops_the_check_of_a_long_file(tmp_path: Path):
    path = tmp_path / "file.csv"
    dialect = dialect_of(path, b"")
    with path.open("ab") as file:
        file.truncate(1 << 40)  # A sparse file.
    started = time.perf_counter()
    with quoting_checked(path, dialect) as checking:
        pass
    assert checking.result() is None
    assert time.perf_counter() - started < 5


def test_an_error_in_the_block_stops_the_check_and_is_raised(tmp_path: Path):
    path = tmp_path / "file.csv"
    dialect = dialect_of(path, b"")
    with path.open("ab") as file:
        file.truncate(1 << 40)
    with pytest.raises(ZeroDivisionError), quoting_checked(path, dialect) as checking:
        raise ZeroDivisionError
    assert checking.result() is None


def test_the_check_stops_at_the_first_misplaced_quote(tmp_path: Path):
    path = tmp_path / "file.csv"
    dialect = dialect_of(path, b'"a"b,5" c,d\n')
    with path.open("ab") as file:
        file.truncate(1 << 40)
    with quoting_checked(path, dialect) as checking:
        assert checking.result(timeout=5) is None


# The proof by the bytes

ROWS = [("a", "b", "c"), ("dd", "", "e f"), ("é", "g", "")]


def written(rows: list[tuple[str, str, str]], style: str, newline: str) -> list[str]:
    """Return the lines of some rows."""
    cell = {"bare": "{}", "quoted": '"{}"', "spaced": ' "{}" ', "formulas": '="{}"'}[style]
    return [",".join(cell.format(value) for value in row) + newline for row in rows]


def text_bytes_of(rows: list[tuple[str, str, str]], style: str) -> int:
    more = 3 if style == "formulas" else 0
    return sum(len(value.encode()) + more for row in rows for value in row)


def empty_lines(path: Path, body: str, newline: str, rows: int, text_bytes: int) -> int | None:
    dialect = dialect_of(path, body.encode(), newline=newline)
    with quoting_checked(path, dialect) as checking:
        found = checking.result()
    return empty_lines_beside(rows, text_bytes, found, path, dialect)


STYLES = ["bare", "quoted", "spaced", "formulas"]
NEWLINES = ["\n", "\r\n", "\r"]


@pytest.mark.parametrize("newline", NEWLINES)
@pytest.mark.parametrize("style", STYLES)
def test_the_bytes_of_a_complete_load_add_up(tmp_path: Path, style: str, newline: str):
    lines, size = written(ROWS, style, newline), text_bytes_of(ROWS, style)
    path = tmp_path / "file.csv"

    def found(body: str) -> int | None:
        return empty_lines(path, body, newline, len(ROWS), size)

    assert found("".join(lines)) == 0
    assert found("".join(lines).removesuffix(newline)) == 0
    assert found("".join(lines) + newline * 5) == 5
    assert found(newline * 2 + lines[0] + newline + "".join(lines[1:])) == 3
    assert found(newline + "".join(lines) + newline * 2) == 3
    assert found(newline + "".join(lines).removesuffix(newline)) == 1


@pytest.mark.parametrize("newline", NEWLINES)
@pytest.mark.parametrize("style", STYLES)
def test_the_bytes_of_an_incomplete_load_do_not_add_up(tmp_path: Path, style: str, newline: str):
    lines, size = written(ROWS, style, newline), text_bytes_of(ROWS, style)
    body, path = "".join(lines), tmp_path / "file.csv"
    first, last = text_bytes_of(ROWS[1:2], style), text_bytes_of(ROWS[-1:], style)
    for rows, text_bytes, what in [
        (len(ROWS) - 1, size - last, "a row is missing"),
        (len(ROWS) - 1, size - first, "another row is missing"),
        (len(ROWS) + 1, size + last, "a row was read twice"),
        (len(ROWS), size + 1, "a value is too long"),
        (len(ROWS), size - last + first, "one row was read in the place of another"),
        (len(ROWS) - 1, size, "two rows are one"),
        (len(ROWS) + 1, size, "one row is two"),
        (0, 0, "nothing was read"),
    ]:
        assert empty_lines(path, body, newline, rows, text_bytes) is None, what


@pytest.mark.parametrize("newline", NEWLINES)
@pytest.mark.parametrize("style", STYLES)
def test_bytes_cut_from_a_value_are_no_empty_line(tmp_path: Path, style: str, newline: str):
    lines, size = written(ROWS, style, newline), text_bytes_of(ROWS, style)
    path = tmp_path / "file.csv"
    assert empty_lines(path, "".join(lines), newline, len(ROWS), size - len(newline)) is None


@pytest.mark.parametrize("newline", NEWLINES)
@pytest.mark.parametrize(
    ("body", "rows", "text_bytes", "what"),
    [
        ("a,b,c\nd,e,f,\n", 1, 3, "the row of four cells is left out"),
        ("a,b,c\nd,e,f,\n", 2, 6, "the fourth cell is left out"),
        ("a,b,c\n\nd,e,f,\n", 2, 6, "the fourth cell is left out after an empty line"),
        ("a,b,c\nd,e\n", 1, 3, "the row of two cells is left out"),
        ("a,b,c\nd,e\n", 2, 5, "the row of two cells is filled up"),
        ("a,b,c\nd\n", 1, 3, "the row of one cell is left out"),
        ("a,b,c\nd\n", 2, 4, "the row of one cell is filled up"),
        ("a,b,c\n  \nd,e,f\n", 2, 6, "the line of spaces is left out"),
        ("a,b,c\n  \nd,e,f\n", 3, 8, "the line of spaces is filled up"),
        ("a,b,c\n,\nd,e,f\n", 2, 6, "the delimiter is left out"),
        ("a,b,c\n\n,\nd,e,f\n", 2, 6, "the delimiter after an empty line is left out"),
    ],
)
def test_bytes_of_a_lost_record_are_no_empty_line(
    tmp_path: Path, newline: str, body: str, rows: int, text_bytes: int, what: str
):
    body, path = body.replace("\n", newline), tmp_path / "file.csv"
    assert empty_lines(path, body, newline, rows, text_bytes) is None, what


@pytest.mark.parametrize(("body", "empty"), [(b"", 0), (b"\n", 1), (b"\n\n\n", 3), (b" ", None)])
def test_a_file_without_rows_has_only_empty_lines(tmp_path: Path, body: bytes, empty: int | None):
    path = tmp_path / "file.csv"
    assert empty_lines_beside(0, 0, NONE, path, dialect_of(path, body)) == empty


def test_more_empty_lines_at_the_end_than_the_tail_size_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(loading, "_TAIL_BYTES", 4)
    assert empty_lines(tmp_path / "file.csv", "a,b,c\n" + "\n" * 9, "\n", 1, 3) == 9


def test_without_a_result_of_the_quote_check_nothing_is_proved(tmp_path: Path):
    path = tmp_path / "file.csv"
    assert empty_lines_beside(1, 3, None, path, dialect_of(path, b"a,b,c\n")) is None


@pytest.mark.parametrize("body", [b"a,b,c\rd,e,f\n", b"a,b,c\n\rd,e,f\n", b"a,b,c\r\nd,e,f\r"])
def test_other_line_ends_are_no_part_of_a_value(tmp_path: Path, body: bytes):
    path = tmp_path / "file.csv"
    dialect = dialect_of(path, body)
    for rows, text_bytes in [(2, 6 + body.count(b"\r")), (1, len(body) - 3)]:
        assert empty_lines_beside(rows, text_bytes, NONE, path, dialect) in {None, 0}


@pytest.mark.parametrize("body", [b'"', b'"\n', b'x"', b'""', b' "', b'="'])
def test_a_body_shorter_than_the_bytes_around_a_quote_is_checked(tmp_path: Path, body: bytes):
    found = checked(tmp_path / "file.csv", body)
    assert found == {b'x"': NONE, b'="': NONE, b'""': Quoting(2, bare=False)}.get(body)
