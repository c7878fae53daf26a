"""Short names of deliveries for people."""

from lfp_pipeline.model.delivery import is_delivery_id, label_of, labels
from lfp_pipeline.model.partition_key import partition_key

A, B = "0" * 16, "1" * 16


def test_a_label_has_as_much_of_the_time_as_is_needed() -> None:
    files = {
        f"a.csv#20260102T030405.000000Z#{A}": "a.csv",
        f"a.csv#20260102T030406.000001Z#{A}": "a.csv",
        f"a.csv#20260102T030406.000002Z#{A}": "a.csv",
        f"a.csv#20260102T030407.000000Z#{A}": "a.csv",
        f"a.csv#20260102T030407.000000Z#{B}": "a.csv",
        f"b_c-{A}#20260102T030405.000000Z#{A}": "b c",
    }
    assert list(labels(files).values()) == [
        "a.csv#20260102T030405",
        "a.csv#20260102T030406.000001Z",
        "a.csv#20260102T030406.000002Z",
        f"a.csv#20260102T030407.000000Z#{A}",
        f"a.csv#20260102T030407.000000Z#{B}",
        "b c#20260102T030405",
    ]


def test_one_delivery_has_the_name_of_its_file_and_the_second_of_its_time() -> None:
    key = partition_key("b c")
    id_ = f"{key}#20260102T030405.000000Z#{A}"
    assert label_of(id_, "/inbox/b c") == "b c#20260102T030405"
    assert label_of(id_) == f"{key}#20260102T030405"
    assert is_delivery_id(id_)
    assert not is_delivery_id(label_of(id_))
