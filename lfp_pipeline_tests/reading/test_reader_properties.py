"""Reader and oracle agree on random files, to the byte."""

import random
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testing.cases import first_fast
from testing.csv_oracle.contents import expected_contents
from testing.reader import HEADER, read

HEADERS = (
    ("sku", "name", "description"),
    HEADER,
    ("name", "sku", "extra", "description"),
    ("description", "x", "sku", "name", "y"),
)
DIRT = (
    *("a", "b", "sku", '"', '"', '""', " ", "  ", "\n", "\r", "\r\n", "\0", "\t", ",", ";", "'"),
    *("\\", "é", "\u00a0", "\u2028", "\U0001f600"),
)
BROKEN = (b"\xff", b"\xe2\x82", b"\xed\xa0\x80", b"\xc0\x80")


@dataclass(frozen=True)
class DirtyFile:
    data: bytes
    start: int
    delimiter: str
    header: tuple[str, ...]


@st.composite
def dirty_files(draw: st.DrawFn) -> DirtyFile:
    delimiter = draw(st.sampled_from(",;\t|"))
    newline = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    header = draw(st.sampled_from(HEADERS))
    mark = draw(st.sampled_from(["", "", "\ufeff", newline]))
    head = (mark + delimiter.join(header) + newline).encode()
    pieces = st.one_of(
        st.sampled_from([token.encode() for token in (*DIRT, delimiter, newline)]),
        st.sampled_from([token.encode() for token in (delimiter, newline)]),
        st.sampled_from(BROKEN),
    )
    inside = st.lists(st.sampled_from(["a", " ", '""', delimiter, newline, "\n", "é"]), max_size=6)
    value = st.one_of(
        st.sampled_from([b"", b"a", b"b1", b"c c", "é".encode()]),
        inside.map(lambda parts: f'"{"".join(parts)}"'.encode()),
        st.sampled_from([b'"a" "b"', b'"a" ""', b' "a"', b'  "a" ']),
        st.lists(pieces, max_size=4).map(b"".join),
    )
    some = st.integers(len(header) - 1, len(header) + 1)
    width = st.one_of(st.just(len(header)), st.just(len(header)), some)
    row = width.flatmap(lambda n: st.lists(value, min_size=n, max_size=n)).map(
        delimiter.encode().join
    )
    ends = st.sampled_from([newline.encode()] * 5 + [b"\n", b"\r\n", b"\r", b""])
    rows = st.lists(st.tuples(row, ends).map(b"".join), max_size=12).map(b"".join)
    noise = st.lists(pieces, max_size=40).map(b"".join)
    body = draw(st.one_of(rows, rows, noise))
    if head.endswith(b"\r") and body.startswith(
        b"\n"
    ):  # The line feed belongs to the line end of the header.
        head, body = head + b"\n", body[1:]
    return DirtyFile(head + body, len(head), delimiter, header)


@given(dirty_files())
@settings(deadline=None, max_examples=50)
def test_reader_and_oracle_agree_on_rows_rejects_and_offsets(file: DirtyFile):
    found = read(file.data)
    assert found.contents == expected_contents(file.data, file.start, file.delimiter, file.header)


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=50)
def test_no_bytes_after_a_header_can_break_the_reader(noise: bytes):
    head = b"name,sku,description\n"
    data = head + noise
    assert read(data).contents == expected_contents(data, len(head), ",", HEADER)


@pytest.mark.parametrize("seed", first_fast(range(12), 5))
@pytest.mark.parametrize("limit", [300, 2_000])
def test_buffers_and_threads_make_no_difference(limit: int, seed: int):
    """DuckDB's buffers have four times the longest record, so a low limit makes many buffers."""
    file = large_dirty_file(random.Random(seed), limit, rows=3_000)
    longest = {"max_name_length": 10**6, "max_sku_length": 10**6, "max_record_bytes": limit}
    found = read(file.data, threads=4, **longest)
    oracle = expected_contents(file.data, file.start, file.delimiter, file.header, limit)
    assert found.rows_read == oracle.rows_read
    assert found.rejects == oracle.rejects
    assert found.winners == oracle.winners


def large_dirty_file(rng: random.Random, limit: int, rows: int) -> DirtyFile:
    delimiter, newline = rng.choice(",;\t"), rng.choice(["\n", "\r\n", "\r"])
    header = rng.choice(HEADERS[1:3])
    dirt, quoted = rng.choice([0, 0.001, 0.01, 0.05]), rng.choice([0, 0.1, 0.5])
    inside = ["aaa", "b", " ", '""', delimiter, newline, "x", "\n"]

    def clean(column: str) -> bytes:
        if column == "sku":
            return b"s%d" % rng.randrange(rows)
        if rng.random() < quoted:
            return f'"{"".join(rng.choices(inside, k=rng.randint(1, 12)))}"'.encode()
        return "".join(rng.choices("abcdé 1", k=rng.randint(1, 30))).encode()

    slips = (b"", b'"abc', b'"abc"x', b"a\xffb", b'  "a"', b"a" + delimiter.encode() + b"b")
    data = bytearray((delimiter.join(header) + newline).encode())
    start = len(data)
    for _ in range(rows):
        cells = [clean(column) for column in header]
        if rng.random() < dirt:
            around = rng.choice([limit - rng.randint(0, 40), limit + 5, 2 * limit, 5 * limit])
            long = b"y" * around
            lines = b'"' + b"y," * (limit // rng.randint(1, 3)) + newline.encode() + b'q"'
            cells[rng.randrange(len(cells))] = rng.choice([*slips, long, lines])
        end = newline if rng.random() > dirt / 5 else rng.choice(["\n", "\r\n", "\r", newline * 2])
        data += delimiter.encode().join(cells) + end.encode()
    return DirtyFile(bytes(data), start, delimiter, header)
