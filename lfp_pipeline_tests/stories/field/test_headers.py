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


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_title_lines_may_have_any_line_end(tmp_path: Path, newline: str):
    data = newline.join(["Sofas Ltd.", "", "name,sku,description", rows(5, newline=newline)])
    found = take(tmp_path, data)
    assert (len(found.products), found.above) == (5, 2)


def test_a_setting_limits_the_lines_above_the_header(tmp_path: Path):
    data = "# note\n" * 25 + "name,sku,description\n" + rows(5)
    found = take(tmp_path / "a", data)
    assert found.status == "refused"
    assert "LFP_HEADER_SEARCH_LINES" in found.error
    assert len(take(tmp_path / "b", data, header_search_lines=30).products) == 5


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


def test_many_repeated_headers_refuse_no_file(tmp_path: Path):
    data = "".join("name,sku,description\n" + rows(3, start=3 * number) for number in range(40))
    found = take(tmp_path, data)
    assert (found.status, len(found.products), found.headers) == ("merged", 120, 39)


def test_a_header_is_repeated_by_its_aliases_too(tmp_path: Path):
    aliases = {"sku": ["Article no"], "name": ["Title"]}
    data = "Title,Article no,description\n" + rows(3) + "TITLE,ARTICLE NO,DESCRIPTION\n"
    found = take(tmp_path, data + rows(3, start=3), column_aliases=aliases)
    assert (len(found.products), found.headers, found.rejects) == (6, 1, [])


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


@pytest.mark.parametrize("first", ['"\ufeffname"', '\ufeff"\ufeffname"', '\ufeff"name"'])
def test_a_mark_within_the_first_quotes_is_no_part_of_the_name(tmp_path: Path, first: str):
    found = take(tmp_path, f"{first},sku,description\n" + rows(6))
    assert (len(found.products), found.rejects) == (6, [])


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


def test_a_header_with_a_delimiter_too_many_shifts_no_value(tmp_path: Path):
    found = take(tmp_path, "name,,sku,description\n" + rows(20))
    assert found.status == "refused" or "Linen 3" in found.products.get("h-3", ())
