"""Backoff: each failure doubles the pause, up to a limit."""

import time

import pytest

from lfp_pipeline.common.backoff import Backoff, is_backing_off


def test_each_failure_doubles_the_pause_up_to_the_limit():
    backoff = Backoff(base=30, limit=600)
    delays = [backoff.delay(failures) for failures in (0, 1, 2, 3, 6, 100_000)]
    assert delays == [0, 30, 60, 120, 600, 600]


def test_jitter_lengthens_a_pause_within_the_limit():
    delays = {Backoff(base=1, limit=2.5, jitter=1).delay(2) for _ in range(100)}
    assert len(delays) > 1
    assert 2 <= min(delays) <= max(delays) <= 2.5


@pytest.mark.parametrize(
    ("begun_ago", "lasts"), [(0, True), (50, True), (60, False), (-3600, False)]
)
def test_a_pause_is_over_after_its_delay_and_where_the_clock_stepped_back(
    monkeypatch: pytest.MonkeyPatch, begun_ago: float, lasts: bool
):
    monkeypatch.setattr(time, "time", lambda: 1e9)
    assert is_backing_off(1e9 - begun_ago, delay=60) is lasts
