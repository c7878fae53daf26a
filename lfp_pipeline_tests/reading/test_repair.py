"""The repaired copy: plain CSV with a placeholder for each record that is no row."""

from dataclasses import replace
from pathlib import Path

import pytest

from lfp_pipeline.errors import AnotherHeaderError, DeliveryRefusedError
from lfp_pipeline.reading import reject_limit
from lfp_pipeline.reading.dialect import detect_dialect
from lfp_pipeline.reading.reject_limit import RejectLimit
from lfp_pipeline.reading.repair import RepairedCopy, write_repaired_copy
from testing.reader import options

HEAD = b"name,sku,description\n"
OPTIONS = options(column_aliases={"sku": ["article"]})


def repaired(
    folder: Path, data: bytes, objections: dict[int, str] | None = None, **form: bool | int
) -> RepairedCopy:
    path = folder / "file.csv"
    path.write_bytes(data)
    dialect = detect_dialect(data, 0, None, OPTIONS)
    dialect = replace(dialect, form=replace(dialect.form, **form))  # type: ignore[arg-type]
    limit = RejectLimit(1, len(data), columns=3)
    return write_repaired_copy(path, dialect, folder / "copy.csv", limit, objections)


def lines(copy: RepairedCopy) -> list[str]:
    return copy.path.read_bytes().decode().replace(copy.mark, "BAD-").split("\n")


def test_good_records_are_copied_as_they_are(tmp_path: Path):
    copy = repaired(tmp_path, HEAD + b'Lamp,A-1,"x\ny"\n\nChair,B-2, z \n')
    assert lines(copy) == ["c0,c1,c2", 'Lamp,A-1,"x', 'y"', "Chair,B-2, z ", ""]
    assert copy.bad_records == []
    assert copy.empty_lines == 1


def test_line_ends_and_spaces_around_quotes_become_plain(tmp_path: Path):
    copy = repaired(tmp_path, HEAD + b'a,b,c\r\nd, "e" ,f\rg,h,i\n\r\nj,k,l')
    assert lines(copy) == ["c0,c1,c2", "a,b,c", 'd,"e",f', "g,h,i", "j,k,l", ""]
    assert copy.empty_lines == 1


def test_every_kind_of_line_end_between_records_is_one_empty_line(tmp_path: Path):
    copy = repaired(tmp_path, HEAD + b"\n\r\n\ra,b,c\n\n\r\nd,e,f\n\r\r\n\n")
    assert lines(copy) == ["c0,c1,c2", "a,b,c", "d,e,f", ""]
    assert copy.empty_lines == 8


def test_a_placeholder_stands_for_each_bad_record(tmp_path: Path):
    copy = repaired(tmp_path, HEAD + b'bad\nLamp,A-1,x\nLamp,"A-2\nCh\xffair,B-2,x\n')
    assert lines(copy) == ["c0,c1,c2", ",BAD-0,", "Lamp,A-1,x", ",BAD-1,", ",BAD-2,", ""]
    assert [(bad.start, bad.end, bad.reason, bad.detail) for bad in copy.bad_records] == [
        (21, 25, "missing columns", "1 columns instead of 3"),
        (36, 46, "unclosed quote", "the quote at byte 41 is never closed"),
        (46, 59, "invalid encoding", "at byte 48"),
    ]


def test_an_isolated_surplus_delimiter_makes_a_bad_record(tmp_path: Path):
    copy = repaired(tmp_path, HEAD + b"a,b,c\nd,e,f,\ng,h,i,,\nj,k,l\n")
    assert lines(copy) == ["c0,c1,c2", "a,b,c", ",BAD-0,", ",BAD-1,", "j,k,l", ""]
    assert [bad.detail for bad in copy.bad_records] == [
        "4 columns instead of 3",
        "5 columns instead of 3",
    ]


@pytest.mark.parametrize(
    "row", [b"  \n", b",\n", b" , \t\n", b",,,,,,\n", b'"",""\n', "\u00a0,\ufeff\n".encode()]
)
def test_a_row_of_white_space_has_a_blank_placeholder(tmp_path: Path, row: bytes):
    copy = repaired(tmp_path, HEAD + b"a,b,c\n" + row + b"d,e,f\n")
    assert lines(copy) == ["c0,c1,c2", "a,b,c", ",BAD-blank,", "d,e,f", ""]
    assert (copy.blank_rows, copy.repeated_headers, copy.bad_records) == (1, 0, [])


