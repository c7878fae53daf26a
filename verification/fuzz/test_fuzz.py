"""The fuzzing itself: a seed repeats its cases, and faults are detected."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lfp_pipeline.reading import reader
from testing.processes import run_module
from verification.fuzz.cases import Case
from verification.fuzz.generate import case_of
from verification.fuzz.judge import WrongError, judge

SEED = 6

# Stands for a bug in native code.
CRASH_AT_TIMES = """
import signal
from lfp_pipeline.reading import reader

choose = reader.select_winners

def chosen(connection, *others, **more):
    rows, = connection.execute("SELECT count(*) FROM rows").fetchone()
    if rows > 3:
        signal.raise_signal(signal.SIGSEGV)
    return choose(connection, *others, **more)

reader.select_winners = chosen
"""


@pytest.mark.parametrize("number", range(12))
def test_some_cases_agree_with_the_oracle(number: int):
    assert judge(case_of(SEED, number))


def test_a_seed_and_a_number_repeat_a_case_as_does_its_json():
    for number in range(20):
        case = case_of(SEED, number)
        assert case == case_of(SEED, number) == Case.from_json(case.to_json())
        assert [file.raw for file in case.files] == [file.raw for file in case.files]


def test_a_reader_that_loses_a_row_is_detected(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reader, "exclude_superseded", lambda _: 0)
    case = case_of(SEED, first_case(repeats_a_sku))
    with pytest.raises(WrongError, match="winners"):
        judge(case)


def first_case(matches: Callable[[Case], bool]) -> int:
    return next(number for number in range(1000) if matches(case_of(SEED, number)))


def repeats_a_sku(case: Case) -> bool:
    (file, *others) = case.files
    plain = case.way == "read" and file.packing == "plain" and file.start is not None
    return plain and not others and 3 < file.text.count(b"s0") < 100


@pytest.mark.slow
def test_a_crash_is_found_and_shrunk(tmp_path: Path):
    (tmp_path / "sitecustomize.py").write_text(CRASH_AT_TIMES)
    options = ["--cases", 1, "--seed", SEED, "--first", first_case(repeats_a_sku)]
    options += ["--findings", tmp_path, "--shrink-seconds", 3]
    ended = run_module("verification.fuzz", *options, path=tmp_path)
    assert ended.returncode == 1
    assert f"FOUND: seed {SEED}, case" in ended.stdout
    assert "Crashed: exit code -11" in ended.stdout
    found = list(tmp_path.glob("*.json"))
    assert found
    judge(Case.from_json(found[0].read_text()))  # Without the fault, the case agrees.
