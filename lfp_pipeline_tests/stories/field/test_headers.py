"""Headers below titles, repeated headers, and headers that do not fit their rows."""

from pathlib import Path

import pytest

from lfp_pipeline_tests.stories.field.support import SOME_WAYS, WAYS, take


def rows(number: int, start: int = 0, newline: str = "\n") -> str:
    return "".join(f"Sofa {n},h-{n},Linen {n}{newline}" for n in range(start, start + number))


@pytest.mark.parametrize("way", WAYS)
def test_lines_above_the_header_are_skipped_and_reported(tmp_path: Path, way: str):
    above = '"Stock list, week 40",,\n# do not edit\n,,\n\n'
    found = take(tmp_path, above + "name,sku,description\n" + rows(12), way)
    assert (len(found.products), found.rejects) == (12, [])
    assert found.above == 4
    assert "4 lines above the header" in found.notes


@pytest.mark.parametrize("way", SOME_WAYS)
def test_repeated_headers_are_neither_rows_nor_rejects(tmp_path: Path, way: str):
    again = ["name,sku,description\n", "NAME,SKU,DESCRIPTION\n", " Name , Sku, Description \n"]
    again += ['"Name","SKU","Description"\n', "Na me,\ufeffsku,description\n"]
    data = "name,sku,description\n"
    data += "".join(rows(4, start=4 * number) + line for number, line in enumerate(again))
    found = take(tmp_path, data, way)
    assert (found.status, len(found.products), found.rejects) == ("merged", 20, [])
    assert found.headers == len(again)
    assert "Name" not in {name for name, _ in found.products.values()}


@pytest.mark.parametrize("more", ["", ",extra"])
def test_a_repeated_header_may_be_spaced_widely(tmp_path: Path, more: str):
    again = f"na{' ' * 60}me,s{' ' * 300}ku,description{more}\n"
    found = take(tmp_path, "name,sku,description\n" + rows(6) + again + rows(6, start=6))
    assert (len(found.products), found.headers, found.rejects) == (12, 1, [])


def test_a_header_in_another_order_refuses_the_file_but_not_its_parts(tmp_path: Path):
    first = "name,sku,description\n" + rows(3)
    second = "sku,name,description\nh-9,Sofa 9,Linen\n"
    found = take(tmp_path / "a", first + second)
    assert found.status == "refused"
    assert "another order" in found.error
    assert "deliver both parts" in found.error
    assert len(take(tmp_path / "b", first).products) == 3
    assert len(take(tmp_path / "c", second).products) == 1


@pytest.mark.parametrize(
    ("marks", "way"), [(1, "gz"), (2, "plain"), (2, "zip of two"), (2, "direct"), (3, "url")]
)
def test_byte_order_marks_are_no_part_of_the_first_name(tmp_path: Path, marks: int, way: str):
    found = take(tmp_path, "\ufeff" * marks + "name,sku,description\n" + rows(6), way)
    assert (len(found.products), found.rejects, found.notes) == (6, [], "")


@pytest.mark.parametrize(("ends", "way"), [(",,,", "plain"), *((",", way) for way in SOME_WAYS)])
def test_a_header_may_end_in_delimiters_where_rows_do_not(tmp_path: Path, ends: str, way: str):
    found = take(tmp_path, f"name,sku,description{ends}\n" + rows(15), way)
    assert (len(found.products), found.rejects) == (15, [])
    assert found.products["h-3"] == ("Sofa 3", "Linen 3")


def test_a_header_that_lost_a_delimiter_is_noted(tmp_path: Path):
    lines = ["id brand,sku,name,description,remark"]
    lines += [f"{number},Lux,h-{number},Sofa,Linen," for number in range(20)]
    found = take(tmp_path, "\n".join(lines) + "\n")
    assert "one cell more than the header" in found.notes
    assert "wrong columns" in found.notes
