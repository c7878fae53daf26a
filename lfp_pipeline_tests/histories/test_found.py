"""What histories have found."""

import pytest

from lfp_pipeline.errors import OperationRefusedError
from lfp_pipeline.operations.purge import Selection


def test_no_purge_names_a_sku_that_no_product_can_have():
    with pytest.raises(OperationRefusedError, match="is empty"):
        Selection(skus=["s1", " "])
