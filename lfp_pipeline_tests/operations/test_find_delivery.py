"""A delivery is found by its file name, or by the beginning of its id."""

from pathlib import Path

import pytest

from lfp_pipeline.errors import OperationRefusedError
from lfp_pipeline.operations.find_delivery import find_delivery
from testing.engine import engine_at, land
from testing.expected_tables import File


@pytest.mark.parametrize("latest", [False, True])
def test_an_empty_text_names_no_delivery(tmp_path: Path, *, latest: bool) -> None:
    engine = engine_at(tmp_path)
    landed = land(engine, File("a.csv", 1_000_000, [("s1", "Ann", "x")]))
    assert find_delivery(engine, "a", latest=latest).delivery_id == landed.delivery_id
    with pytest.raises(OperationRefusedError, match="name of the delivery is empty"):
        find_delivery(engine, "", latest=latest)
