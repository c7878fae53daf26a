"""Columns are mapped by their names."""

import pytest

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading.columns import bare_name, map_columns, matches


def test_column_names_match_regardless_of_case_and_spaces():
    columns = map_columns(["id", " S K U", "Description\u00a0", "NAME"], {})
    assert columns.positions == {"sku": 1, "description": 2, "name": 3}
    assert columns.ignored == ["id"]


@pytest.mark.parametrize(
    "cell",
    ["\ufeffsku", "s\ufeffk\u200bu", "\u00a0SKU\u2060", "s\u00adku", "\r\nS\nku", "\u200esku\t"],
)
def test_byte_order_marks_and_invisible_characters_in_names_are_ignored(cell: str):
    assert bare_name(cell) == "sku"
    assert map_columns(["name", cell, "description"], {}).positions["sku"] == 1


@pytest.mark.parametrize("cell", ["s-ku", "sku.", "sku1", "'sku'", "\u0455ku", "sku\ufe0f", ""])
def test_names_with_other_visible_characters_do_not_match(cell: str):
    assert bare_name(cell) != "sku"


def test_aliases_match_like_names():
    found = matches(
        ["TITLE\ufeff", "art. no.", "x", "name"], {"name": ["Title"], "sku": ["Art.No."]}
    )
    assert found == {"name": [0, 3], "sku": [1], "description": []}


def test_a_name_beside_its_alias_is_a_duplicate_column():
    with pytest.raises(DeliveryRefusedError, match="column sku more than once"):
        map_columns(["name", "sku", "article", "description"], {"sku": ["Article"]})


def test_a_column_cannot_have_two_meanings():
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
def test_nameless_columns_at_the_end_do_not_count_towards_the_named_width(
    header: list[str], width: int
):
    assert map_columns(header, {}).named_width == width


def test_a_refusal_shortens_a_long_header():
    header = ["name", "sku", "description", "sku", "x" * 10_000]
    with pytest.raises(DeliveryRefusedError) as refused:
        map_columns(header, {})
    assert len(str(refused.value)) < 500
