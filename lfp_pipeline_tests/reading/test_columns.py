"""Columns are known by their names."""

import pytest

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading.columns import map_columns


def test_columns_are_found_by_name_whatever_their_case_and_spaces():
    columns = map_columns(["id", " S K U", "Description\u00a0", "NAME"], {})
    assert columns.positions == {"sku": 1, "description": 2, "name": 3}
    assert columns.named("sku") == " S K U"
    assert columns.ignored == ["id"]


def test_every_missing_column_is_told_with_the_header():
    with pytest.raises(DeliveryRefusedError, match=r"no column name and no column sku.*'a, desc"):
        map_columns(["a", "description"], {})


def test_a_name_and_its_alias_are_twice_the_same_column():
    with pytest.raises(DeliveryRefusedError, match="column sku more than once"):
        map_columns(["name", "sku", "article", "description"], {"sku": ["Article"]})


def test_one_column_is_not_two():
    with pytest.raises(DeliveryRefusedError, match="'Name' would be both name and sku"):
        map_columns(["Name", "description"], {"sku": ["name"]})


def test_a_long_header_is_not_shown_whole():
    with pytest.raises(DeliveryRefusedError) as refused:
        map_columns(["x" * 10_000], {})
    assert len(str(refused.value)) < 500
