"""What is remembered of a feed: no news is lost, whoever dies and whenever."""

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


def test_a_feed_that_was_never_polled_has_no_news(memory: FeedStateStore):
    assert memory.polls == PollState()
    assert not memory.has_update


def test_who_was_never_asked_has_news(memory: FeedStateStore):
    memory.save_poll(memory.polls.started(1.0, "here").finished(updated=False))
    assert memory.has_update


def test_another_place_has_news_and_no_known_version(memory: FeedStateStore):
    polls = memory.polls.started(1.0, "here").finished(updated=True, version={"ETag": "1"})
    memory.save_poll(polls)
    memory.save_read(polls.updates)
    moved = polls.started(2.0, "there")
    assert moved.version is None
    memory.save_poll(moved.finished(updated=False))
    assert memory.has_update


def test_failures_are_counted_until_one_answers(memory: FeedStateStore):
    polls = memory.polls.started(1.0, "here").finished(updated=False, error="no")
    polls = polls.started(2.0, "here").finished(updated=False, error="no")
    assert (polls.failures, polls.error) == (2, "no")
    polls = polls.started(3.0, "here").finished(updated=False)
    assert (polls.failures, polls.error) == (0, None)


def test_news_lasts_until_it_was_read(memory: FeedStateStore):
    memory.save_poll(
        memory.polls.started(1.0, "here").finished(updated=True, version={"ETag": '"1"'})
    )
    assert memory.has_update
    memory.save_poll(memory.polls.started(2.0, "here").finished(updated=False))
    assert memory.has_update
    assert memory.polls.version == {"ETag": '"1"'}
    memory.save_read(memory.polls.updates)
    assert not memory.has_update


def test_news_that_comes_while_a_read_is_under_way_is_not_taken_for_read(memory: FeedStateStore):
    memory.save_poll(memory.polls.started(1.0, "here").finished(updated=True))
    begun = memory.polls.updates
    memory.save_poll(memory.polls.started(2.0, "here").finished(updated=True))
    memory.save_read(begun)
    assert memory.has_update


def test_who_dies_before_the_answer_is_noted_may_have_had_news(memory: FeedStateStore):
    first = memory.polls.started(1.0, "here").finished(updated=False)
    memory.save_read(first.updates)
    memory.save_poll(first.started(2.0, "here"))
    assert not memory.has_update
    memory.save_poll(memory.polls.started(3.0, "here").finished(updated=False))
    assert memory.has_update


@pytest.mark.parametrize("damage", [None, "", "{", "[]", '{"other": 1}'])
def test_a_lost_or_damaged_note_is_no_news_lost(memory: FeedStateStore, damage: str | None):
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


def test_feeds_do_not_share_a_memory(memory: FeedStateStore):
    FeedStateStore(memory.folder, "other").save_read(3)
    assert memory.read == 0


def test_a_server_that_is_down_for_weeks_is_still_asked_every_ten_minutes(memory: FeedStateStore):
    entry = NamedSource(name="shop", location="https://example.com/a.csv", interval=5)
    limits = DownloadLimits(1, 1.0, 1)
    feed = Feed(source_at(entry.location, limits), entry, memory, limits)
    assert [feed.pause_after(failures) for failures in (0, 1, 2, 7, 100_000)] == [
        *(5, 10, 20),
        *(600, 600),
    ]
