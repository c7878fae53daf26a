"""Marks of living processes: locked files, and rows of a real PostgreSQL server."""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest
from pydantic import SecretStr

from lfp_pipeline.errors import CatalogUnreachableError, SettingsError
from lfp_pipeline.hosts.liveness import Kind, Liveness, LockedFiles, MarkTakenError, liveness_of
from lfp_pipeline.settings import Settings
from testing.postgres import PostgresServer
from testing.processes import running, start, until

HOLD = """
import logging, sys
from pydantic import SecretStr
from lfp_pipeline.hosts.heartbeats import Heartbeats
from lfp_pipeline.hosts.liveness import Kind
logging.basicConfig()
catalog, name, beat, dead = sys.argv[1:]
with Heartbeats(SecretStr(catalog), float(beat), float(dead)).hold(Kind.RUN, name, "a job"):
    print("held", flush=True)
    sys.stdin.readline()
"""
"""Holds the mark of a run. Arguments: catalog, name, seconds between beats, seconds until dead."""


def heartbeats(catalog: SecretStr, beat: float = 0.2, dead: float = 2.0) -> Liveness:
    """Return the marks of a catalog that has their table."""
    pytest.importorskip("psycopg")
    from lfp_pipeline.hosts.heartbeats import Heartbeats, create_tables  # noqa: PLC0415
    from lfp_pipeline.hosts.postgres import session  # noqa: PLC0415

    with session(catalog, "a test") as connection:
        create_tables(connection)
        create_tables(connection)
    return Heartbeats(catalog, beat, dead)


@pytest.fixture(params=["files", "rows"])
def liveness(request: pytest.FixtureRequest, tmp_path: Path) -> Liveness:
    if request.param == "files":
        return LockedFiles(Settings(data_dir=tmp_path / "data"))
    return heartbeats(request.getfixturevalue("catalog_url"))


def names(marks: object) -> list[str]:
    return [mark.name for mark in marks]  # type: ignore[attr-defined]


def test_a_mark_is_live_within_its_block(liveness: Liveness) -> None:
    before = time.time()
    with liveness.hold(Kind.RUN, "b", "a job"), liveness.hold(Kind.RUN, "a"):
        first, second = liveness.live(Kind.RUN)
        assert (first.name, first.text, second.name, second.text) == ("a", "", "b", "a job")
        assert before - 1 < second.since_ns / 1e9 < time.time() + 1
        assert liveness.live(Kind.REVERSAL) == []
        assert names(liveness.claim_dead(Kind.RUN)) == []
    assert liveness.live(Kind.RUN) == []
    assert names(liveness.claim_dead(Kind.RUN)) == []


def test_a_mark_is_removed_after_an_error(liveness: Liveness) -> None:
    found: list[str] = []

    def fail() -> None:
        with liveness.hold(Kind.REVERSAL, "a", "key"):
            found.extend(mark.text for mark in liveness.live(Kind.REVERSAL))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert found == ["key"]
    assert liveness.live(Kind.REVERSAL) == []


def test_files_have_the_names_of_earlier_versions(tmp_path: Path) -> None:
    files = liveness_of(Settings(data_dir=tmp_path))
    with files.hold(Kind.RUN, "id", "job"), files.hold(Kind.REVERSAL, "x", "key"):
        assert (tmp_path / "work" / "runs" / "id.run").read_text() == "job"
        assert (tmp_path / "work" / "reversing-x").read_text() == "key"


@pytest.mark.slow
def test_a_killed_process_is_dead_after_a_while_and_claimed_once(catalog_url: SecretStr) -> None:
    marks = heartbeats(catalog_url)
    with running(HOLD, catalog_url.get_secret_value(), "killed", 0.2, 2) as process:
        process.kill()
        assert names(marks.live(Kind.RUN)) == ["killed"]
        killed = time.monotonic()
        until(lambda: not marks.live(Kind.RUN))
        assert 1.5 < time.monotonic() - killed < 3.5
    assert names(marks.claim_dead(Kind.RUN, lambda mark: mark.name != "killed")) == []
    claimed = marks.claim_dead(Kind.RUN)
    assert next(iter(claimed)).text == "a job"
    assert names(marks.claim_dead(Kind.RUN)) == [], "another process has claimed it"
    claimed.close()  # type: ignore[attr-defined]  # The claimer has failed.
    assert names(marks.claim_dead(Kind.RUN)) == ["killed"]
    assert names(marks.claim_dead(Kind.RUN)) == []


@pytest.mark.slow
def test_a_suspended_process_finds_itself_declared_dead_and_says_so(
    catalog_url: SecretStr,
) -> None:
    marks = heartbeats(catalog_url)
    with running(HOLD, catalog_url.get_secret_value(), "stopped", 0.2, 2) as process:
        os.kill(process.pid, signal.SIGSTOP)
        until(lambda: names(marks.claim_dead(Kind.RUN)))
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(1)
        assert marks.live(Kind.RUN) == []
        _, errors = process.communicate("\n")
    assert "The mark of run stopped was not renewed for too long" in errors
    assert process.returncode == 0