@pytest.mark.parametrize(
    "row",
    [
        b"name,sku,description,\n",
        b"NAME, Article ,Description,more,more\n",
        b'"name","sku","description",""\n',
        "\ufeffname,sku,description,x\n".encode(),
    ],
)
def test_a_repeated_header_of_another_width_has_a_header_placeholder(tmp_path: Path, row: bytes):
    copy = repaired(tmp_path, HEAD + b"a,b,c\n" + row + b"d,e,f\n")
    assert lines(copy) == ["c0,c1,c2", "a,b,c", ",BAD-header,", "d,e,f", ""]
    assert (copy.blank_rows, copy.repeated_headers, copy.bad_records) == (0, 1, [])


@pytest.mark.parametrize("row", [b"name,sku\n", b"name,sku,descriptions,\n", b"sku,name,x,\n"])
def test_a_header_of_another_width_that_names_other_columns_refuses_the_file(
    tmp_path: Path, row: bytes
):
    with pytest.raises(AnotherHeaderError, match="The record at byte 27 is a header"):
        repaired(tmp_path, HEAD + b"a,b,c\n" + row)


@pytest.mark.parametrize("row", [b"name,x\n", b"lamp,sku,description,\n", b"sku,sku,x,\n"])
def test_a_row_of_another_width_that_does_not_name_all_columns_is_bad(tmp_path: Path, row: bytes):
    copy = repaired(tmp_path, HEAD + b"a,b,c\n" + row)
    assert lines(copy) == ["c0,c1,c2", "a,b,c", ",BAD-0,", ""]


def test_backslashed_quotes_become_doubled_quotes(tmp_path: Path):
    data = HEAD + rb'"a\"b",c,"d\\"' + b"\n" + rb'"\\\"",e,\"' + b"\n"
    copy = repaired(tmp_path, data, backslash=True, bare_quotes=False)
    assert lines(copy)[1] == '"a""b",c,"d' + r'\\"'
    assert not copy.form.backslash


def test_several_suspects_in_one_record_are_one_bad_record(tmp_path: Path):
    copy = repaired(tmp_path, HEAD + b"\xffLa\xffmp\xff,A-1,\xff\nChair,B-2,x\n")
    assert lines(copy) == ["c0,c1,c2", ",BAD-0,", "Chair,B-2,x", ""]


def test_an_objection_of_duckdb_makes_a_bad_record_with_its_reason(tmp_path: Path):
    copy = repaired(tmp_path, HEAD + b"a,b,c\nd,e,f\n", {27: "some reason"})
    assert lines(copy) == ["c0,c1,c2", "a,b,c", ",BAD-0,", ""]
    assert copy.bad_records[0].reason == "some reason"


def test_offsets_in_the_copy_lead_back_to_the_file(tmp_path: Path):
    data = HEAD + b'a,b,c\n\r\n\rd, "e",f\r\nbad\n\ng,h,i\nj,k,l'
    copy = repaired(tmp_path, data)
    text = copy.path.read_bytes()
    for record, written in [
        (b"a,b,c\n", b"a,b,c\n"),
        (b'd,"e",f\n', b'd, "e",f\r\n'),
        (b"g,h,i\n", b"g,h,i\n"),
        (b"j,k,l\n", b"j,k,l"),
    ]:
        start = text.index(record)
        first, end = copy.file_range(start, start + len(record))
        assert data[first:end] == written
        assert copy.file_offset(start) == first


def test_too_many_bad_records_refuse_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reject_limit, "MAX_REJECTS", 2)
    message = (
        r"More than 2 records are rejected.* 'missing columns' \(2 of 2 rejects\)\. "
        r"The first is the record at byte 21, 1 columns instead of 3\. If all rows (.|\n)*"
        r"\n    bad$"
    )
    with pytest.raises(DeliveryRefusedError, match=message):
        repaired(tmp_path, HEAD + b"bad\n" * 3)


def test_skipped_rows_do_not_count_towards_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reject_limit, "MAX_REJECTS", 2)
    copy = repaired(tmp_path, HEAD + b",\nname,sku,description,\n" * 9 + b"bad\n" * 2)
    assert (copy.blank_rows, copy.repeated_headers, len(copy.bad_records)) == (9, 9, 2)


def test_marks_are_unpredictable(tmp_path: Path):
    form = detect_dialect(HEAD, 0, None, options()).form
    assert RepairedCopy(tmp_path, form).mark != RepairedCopy(tmp_path, form).mark
