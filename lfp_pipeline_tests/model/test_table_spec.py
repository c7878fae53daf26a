from typing import get_args

import pytest

from lfp_pipeline.model.table_spec import PRODUCT_COLUMNS, PRODUCT_SPEC, Column, ColumnSpec
from lfp_pipeline.settings import Settings


def test_the_spec_has_each_column_once() -> None:
    assert sorted(PRODUCT_COLUMNS) == sorted(get_args(Column))


def test_there_is_one_key_and_it_is_required() -> None:
    assert [column.is_required for column in PRODUCT_SPEC if column.is_key] == [True]


@pytest.mark.parametrize("column", PRODUCT_SPEC, ids=PRODUCT_COLUMNS)
def test_each_column_has_a_setting_for_its_length(column: ColumnSpec) -> None:
    assert column.length_setting in Settings.model_fields


def test_each_column_may_have_aliases() -> None:
    aliases = {name: [f"other {name}"] for name in PRODUCT_COLUMNS}
    assert Settings(column_aliases=aliases).column_aliases == aliases
