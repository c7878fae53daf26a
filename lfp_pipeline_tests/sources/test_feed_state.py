"""State of a feed: no update is lost, whenever a process dies."""

from pathlib import Path

import pytest

from lfp_pipeline.sources.base import DownloadLimits
from lfp_pipeline.sources.feed_state import FeedStateStore, PollState
from lfp_pipeline.sources.feeds import Feed
from lfp_pipeline.sources.locations import source_at
from lfp_pipeline.sources.sources_file import NamedSource


@pytest.fixture
def memory(tmp_path: Path) -> FeedStateStore:
    return FeedStateStore(tmp_path / "feeds", "shop")


def test_a_feed_that_was_never_polled_has_no_update(memory: FeedStateStore):
    assert memory.polls == PollState()
    assert not memory.has_update


def test_the_first_poll_counts_as_an_update(memory: FeedStateStore):
    memory.save_poll(memory.polls.started(1.0, "here").finished(updated=False))
    assert memory.has_update


def test_another_location_counts_as_an_update_and_forgets_the_version(memory: FeedStateStore):
    polls = memory.polls.started(1.0, "here").finished(updated=True, version={"ETag": "1"})
    memory.save_poll(polls)
    memory.save_read(polls.updates)
    moved = polls.started(2.0, "there")
    assert moved.version is None
    memory.save_poll(moved.finished(updated=False))
    assert memory.has_update


def test_an_answer_resets_the_number_of_failures(memory: FeedStateStore):
    polls = memory.polls.started(1.0, "here").finished(updated=False, error="no")
    polls = polls.started(2.0, "here").finished(updated=False, error="no")
    assert (polls.failures, polls.error) == (2, "no")
    polls = polls.started(3.0, "here").finished(updated=False)
    assert (polls.failures, polls.error) == (0, None)


def test_an_update_lasts_until_it_is_read(memory: FeedStateStore):
    memory.save_poll(
        memory.polls.started(1.0, "here").finished(updated=True, version={"ETag": '"1"'})
    )
    assert memory.has_update
    memory.save_poll(memory.polls.started(2.0, "here").finished(updated=False))
    assert memory.has_update
    assert memory.polls.version == {"ETag": '"1"'}
    memory.save_read(memory.polls.updates)
    assert not memory.has_update


def test_an_update_during_a_read_still_counts(memory: FeedStateStore):
    memory.save_poll(memory.polls.started(1.0, "here").finished(updated=True))
    begun = memory.polls.updates
    memory.save_poll(memory.polls.started(2.0, "here").finished(updated=True))
    memory.save_read(begun)
    assert memory.has_update


def test_a_poll_without_a_recorded_answer_counts_as_an_update(memory: FeedStateStore):
    first = memory.polls.started(1.0, "here").finished(updated=False)
    memory.save_read(first.updates)
    memory.save_poll(first.started(2.0, "here"))
    assert not memory.has_update
    memory.save_poll(memory.polls.started(3.0, "here").finished(updated=False))
    assert memory.has_update


@pytest.mark.parametrize("damage", [None, "", "{", "[]", '{"other": 1}'])
def test_a_lost_or_damaged_state_file_loses_no_update(memory: FeedStateStore, damage: str | None):
    polls = memory.polls.started(1.0, "here").finished(updated=True, version={"ETag": "1"})
    memory.save_poll(polls)
    memory.save_read(polls.updates)
    note = memory.folder / "shop.json"
    if damage is None:
        note.unlink()
    else:
        note.write_text(damage)
    memory.save_poll(memory.polls.started(2.0, "here").finished(updated=False))
    assert memory.has_update
    memory.save_read(memory.polls.updates)
    assert not memory.has_update


def test_feeds_do_not_share_their_state(memory: FeedStateStore):
    FeedStateStore(memory.folder, "other").save_read(3)
    assert memory.read == 0


def test_a_server_that_is_down_for_weeks_is_polled_every_ten_minutes(memory: FeedStateStore):
    entry = NamedSource(name="shop", location="https://example.com/a.csv", interval=5)
    limits = DownloadLimits(1, 1.0, 1)
    feed = Feed(source_at(entry.location, limits), entry, memory, limits)
    assert [feed.pause_after(failures) for failures in (0, 1, 2, 7, 100_000)] == [
        *(5, 10, 20),
        *(600, 600),
    ]
