"""Columns are known by their names."""

import pytest

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading.columns import bare_name, map_columns, matches


def test_columns_are_found_by_name_whatever_their_case_and_spaces():
    columns = map_columns(["id", " S K U", "Description\u00a0", "NAME"], {})
    assert columns.positions == {"sku": 1, "description": 2, "name": 3}
    assert columns.named("sku") == " S K U"
    assert columns.ignored == ["id"]


@pytest.mark.parametrize(
    "cell",
    ["\ufeffsku", "s\ufeffk\u200bu", "\u00a0SKU\u2060", "s\u00adku", "\r\nS\nku", "\u200esku\t"],
)
def test_byte_order_marks_and_invisible_characters_do_not_count_in_a_name(cell: str):
    assert bare_name(cell) == "sku"
    assert map_columns(["name", cell, "description"], {}).positions["sku"] == 1


@pytest.mark.parametrize("cell", ["s-ku", "sku.", "sku1", "'sku'", "\u0455ku", "sku\ufe0f", ""])
def test_any_visible_character_makes_another_name(cell: str):
    assert bare_name(cell) != "sku"


def test_a_name_is_matched_with_its_aliases_which_are_compared_likewise():
    found = matches(
        ["TITLE\ufeff", "art. no.", "x", "name"], {"name": ["Title"], "sku": ["Art.No."]}
    )
    assert found == {"name": [0, 3], "sku": [1], "description": []}


def test_a_name_and_its_alias_are_twice_the_same_column():
    with pytest.raises(DeliveryRefusedError, match="column sku more than once"):
        map_columns(["name", "sku", "article", "description"], {"sku": ["Article"]})


def test_one_column_is_not_two():
    with pytest.raises(DeliveryRefusedError, match="'Name' would be both name and sku"):
        map_columns(["Name", "description"], {"sku": ["name"]})


@pytest.mark.parametrize(
    ("header", "width"),
    [
        (["name", "sku", "description"], 3),
        (["name", "sku", "description", ""], 3),
        (["name", "sku", "description", " ", "\ufeff", "\u200b"], 3),
        (["name", "", "sku", "description", "", "price", ""], 6),
    ],
)
def test_columns_without_a_name_at_the_end_do_not_count_towards_the_named_width(
    header: list[str], width: int
):
    assert map_columns(header, {}).named_width == width


def test_a_long_header_is_not_shown_whole():
    header = ["name", "sku", "description", "sku", "x" * 10_000]
    with pytest.raises(DeliveryRefusedError) as refused:
        map_columns(header, {})
    assert len(str(refused.value)) < 500
