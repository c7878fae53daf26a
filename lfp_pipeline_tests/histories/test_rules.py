"""What the oracle tells of a file that has come in part is what is read."""

from collections import Counter
from pathlib import Path

import pytest

from lfp_pipeline.engine import Engine
from lfp_pipeline.ingestion import ingest
from lfp_pipeline_tests.histories.rules import Rules, Version, read
from lfp_pipeline_tests.histories.truth import Looker, Truth
from lfp_pipeline_tests.oracle import LOG, engine_at, land

ROWS = (
    ("ß", "Zoë", "two\nlines"),
    ('q"u', "Ann", 'a "b", c'),
    ("a,b", "Bob"),
    ("two\nlines", "", 'a "b", c'),
)


@pytest.mark.parametrize("has_two_names", [False, True])
def test_each_begin_of_a_file_gives_what_the_oracle_tells(tmp_path: Path, has_two_names: bool):
    rules = Rules(max_reject_share=1, name_alias="label")
    engine, truth = engine_at(tmp_path, **rules.settings), Truth(rules=rules)
    whole = Version("a", 0, ROWS, has_two_names=has_two_names)
    begins = [
        Version(f"{size}.csv", size, ROWS, has_two_names=has_two_names, size=size)
        for size in range(1, len(whole.content))
    ]
    files = [file for file in begins if file.is_plain]
    assert len(files) > (30 if has_two_names else 60)
    assert_read_as_expected(engine, truth, files)


def test_short_rows_are_a_habit_if_they_are_a_tenth_of_the_rows(tmp_path: Path):
    rules = Rules(max_reject_share=1)
    engine, truth = engine_at(tmp_path, **rules.settings), Truth(rules=rules)
    short = (("s1", "Ann"),) * 3
    files = [Version(f"{n}.csv", n, short + (("s2", "Ann", "x"),) * n) for n in (27, 28)]
    assert [len(read(file, rules).rejects) for file in files] == [0, 3]
    assert_read_as_expected(engine, truth, files)


def assert_read_as_expected(engine: Engine, truth: Truth, files: list[Version]) -> None:
    for file in files:
        truth.land(file)
    truth.take_in(file.delivery_id for file in files)
    ingest([land(engine, file) for file in files], engine.settings, engine.warehouse, LOG)
    found = Looker().tables(engine)
    for name, rows in truth.tables.items():
        assert Counter(found[name]) == Counter(rows)
