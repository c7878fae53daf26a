"""Rows with cells too many or too few, blank rows, and quoted texts that look like rows."""

from pathlib import Path

import pytest

from lfp_pipeline_tests.stories.field.support import SOME_WAYS, WAYS, take

HEADER = "sku;name;description\r\n"


def rows(number: int, ends: str = "\r\n", start: int = 0) -> str:
    numbers = range(start, start + number)
    return "".join(f"r-{n:03d};Chair {n};Oak chair no. {n}{ends}" for n in numbers)


@pytest.mark.parametrize(
    ("way", "record"), [*((way, "r-x;{};Lot;9") for way in WAYS), ("plain", "{};Lot")]
)
def test_quoted_text_never_becomes_rows_in_a_record_of_another_width(
    tmp_path: Path, way: str, record: str
):
    text = '"Set of:\r\nr-000;Fake;Fake\r\nr-001;Fake;Fake\r\nr-002;Fake;Fake\r\nall"'
    odd = record.format(text) + "\r\n"
    found = take(tmp_path, HEADER + rows(30) + odd + rows(5, start=30), way)
    assert len(found.products) == 35
    assert all("Fake" not in product for product in found.products.values())
    (raw,) = found.raw
    assert raw.decode() == odd


@pytest.mark.parametrize(("delimiter", "surplus_after"), [(",", 0), (";", 1), ("\t", 2), ("|", 1)])
def test_one_row_with_a_delimiter_too_many_is_a_reject_though_the_last_column_is_empty(
    tmp_path: Path, delimiter: str, surplus_after: int
):
    lines = [["sku", "name", "description", "comments"]]
    lines += [[f"d-{number}", f"Desk {number}", f"Pine {number}", ""] for number in range(40)]
    lines[18].insert(surplus_after + 1, "x")
    found = take(tmp_path, "".join(delimiter.join(line) + "\n" for line in lines))
    assert found.rejects == ["too many columns"]
    assert found.products == {
        f"d-{number}": (f"Desk {number}", f"Pine {number}") for number in range(40) if number != 17
    }


@pytest.mark.parametrize("way", SOME_WAYS)
def test_a_delimiter_at_the_end_of_every_row_is_no_value(tmp_path: Path, way: str):
    found = take(tmp_path, HEADER + rows(25, ";\r\n"), way)
    assert len(found.products) == 25
    assert found.products["r-007"] == ("Chair 7", "Oak chair no. 7")
    assert "one cell more than the header" in found.notes


@pytest.mark.parametrize("way", WAYS)
def test_rows_of_delimiters_only_are_blank_lines(tmp_path: Path, way: str):
    emptied = ";;\r\n" * 60 + '"";"";""\r\n' * 20 + " ; ;\t\r\n" * 10 + ";\r\n" * 5 + "\r\n" * 5
    found = take(tmp_path, HEADER + rows(20) + emptied + rows(5, start=20), way)
    assert (found.status, len(found.products), found.rejects) == ("merged", 25, [])
    assert (found.rows_read - (way == "zip of two"), found.blank) == (25, 100)


def with_cells_left_out(full: list[int], number: int, columns: int = 5) -> str:
    lines = ["sku,name,description,weight,colour"]
    for row in range(number):
        cells = [f"e-{row}", f"Table {row}", f"Ash {row}", f"{row}", "grey"]
        lines.append(",".join(cells if row in full else cells[:columns]))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(("way", "block"), [("plain", 32), *((way, 16) for way in SOME_WAYS)])
def test_cells_left_out_in_blocks_are_empty(tmp_path: Path, way: str, block: int):
    full = [number for number in range(160) if number // block % 2]
    found = take(tmp_path, with_cells_left_out(full, 160, columns=3), way)
    assert (found.status, len(found.products), found.rejects) == ("merged", 160, [])
    assert found.products["e-3"] == ("Table 3", "Ash 3")
    assert "fewer cells than the header" in found.notes


@pytest.mark.parametrize("full", [[], [0]])
def test_a_description_that_is_left_out_is_empty(tmp_path: Path, full: list[int]):
    found = take(tmp_path, with_cells_left_out(full, 30, columns=2))
    assert found.products["e-29"] == ("Table 29", "")
