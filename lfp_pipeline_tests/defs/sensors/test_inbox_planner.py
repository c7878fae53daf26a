"""The plan of the inbox sensor, from a listing and a history alone."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lfp_pipeline.common.project_folder import TEMPLATES
from lfp_pipeline.defs.sensors.inbox_planner import (
    MAX_OPEN_RUNS,
    FileVersion,
    InboxPlan,
    RunBatch,
    RunHistory,
    RunLimits,
    decide,
)
from lfp_pipeline.sources.inbox import InboxFile, Listing, Skipped

LIMITS = RunLimits(max_attempts=3, large_bytes=100, batch_files=3)


def file(name: str, size: int = 10, mtime_ns: int = 5_000, ctime_ns: int = 6_000) -> InboxFile:
    return InboxFile(name, Path("/inbox") / name, size, mtime_ns, ctime_ns)


def all_ready(listing: Listing, due: Sequence[InboxFile], limit: int) -> Listing:
    return replace(listing, ready=tuple(due[:limit]))


def version(file: InboxFile) -> FileVersion:
    return file.partition_key, file.version


def decision(
    *files: InboxFile, still_writing: tuple[str, ...] = (), **history: object
) -> InboxPlan:
    return decide(Listing(files, still_writing), RunHistory(**history), LIMITS, all_ready)  # type: ignore[arg-type]


def asked_for(decision: InboxPlan) -> list[str]:
    return [file.name for batch in decision.batches for file in batch.files]


def test_a_new_file_is_due_for_its_first_attempt() -> None:
    (batch,) = decision(file("a.csv")).batches
    assert (batch.files, batch.attempts) == ((file("a.csv"),), (1,))


@pytest.mark.parametrize("changed", [file("a.csv", size=11), file("a.csv", mtime_ns=5_001)])
@pytest.mark.parametrize("outcome", ["merged", "refused", "running"])
def test_a_changed_file_is_due_whatever_its_earlier_result(
    changed: InboxFile, outcome: str
) -> None:
    found = decision(changed, **{outcome: {version(file("a.csv"))}})
    assert [batch.attempts for batch in found.batches] == [(1,)]


def test_a_file_that_is_being_written_is_counted_and_not_due() -> None:
    found = decision(still_writing=("a.csv", "b.csv"))
    assert (found.batches, found.still_writing) == ((), 2)


def test_a_file_of_a_running_run_is_not_due() -> None:
    found = decision(file("a.csv"), running={version(file("a.csv"))})
    assert (found.batches, found.running) == ((), 1)


def test_a_merged_file_is_not_due() -> None:
    found = decision(file("a.csv"), merged={version(file("a.csv"))})
    assert (found.batches, found.merged) == ((), 1)


def test_a_merged_file_counts_as_merged_before_its_run_ends() -> None:
    this = {version(file("a.csv"))}
    assert decision(file("a.csv"), merged=this, running=this).summary == "1 merged."


def test_a_refused_file_is_named_and_not_due() -> None:
    found = decision(file("a.csv"), refused={version(file("a.csv"))})
    assert (found.batches, found.refused) == ((), ("a.csv",))
    assert "1 refused: a.csv; fix and drop again" in found.summary


@pytest.mark.parametrize("failed", [1, 2])
def test_a_failed_file_is_due_again_for_the_next_attempt(failed: int) -> None:
    (batch,) = decision(file("a.csv"), attempts={version(file("a.csv")): failed}).batches
    assert batch.attempts == (failed + 1,)


@pytest.mark.parametrize("failed", [3, 4])
def test_a_file_that_failed_too_often_is_named_as_needing_attention(failed: int) -> None:
    found = decision(file("a.csv"), attempts={version(file("a.csv")): failed})
    assert (found.batches, found.needing_attention) == ((), ("a.csv",))
    assert "1 needing attention: a.csv; they failed repeatedly, run `lfp ingest`" in found.summary


def test_a_file_that_needs_attention_is_due_again_after_another_drop() -> None:
    failed = {version(file("a.csv")): 3}
    (batch,) = decision(file("a.csv", mtime_ns=6_000), attempts=failed).batches
    assert batch.attempts == (1,)


def names(found: InboxPlan) -> list[list[str]]:
    return [[one.name for one in batch.files] for batch in found.batches]


def test_files_share_a_run_up_to_a_number_and_the_others_are_collected() -> None:
    found = decision(*map(file, "abcde"))
    assert names(found) == [["a", "b", "c"]]
    assert found.waiting == 2
    assert "5 new" in found.summary
    assert "2 collected for the next run" in found.summary


def test_large_files_share_a_run_of_their_own() -> None:
    found = decision(file("a", 60), file("b", 101), file("c", 100), file("d", 500))
    assert names(found) == [["b", "d"], ["a", "c"]]


def test_the_instance_allows_as_many_runs_as_the_sensor_opens() -> None:
    config = yaml.safe_load((TEMPLATES / "dagster.yaml").read_text())
    limits = config["concurrency"]["runs"]["tag_concurrency_limits"]
    (limit,) = [limit["limit"] for limit in limits if limit.get("value") == "file_drop_sensor"]
    assert limit == MAX_OPEN_RUNS


def test_files_are_collected_while_two_runs_are_open() -> None:
    found = decision(*map(file, "ab"), file("c", 500), open_runs=[()] * MAX_OPEN_RUNS)
    assert (found.batches, found.waiting) == ((), 3)


def test_large_files_take_the_run_that_is_free() -> None:
    found = decision(file("a"), file("b", 500), open_runs=[{version(file("x"))}])
    assert (names(found), found.waiting) == ([["b"]], 1)


def test_small_files_do_not_wait_for_a_run_of_large_files() -> None:
    running = {version(file("x", 101)), version(file("y", 5_000))}
    found = decision(file("a"), file("b", 500), open_runs=[running])
    assert (names(found), found.waiting) == ([["a"]], 1)


@given(
    st.lists(st.integers(0, 300), max_size=80),
    st.integers(0, 300),
    st.integers(1, 5),
    st.sets(st.integers(0, 79)),
)
def test_runs_that_end_one_after_the_other_have_every_file_once(
    sizes: list[int], large_bytes: int, batch_files: int, merged: set[int]
) -> None:
    files = [file(f"{number:02}", size) for number, size in enumerate(sizes)]
    due = [one for number, one in enumerate(files) if number not in merged]
    done = {version(one) for one in files} - {version(one) for one in due}
    limits = RunLimits(3, large_bytes, batch_files)
    taken: list[InboxFile] = []
    open_runs: list[RunBatch] = []
    while len(done) < len(files):
        of_runs = [{version(one) for one in batch.files} for batch in open_runs]
        history = RunHistory(merged=done, running=set().union(*of_runs), open_runs=of_runs)
        found = decide(Listing(tuple(files), ()), history, limits, all_ready)
        for batch in found.batches:
            assert 1 <= len(batch.files) <= batch_files
            assert len({one.size_bytes > large_bytes for one in batch.files}) == 1
            taken += batch.files
        assert found.waiting == len(due) - len(taken)
        open_runs += found.batches
        assert 1 <= len(open_runs) <= MAX_OPEN_RUNS
        ended = open_runs.pop()  # The older one goes on, as a run of large files may.
        done |= {version(one) for one in ended.files}
    assert sorted(taken) == sorted(due)


@given(
    st.lists(
        st.tuples(st.text(min_size=1), st.integers(0), st.integers(), st.integers(1, 3)),
        min_size=2,
        max_size=2,
        unique=True,
    )
)
def test_no_two_versions_or_attempts_share_a_run_key(
    batches: list[tuple[str, int, int, int]],
) -> None:
    one, other = (RunBatch((file(name, size, ns),), (tries,)) for name, size, ns, tries in batches)
    assert one.run_key != other.run_key


def test_runs_that_found_the_database_busy_are_no_failed_attempts() -> None:
    one = file("a.csv")
    found = decision(one, attempts={version(one): 7}, busy={version(one): 5})
    assert asked_for(found) == ["a.csv"]
    assert found.batches[0].attempts == (8,)
    last = decision(one, attempts={version(one): 8}, busy={version(one): 5})
    assert last.needing_attention == ("a.csv",)


def test_a_file_backs_off_after_the_database_was_busy() -> None:
    one, two = file("a.csv"), file("b.csv")
    found = decision(one, two, backing_off={version(one)})
    assert asked_for(found) == ["b.csv"]
    assert "1 waiting because another process had the database open" in found.summary


def test_a_run_key_never_changes() -> None:
    batch = RunBatch((file("a.csv"), file("b c.csv", 7)), (1, 2))
    assert batch.run_key == "6a83e73f897b988068e67f70e7e1aaec9203ea5dd9c2427dad3612d613bc025e"


def test_a_name_that_is_not_utf8_has_a_run_key() -> None:
    assert len(RunBatch((file("\udcff.csv"),), (1,)).run_key) == 64


def test_the_summary_begins_with_what_people_have_to_do_and_counts_the_rest() -> None:
    files = {name: file(f"{name}.csv") for name in ("new", "in", "running", "bad", "hopeless")}
    found = decision(
        *files.values(),
        still_writing=("u.csv",),
        merged={version(files["in"])},
        running={version(files["running"])},
        refused={version(files["bad"])},
        attempts={version(files["hopeless"]): 3},
    )
    assert found.summary == (
        "1 needing attention: hopeless.csv; they failed repeatedly, run `lfp ingest`. "
        "1 refused: bad.csv; fix and drop again. 1 new. 1 running. 1 still being written. 1 merged."
    )


def test_the_summary_names_five_files_and_counts_the_others() -> None:
    files = [file(name) for name in "abcdefg"]
    summary = decision(*files, refused=set(map(version, files))).summary
    assert summary == "7 refused: a, b, c, d, e and 2 more; fix and drop again."


def test_a_file_that_cannot_be_ingested_now_is_counted_and_not_due() -> None:
    files = [file("a.csv"), file("b.csv"), file("in.csv"), file("hopeless.csv")]
    asked: list[str] = []

    def set_apart(listing: Listing, due: Sequence[InboxFile], limit: int) -> Listing:
        assert limit == LIMITS.batch_files
        asked.extend(one.name for one in due)
        denied = (Skipped("d.csv", "Permission denied"),)
        still_writing = (*listing.still_writing, "a.csv")
        return replace(listing, ready=tuple(due[1:]), still_writing=still_writing, skipped=denied)

    history = RunHistory(merged={version(files[2])}, attempts={version(files[3]): 3})
    found = decide(Listing(tuple(files), ("c.csv",)), history, LIMITS, set_apart)
    assert asked_for(found) == ["b.csv"]
    assert found.still_writing == 2
    assert asked == ["a.csv", "b.csv"]  # Only of files that are due.
    assert "1 skipped: d.csv (Permission denied)" in found.summary


def test_no_file_is_opened_while_no_run_is_free() -> None:
    opened: list[InboxFile] = []

    def set_apart(listing: Listing, due: Sequence[InboxFile], limit: int) -> Listing:
        opened.extend(due)
        return all_ready(listing, due, limit)

    history = RunHistory(open_runs=[()] * MAX_OPEN_RUNS)
    found = decide(Listing((file("a.csv"),), ()), history, LIMITS, set_apart)
    assert (found.batches, found.waiting) == ((), 1)
    assert not opened


def test_small_files_get_a_run_that_no_large_file_can_use() -> None:
    def set_apart(listing: Listing, due: Sequence[InboxFile], limit: int) -> Listing:
        written = tuple(one.name for one in due if one.name == "large.csv")
        ready = tuple(one for one in due if one.name != "large.csv")[:limit]
        return replace(listing, ready=ready, still_writing=(*listing.still_writing, *written))

    files = file("large.csv", size=101), *(file(f"{name}.csv") for name in "abcd")
    history = RunHistory(open_runs=[()] * (MAX_OPEN_RUNS - 1))
    found = decide(Listing(files, ()), history, LIMITS, set_apart)
    assert asked_for(found) == ["a.csv", "b.csv", "c.csv"]
    assert (found.still_writing, found.waiting) == (1, 1)


def test_the_summary_names_skipped_and_ignored_files() -> None:
    skipped = (Skipped("x.csv", "a link"), Skipped("shop/", "Permission denied"))
    listing = Listing((), (), skipped, ignored=("old/", "x.tmp"))
    found = decide(listing, RunHistory(), LIMITS, all_ready)
    assert found.summary == (
        "In the inbox, 2 skipped: x.csv (a link), shop/ (Permission denied); "
        "see `lfp status`. 2 ignored by name: old/, x.tmp."
    )


def test_a_file_with_the_name_of_purges_is_never_due_and_the_summary_says_why() -> None:
    found = decision(file("purges"), file("folder/purges"))
    assert asked_for(found) == ["folder/purges"]
    assert found.refused == ("purges",)
    assert "The name purges is reserved for `lfp purge`; rename that file" in (found.summary)


def sizes_of_runs(files: Sequence[InboxFile], *open_runs: Sequence[InboxFile]):
    """Return the number of files of each run, on workers with five slots."""
    limits = replace(LIMITS, batch_files=50, open_runs=5, spread_files=10)
    history = RunHistory(open_runs=[{version(one) for one in run} for run in open_runs])
    plan = decide(Listing(tuple(files), ()), history, limits, all_ready)
    assert sorted(asked_for(plan)) == sorted(set(asked_for(plan))), "no file is in two runs"
    assert plan.waiting == len(files) - len(asked_for(plan))
    return [len(batch.files) for batch in plan.batches]


def test_on_several_hosts_files_are_spread_over_the_free_slots() -> None:
    small = [file(f"{number}.csv") for number in range(300)]
    large = [file(f"large-{number}.csv", 200) for number in range(9)]
    assert sizes_of_runs(small[:10]) == [10], "a run of few files costs as much as one of many"
    assert sizes_of_runs(small[:25]) == [9, 8, 8]
    assert sizes_of_runs(small) == [50] * 5, "the other files wait"
    assert sizes_of_runs(small, *[[]] * 4) == [50]
    assert sizes_of_runs(small, *[[]] * 5) == []
    assert sizes_of_runs(large) == [3, 2, 2, 2], "a slot stays free for small files"
    assert sizes_of_runs([*large, *small[:5]]) == [3, 2, 2, 2, 5]
    run_of_large = [file(f"running-{number}.csv", 200) for number in range(7)]
    assert sizes_of_runs(large, *[run_of_large] * 3) == [9]
    assert sizes_of_runs(large, *[run_of_large] * 4) == []
    assert sizes_of_runs(large, run_of_large) == [3, 3, 3], "a run of many files has one slot"
