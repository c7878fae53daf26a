"""Short names of deliveries for people."""

from lfp_pipeline.model.delivery import labels

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
