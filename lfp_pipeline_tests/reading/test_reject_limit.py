"""A file is refused as soon as its rejects exceed the limit, and no sooner."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfp_pipeline.reading import reject_limit
from lfp_pipeline.reading.reject_limit import RejectLimit


@pytest.fixture(autouse=True)
def no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reject_limit, "KEPT_AS_EVIDENCE", 0)


@given(st.integers(1, 3_000), st.integers(0, 3_000), st.integers(3, 30))
def test_no_acceptable_file_exceeds_the_limit(bad: int, good: int, columns: int):
    shortest = bad * 2 + good * (columns + 2) - 1
    for share in (bad / (bad + good), 1):
        assert RejectLimit(share, shortest, columns).max_rejects >= bad


@pytest.mark.parametrize(
    ("share", "size", "limit"),
    [
        (0, 10**9, 0),
        (0.1, 46_999, 1_000),
        (0.1, 10**12, 100_000),
        (1, 1_999, 1_000),
        (1, 10**12, 100_000),
    ],
)
def test_the_limit_assumes_the_shortest_records(share: float, size: int, limit: int):
    assert RejectLimit(share, size, columns=3).max_rejects == pytest.approx(limit, abs=1)


def test_some_rejects_are_always_kept_as_evidence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reject_limit, "KEPT_AS_EVIDENCE", 5)
    assert RejectLimit(0, 100, columns=3).max_rejects == 5
