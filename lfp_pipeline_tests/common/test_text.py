"""Texts for people."""

import shlex

import pytest

from lfp_pipeline.common.text import lfp_command


@pytest.mark.parametrize("argument", ["a.csv", "-rf.csv", "--json", "it's.csv", "", "a b#2026"])
def test_a_command_has_the_argument_as_an_argument(argument: str) -> None:
    *words, last = shlex.split(lfp_command("show", argument))
    assert words == ["lfp", "show", "--"][: len(words)]
    assert last == argument
    assert ("--" in words) == argument.startswith("-")
