"""Ambiguous files: the reading in which no damage goes unnoticed."""

import time

import pytest

from lfp_pipeline.reading.bad_records import DiagnosingGrammar
from lfp_pipeline.reading.records import RecordForm
from testing.reader import FileRead, read

HEADER = "sku,name,description\n"
QUOTED = "".join(f'"q-{number}","Lamp","Brass, no. {number}"\n' for number in range(20))


def read_below(header: str, *rows: str) -> FileRead:
    return read((header + "".join(rows)).encode(), max_reject_share=1)


@pytest.mark.parametrize("damaged", ['note 6"\n', 'lost start"\n', '"\n', "x,y\n"])
def test_a_damaged_line_turns_no_preceding_text_into_rows(damaged: str):
    good = 's-1,"Lamp","line one\ns-9,ghost,row\n"\n'
    found = read_below(HEADER, QUOTED, good, damaged)
    assert "s-9" not in {sku for _, sku, _, _ in found.winners}
    assert not [name for _, _, name, _ in found.winners if name == "ghost"]


@pytest.mark.parametrize(
    "formula", ['F-1,="a,b"\n', 's-1,n,="first\nF-2",n2,d2\n', 's-1,n,="10 cm\n20 cm",wide,oak\n']
)
def test_a_formula_with_a_delimiter_or_a_line_end_is_rejected(formula: str):
    found = read_below(HEADER, QUOTED, formula)
    assert [sku for _, sku, _, _ in found.winners] == [f"q-{number}" for number in range(20)]
    assert found.rejects


def test_a_quoted_text_may_begin_like_a_formula():
    found = read_below(HEADER, QUOTED, '"s-1","n","=""open"\n')
    assert found.rejects == []
    assert found.winners[-1][1:] == ("s-1", "n", '="open')


def test_a_formula_split_by_a_line_end_among_bare_quotes_is_rejected():
    bare = "".join(f's-{number},Disk {number}",x\n' for number in range(20))
    found = read_below(HEADER, bare, 'f-1,n,="first\n')
    assert [number for number, *_ in found.rejects] == [21]


def test_a_header_wider_than_all_rows_shifts_no_value():
    rows = "".join(f"s-{number},Chair {number},Made of oak\n" for number in range(30))
    found = read_below("sku,brand,name,description\n", rows)
    assert (found.winners, len(found.rejects)) == ([], 30)


@pytest.mark.parametrize("times", [1, 2, 3, 20])
def test_texts_without_their_opening_quotes_are_rejected(times: int):
    broken = "".join(f'x-{n},"bad",line one\nline two of text"\n' for n in range(times))
    found = read_below(HEADER, QUOTED, broken)
    assert [sku for _, sku, _, _ in found.winners] == [f"q-{number}" for number in range(20)]
    assert len(found.rejects) == times


@pytest.mark.parametrize("text", [r"size 19\", black", r"19\", 20\", 21\"", r"Pipe 1\", steel"])
@pytest.mark.parametrize("header", [HEADER, "sku,name,description,colour\n"])
def test_escaped_quotes_before_delimiters_do_not_end_values(text: str, header: str):
    rows = "".join(f'"s-{number}","Lamp {number}","{text}"\n' for number in range(40))
    found = read_below(header, rows)
    assert found.rejects == []
    assert {row[3] for row in found.winners} == {text.replace('\\"', '"')}


def test_a_repeated_header_is_compared_in_small_letters_of_any_script():
    data = "Artikelstraße,name,description\n1,Lamp,x\nARTIKELSTRASSE,Lamp,x\n"
    data += "artikelstraße,name,description\n"
    found = read(data.encode(), column_aliases={"sku": ["Artikelstraße"]})
    assert found.headers == 1
    assert "artikelstraße" not in {sku for _, sku, _, _ in found.winners}


def test_a_line_of_only_quotes_and_delimiters_takes_linear_time():
    grammar = DiagnosingGrammar(RecordForm(b",", b"\n", 3, 3))
    line = b'","' + b',","' * 16_000 + b",x"
    started = time.perf_counter()
    assert grammar.look(line, 0).end == len(line)
    assert time.perf_counter() - started < 3