@pytest.mark.slow
def test_a_process_that_was_suspended_for_too_short_lives_on(catalog_url: SecretStr) -> None:
    marks = heartbeats(catalog_url)
    with running(HOLD, catalog_url.get_secret_value(), "a", 0.2, 2) as process:
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(1)
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(2)
        assert names(marks.live(Kind.RUN)) == ["a"]


@pytest.mark.slow
def test_one_process_has_a_mark_and_holds_it_again_within_its_block(
    catalog_url: SecretStr,
) -> None:
    marks = heartbeats(catalog_url)
    with running(HOLD, catalog_url.get_secret_value(), "a", 0.2, 2) as process:
        with pytest.raises(MarkTakenError), marks.hold(Kind.RUN, "a"):
            pass
        process.kill()
        until(lambda: not marks.live(Kind.RUN))
        with pytest.raises(MarkTakenError), marks.hold(Kind.RUN, "a"):
            pass
    assert names(marks.claim_dead(Kind.RUN)) == ["a"]
    with marks.hold(Kind.RUN, "a", "outer"):
        with marks.hold(Kind.RUN, "a", "inner"):
            pass
        assert [mark.text for mark in marks.live(Kind.RUN)] == ["outer"]


@pytest.mark.slow
def test_of_many_processes_that_take_a_mark_at_once_one_gets_it(catalog_url: SecretStr) -> None:
    heartbeats(catalog_url)
    processes = [start(HOLD, catalog_url.get_secret_value(), "a", 5, 60) for _ in range(4)]
    outputs = [process.communicate("\n") for process in processes]
    assert sum("held" in output for output, _ in outputs) >= 1
    assert all("held" in output or "MarkTakenError" in errors for output, errors in outputs)

    def hold(number: int) -> int:
        catalog = SecretStr(f"{catalog_url.get_secret_value()}?application_name=a{number}")
        with suppress(MarkTakenError), heartbeats(catalog).hold(Kind.RUN, "b"):
            time.sleep(2)
            return 1
        return 0

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(hold, range(8))) == 1


@pytest.mark.slow
def test_an_expected_mark_is_taken_or_dies(catalog_url: SecretStr) -> None:
    marks = heartbeats(catalog_url)
    with marks.hold(Kind.RUN, "held"):
        marks.expect(Kind.RUN, ["held", "late", "never"])
        marks.expect(Kind.RUN, [])
        assert names(marks.live(Kind.RUN)) == ["held"]
        with marks.hold(Kind.RUN, "late"):
            assert names(marks.live(Kind.RUN)) == ["held", "late"]
            dead: list[str] = []
            until(lambda: dead.extend(names(marks.claim_dead(Kind.RUN))) or dead)
            assert dead == ["never"]


@pytest.mark.slow
def test_no_process_is_declared_dead_because_the_server_was_down(
    postgres: PostgresServer, catalog_url: SecretStr
) -> None:
    marks = heartbeats(catalog_url)
    with running(HOLD, catalog_url.get_secret_value(), "a", 0.2, 2) as process:
        postgres.stop()
        with pytest.raises(CatalogUnreachableError):
            marks.live(Kind.RUN)
        time.sleep(3)
        postgres.start()
        for _ in range(10):
            assert names(marks.claim_dead(Kind.RUN)) == []
            time.sleep(0.2)
        time.sleep(1)
        assert names(marks.live(Kind.RUN)) == ["a"]
        _, errors = process.communicate("\n")
    assert "cannot be renewed" in errors


@pytest.mark.slow
def test_a_mark_is_renewed_again_after_the_server_was_read_only(catalog_url: SecretStr) -> None:
    from lfp_pipeline.hosts.postgres import connect  # noqa: PLC0415

    marks = heartbeats(catalog_url)
    database = f"ALTER DATABASE {catalog_url.get_secret_value().rpartition('/')[2]}"
    setting = "default_transaction_read_only"
    with (
        marks.hold(Kind.RUN, "a") as lost,
        closing(connect(catalog_url, "test")) as connection,
    ):
        connection.execute(f"{database} SET {setting} = on")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'lfp run a'"
        )
        time.sleep(1.5)
        with pytest.raises(CatalogUnreachableError, match=r"does not work now: .*read-only"):
            marks.expect(Kind.RUN, ["b"])
        connection.execute(f"SET {setting} = off")
        connection.execute(f"{database} RESET {setting}")
        time.sleep(3)
        assert names(marks.live(Kind.RUN)) == ["a"]
        assert not lost.is_set()


@pytest.mark.parametrize(
    "use", [lambda marks: marks.live(Kind.RUN), lambda marks: marks.expect(Kind.RUN, ["a"])]
)
def test_missing_tables_are_reported_with_the_command_that_makes_them(
    use: Callable[[Liveness], object], catalog_url: SecretStr, tmp_path: Path
) -> None:
    marks = liveness_of(Settings(data_dir=tmp_path, catalog=catalog_url))
    with pytest.raises(SettingsError, match="lfp cluster init"):
        use(marks)
