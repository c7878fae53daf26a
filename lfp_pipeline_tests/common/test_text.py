"""Texts for people."""

import shlex

import pytest

from lfp_pipeline.common.text import cell_count, lfp_command, short_name


@pytest.mark.parametrize("argument", ["a.csv", "-rf.csv", "--json", "it's.csv", "", "a b#2026"])
def test_a_command_has_the_argument_as_an_argument(argument: str) -> None:
    *words, last = shlex.split(lfp_command("show", argument))
    assert words == ["lfp", "show", "--"][: len(words)]
    assert last == argument
    assert ("--" in words) == argument.startswith("-")


@pytest.mark.parametrize(
    "name", ["x" * 100 + ".csv", "商品" * 60 + ".csv", "a\n\x1b[0m" * 40 + ".csv"]
)
def test_a_short_name_keeps_both_ends_in_one_line(name: str) -> None:
    short = short_name(name)
    assert short.isprintable()
    assert 48 <= cell_count(short) <= 50
    assert (short[0], short[-4:]) == (name[0], ".csv")
    assert short_name("fruit.csv") == "fruit.csv"
