"""`lfp dismiss` on real files and a real instance."""

import os
import re
import shlex

import pytest

from testing.cases import first_fast
from testing.command_line import CommandLine
from testing.dagster_project import HEADER, NO_SKU, drop
from testing.engine import land
from testing.expected_tables import File

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"),))
HALF = f"{HEADER},Nobody,lost\n" + "".join(f"s{number},Ann,x\n" for number in range(20))


@pytest.fixture
def refused(lfp: CommandLine) -> CommandLine:
    lfp.drop(A)
    drop(lfp.data / "inbox", "it's bad.csv", NO_SKU)
    assert lfp("ingest").code != 0
    assert "it's bad.csv" in attention(lfp)
    return lfp


def attention(lfp: CommandLine) -> str:
    assert lfp("publish").code == 0
    return lfp("status").out.partition("Needs attention")[2].partition("Last deliveries")[0]


def test_a_refused_file_is_dismissed_by_its_name(refused: CommandLine):
    runs = len(refused.runs())
    planned = refused.done("dismiss", "it's bad.csv", "--dry-run", "--json").json
    assert "would be dismissed" in planned["summary"]
    assert len(refused.runs()) == runs
    done = refused.done("dismiss", "it's bad.csv", "--json").json
    assert "is dismissed" in done["summary"]
    assert refused.runs()[0].job_name == "dismiss_delivery"
    assert attention(refused) == ""
    assert refused.done("ingest").code == 0


def test_a_merged_file_is_refused_with_what_undoes_it(refused: CommandLine):
    result = refused("dismiss", "a.csv")
    assert result.code == 3
    assert "It is merged, without rejected rows. `lfp revert` undoes it." in result.err
    assert len(result.err.splitlines()) <= 3


def test_the_rejected_rows_of_a_merged_file_are_dismissed(lfp: CommandLine):
    rows = (("", "Nobody", "lost"), *((f"s{number}", "Ann", "x") for number in range(20)))
    lfp.drop(File("half.csv", 1_000_000, rows))
    lfp.done("ingest")
    assert "1 of them to fix" in lfp.done("status").out
    planned = lfp.done("dismiss", "half.csv", "--dry-run").out
    assert planned.startswith("Would dismiss 1 rejected row of half.csv#")
    assert lfp.done("status", "--json").json["tables"]["rejects_to_fix"] == 1
    done = lfp.done("dismiss", "half.csv").out
    assert done.startswith("Dismissed 1 rejected row of half.csv#")
    assert lfp.done("status", "--json").json["tables"]["rejects_to_fix"] == 0
    assert lfp.done("rejects", "--json").json == []
    assert [file["rows"] for file in lfp.done("rejects", "half.csv", "--json").json] == [1]
    assert lfp.done("verify").code == 0
    lfp.done("rebuild")
    assert lfp.done("rejects", "--json").json == []
    assert lfp.done("status", "--json").json["tables"]["rows"]["products"] == 20


def versions(lfp: CommandLine, *contents: str) -> None:
    """Ingest versions of one file; each may be refused."""
    for number, content in enumerate(contents, 1):
        drop(lfp.data / "inbox", "f.csv", content, number * 1_000_000)
        lfp("ingest")


def advice(lfp: CommandLine) -> list[str]:
    """Return the arguments of the command that `lfp rejects` prints for the only file."""
    (command,) = re.findall(r"^ +(lfp dismiss .*)$", lfp.done("rejects").out, re.MULTILINE)
    return shlex.split(command)[1:]


@pytest.mark.slow
def test_rejects_of_the_newest_of_two_merged_versions_are_dismissed(lfp: CommandLine):
    versions(lfp, HALF, f"{HALF}x1,Ann,x\n")
    planned = lfp.done("dismiss", "f.csv", "--dry-run").out
    assert planned == lfp.done(*advice(lfp), "--dry-run").out
    assert planned.startswith("Would dismiss 1 rejected row of f.csv#19700101T000002")
    lfp.done("dismiss", "f.csv")
    assert lfp.done("rejects", "--json").json == []
    assert "lfp dismiss" not in lfp.done("rejects", "f.csv").out
    lfp.done("reinstate", "f.csv")
    assert len(lfp.done("rejects", "--json").json) == 1


@pytest.mark.slow
@pytest.mark.parametrize("latest", [[], ["--latest"]])
def test_what_is_not_merged_is_dismissed_first_and_then_the_rejects(
    lfp: CommandLine, latest: list[str]
):
    versions(lfp, HALF, NO_SKU)
    assert "f.csv#19700101T000002 is dismissed" in lfp.done("dismiss", "f.csv", *latest).out
    planned = lfp.done(*advice(lfp), "--dry-run").out
    assert planned == lfp.done("dismiss", "f.csv", *latest, "--dry-run").out
    assert "1 rejected row of f.csv#19700101T000001" in lfp.done("dismiss", "f.csv", *latest).out


def test_rejects_below_a_failed_version_are_dismissed_by_the_proposed_command(lfp: CommandLine):
    versions(lfp, HALF)
    land(lfp.engine, File("f.csv", 2_000_000, (("s1", "Ann", "x"),))).path.write_bytes(b"damaged")
    (lfp.data / "inbox" / "f.csv").unlink()
    assert lfp("ingest").code == 1
    drop(lfp.data / "inbox", "f.csv", HALF, 1_000_000)
    assert "f.csv#19700101T000002 would be" in lfp.done("dismiss", "f.csv", "--dry-run").out
    assert "1 rejected row of f.csv#19700101T000001" in lfp.done(*advice(lfp)).out
    assert "f.csv#19700101T000002 is dismissed" in lfp.done("dismiss", "f.csv").out


@pytest.mark.slow
def test_requests_that_the_state_refuses_make_no_run(lfp: CommandLine):
    versions(lfp, HALF)
    drop(lfp.data / "inbox", "bad.csv", NO_SKU)
    assert lfp("ingest").code == 3
    for done, *refused in (
        (("dismiss", "f.csv"), ("dismiss", "f.csv")),
        (("dismiss", "bad.csv"), ("dismiss", "bad.csv"), ("revert", "bad.csv")),
        (("reinstate", "f.csv"), ("reinstate", "f.csv")),
        (("revert", "f.csv"), ("revert", "f.csv"), ("dismiss", "f.csv")),
    ):
        lfp.done(*done)
        runs = len(lfp.runs())
        for command in refused:
            for more in ([], ["--dry-run"], ["--json"]):
                ended = lfp(*command, *more)
                assert (ended.code, ended.out) == (3, ""), (command, more, ended.err)
                assert len(ended.err.splitlines()) == 2
        assert len(lfp.runs()) == runs


@pytest.mark.parametrize(
    "name",
    first_fast(
        ["a\nb.csv", b"\xff.csv", "-rf.csv", "--help", "it's.csv", f"{'long name ' * 20}.csv"], 3
    ),
)
def test_the_command_that_the_status_proposes_works(lfp: CommandLine, name: str | bytes):
    drop(lfp.data / "inbox", name if isinstance(name, str) else os.fsdecode(name), NO_SKU)
    assert lfp("ingest").code == 3
    (command,) = re.findall(r"^ +(lfp dismiss .*)$", attention(lfp), re.MULTILINE)
    lfp.done(*shlex.split(command)[1:])
    assert attention(lfp) == ""
