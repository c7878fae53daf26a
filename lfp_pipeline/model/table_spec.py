"""The columns that a file of products has, and what holds for each: defined once.

Reading, the row rules, the table `products`, the merge, the schema in the UI and the exports use
this definition. Each column has a setting for its greatest length, and further names in the setting
`LFP_COLUMN_ALIASES`; a test compares these settings with the columns.
"""

from dataclasses import dataclass
from typing import Literal

Column = Literal["name", "sku", "description"]
"""The names of the columns, in the order in which messages name them."""


@dataclass(frozen=True)
class ColumnSpec:
    """A column that a file has to have.

    Attributes:
        name: in the header of files and in the table `products`.
        meaning: what the values are, for people.
        is_key: whether a value identifies a product.
        is_required: whether a row without a value is rejected.
        is_long: whether the values are texts that are worth compressing.
    """

    name: Column
    meaning: str
    is_key: bool = False
    is_required: bool = False
    is_long: bool = False

    @property
    def length_setting(self) -> str:
        """The name of the setting for the longest value that is accepted, in characters."""
        return f"max_{self.name}_length"


PRODUCT_SPEC = (
    ColumnSpec("sku", "Identifies the product.", is_key=True, is_required=True),
    ColumnSpec("name", "Counted in name_counts.", is_required=True),
    ColumnSpec("description", "May be empty.", is_long=True),
)
"""The columns in the order of the table `products`."""

PRODUCT_COLUMNS = tuple(column.name for column in PRODUCT_SPEC)
"""The names of all columns."""

REQUIRED_COLUMNS = tuple(column.name for column in PRODUCT_SPEC if column.is_required)
"""The names of the columns in which each row has to have a value."""

COLUMN_LIST = ", ".join(PRODUCT_COLUMNS)
"""The names of all columns as a list in SQL."""
