"""What is remembered of a feed: no news is lost, whoever dies and whenever."""

from pathlib import Path

import pytest

from lfp_pipeline.landing.feed_memory import FeedMemory, Polls


@pytest.fixture
def memory(tmp_path: Path) -> FeedMemory:
    return FeedMemory(tmp_path / "feeds", "shop")


def test_a_feed_that_was_never_polled_has_no_news(memory: FeedMemory):
    assert memory.polls == Polls()
    assert not memory.has_news


def test_news_lasts_until_it_was_read(memory: FeedMemory):
    memory.note_polls(memory.polls.asked(1.0).answered(news=True, version={"ETag": '"1"'}))
    assert memory.has_news
    memory.note_polls(memory.polls.asked(2.0).answered(news=False))
    assert memory.has_news
    assert memory.polls.version == {"ETag": '"1"'}
    memory.note_read(memory.polls.news)
    assert not memory.has_news


def test_news_that_comes_while_a_read_is_under_way_is_not_taken_for_read(memory: FeedMemory):
    memory.note_polls(memory.polls.asked(1.0).answered(news=True))
    begun = memory.polls.news
    memory.note_polls(memory.polls.asked(2.0).answered(news=True))
    memory.note_read(begun)
    assert memory.has_news


def test_who_dies_before_the_answer_is_noted_may_have_had_news(memory: FeedMemory):
    memory.note_polls(memory.polls.asked(1.0))
    assert not memory.has_news
    memory.note_polls(memory.polls.asked(2.0).answered(news=False))
    assert memory.has_news


def test_a_damaged_note_is_no_news_lost(memory: FeedMemory):
    memory.note_polls(memory.polls.asked(1.0).answered(news=True))
    memory.note_read(memory.polls.news)
    for damage in ("", "{", "[]", '{"other": 1}'):
        (memory.folder / "shop.json").write_text(damage)
        assert memory.has_news
    memory.note_read(memory.polls.news)
    assert not memory.has_news


def test_feeds_do_not_share_a_memory(memory: FeedMemory):
    FeedMemory(memory.folder, "other").note_read(3)
    assert memory.read == 0
