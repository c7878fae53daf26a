"""The oracle and the reader agree on unfinished uploads and short rows."""

from collections import Counter
from pathlib import Path

import pytest

from lfp_pipeline.engine import Engine
from lfp_pipeline.ingest.ingest import ingest
from testing.engine import LOG, engine_at, land
from verification.histories.expected_state import ExpectedState
from verification.histories.observed import TableReader
from verification.histories.rules import Rules, Version, read

ROWS = (
    ("ß", "Zoë", "two\nlines"),
    ('q"u', "Ann", 'a "b", c'),
    ("a,b", "Bob"),
    ("two\nlines", "", 'a "b", c'),
)


@pytest.mark.slow
@pytest.mark.parametrize("has_two_names", [False, True])
def test_each_unfinished_upload_is_read_as_the_oracle_expects(tmp_path: Path, has_two_names: bool):
    rules = Rules(max_reject_share=1, name_alias="label")
    engine, state = engine_at(tmp_path, **rules.settings), ExpectedState(rules=rules)
    whole = Version("a", 0, ROWS, has_two_names=has_two_names)
    uploads = [
        Version(f"{size}.csv", size, ROWS, has_two_names=has_two_names, size=size)
        for size in range(1, len(whole.content))
    ]
    files = [file for file in uploads if file.is_plain]
    assert len(files) > (30 if has_two_names else 60)
    _assert_read_as_expected(engine, state, files)


def test_short_rows_are_a_habit_if_they_are_a_tenth_of_the_rows(tmp_path: Path):
    rules = Rules(max_reject_share=1)
    engine, state = engine_at(tmp_path, **rules.settings), ExpectedState(rules=rules)
    short = (("s1", "Ann"),) * 3
    files = [Version(f"{n}.csv", n, short + (("s2", "Ann", "x"),) * n) for n in (27, 28)]
    assert [len(read(file, rules).rejects) for file in files] == [0, 3]
    _assert_read_as_expected(engine, state, files)


def _assert_read_as_expected(engine: Engine, state: ExpectedState, files: list[Version]) -> None:
    for file in files:
        state.land(file)
    state.reconcile(file.delivery_id for file in files)
    ingest(
        [land(engine, file) for file in files],
        engine.raw_zone,
        engine.settings,
        engine.warehouse,
        LOG,
    )
    found = TableReader().tables(engine)
    for name, rows in state.tables.items():
        assert Counter(found[name]) == Counter(rows)
