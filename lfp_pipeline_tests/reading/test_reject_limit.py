"""A file is given up as soon as its rejects refuse it, and no sooner."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfp_pipeline.reading import reject_limit
from lfp_pipeline.reading.reject_limit import RejectLimit


@pytest.fixture(autouse=True)
def no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reject_limit, "KEPT_AS_EVIDENCE", 0)


@given(st.integers(1, 3_000), st.integers(0, 3_000), st.integers(3, 30))
def test_no_file_that_would_be_taken_is_given_up(bad: int, good: int, columns: int):
    shortest = bad * 2 + good * (columns + 2) - 1
    for share in (bad / (bad + good), 1):
        assert RejectLimit(share, shortest, columns).most >= bad


@pytest.mark.parametrize(
    ("share", "size", "most"),
    [
        (0, 10**9, 0),
        (0.1, 46_999, 1_000),
        (0.1, 10**12, 100_000),
        (1, 1_999, 1_000),
        (1, 10**12, 100_000),
    ],
)
def test_the_most_rejects_are_those_of_the_shortest_records(share: float, size: int, most: int):
    assert RejectLimit(share, size, columns=3).most == pytest.approx(most, abs=1)


def test_some_are_always_kept_as_evidence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reject_limit, "KEPT_AS_EVIDENCE", 5)
    assert RejectLimit(0, 100, columns=3).most == 5
