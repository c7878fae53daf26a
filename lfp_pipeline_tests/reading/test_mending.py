"""The mended copy: plain CSV with a placeholder for each bad record."""

from pathlib import Path

import pytest

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading import reject_limit
from lfp_pipeline.reading.dialect import detect_dialect
from lfp_pipeline.reading.mending import MendedCopy, mend
from lfp_pipeline.reading.reject_limit import RejectLimit

HEAD = b"name,sku,description\n"


def mended(folder: Path, data: bytes, objections: dict[int, str] | None = None) -> MendedCopy:
    path = folder / "file.csv"
    path.write_bytes(data)
    limit = RejectLimit(1, len(data), columns=3)
    return mend(path, detect_dialect(data, 0, {}), folder / "copy.csv", limit, objections)


def lines(copy: MendedCopy) -> list[str]:
    return copy.path.read_bytes().decode().replace(copy.mark, "BAD-").split("\n")


def test_good_records_are_copied_as_they_are(tmp_path: Path):
    copy = mended(tmp_path, HEAD + b'Lamp,A-1,"x\ny"\n\nChair,B-2, z \n')
    assert lines(copy) == ["c0,c1,c2", 'Lamp,A-1,"x', 'y"', "", "Chair,B-2, z ", ""]
    assert copy.bad_records == []


def test_odd_line_ends_spaces_around_quotes_and_surplus_values_are_made_plain(tmp_path: Path):
    copy = mended(tmp_path, HEAD + b'a,b,c\r\nd, "e" ,f\rg,h,i,,\n\r\nj,k,l')
    assert lines(copy) == ["c0,c1,c2", "a,b,c", 'd,"e",f', "g,h,i", "j,k,l", ""]


def test_a_placeholder_stands_for_each_bad_record(tmp_path: Path):
    copy = mended(tmp_path, HEAD + b'bad\nLamp,A-1,x\nLamp,"A-2\nCh\xffair,B-2,x\n')
    assert lines(copy) == ["c0,c1,c2", ",BAD-0,", "Lamp,A-1,x", ",BAD-1,", ",BAD-2,", ""]
    assert [(bad.start, bad.end, bad.reason, bad.detail) for bad in copy.bad_records] == [
        (21, 25, "missing columns", "1 columns instead of 3"),
        (36, 46, "unclosed quote", "the quote at byte 41 is never closed"),
        (46, 59, "invalid encoding", "at byte 48"),
    ]


def test_several_suspects_in_one_record_are_one_bad_record(tmp_path: Path):
    copy = mended(tmp_path, HEAD + b"\xffLa\xffmp\xff,A-1,\xff\nChair,B-2,x\n")
    assert lines(copy) == ["c0,c1,c2", ",BAD-0,", "Chair,B-2,x", ""]


def test_what_duckdb_objects_to_is_a_bad_record_with_its_reason(tmp_path: Path):
    copy = mended(tmp_path, HEAD + b"a,b,c\nd,e,f\n", {27: "some reason"})
    assert lines(copy) == ["c0,c1,c2", "a,b,c", ",BAD-0,", ""]
    assert copy.bad_records[0].reason == "some reason"


def test_places_in_the_copy_lead_back_to_the_file(tmp_path: Path):
    data = HEAD + b'a,b,c\n\r\n\rd, "e",f\r\nbad\n\ng,h,i\nj,k,l'
    copy = mended(tmp_path, data)
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
    told = "More than 2 records are rejected.* One of them is at byte 29: missing columns"
    with pytest.raises(DeliveryRefusedError, match=told):
        mended(tmp_path, HEAD + b"bad\n" * 3)


def test_marks_differ_so_that_no_file_can_hold_one(tmp_path: Path):
    assert MendedCopy(tmp_path).mark != MendedCopy(tmp_path).mark
