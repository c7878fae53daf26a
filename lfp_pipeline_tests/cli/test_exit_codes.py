"""The exit codes of all commands, for what they are asked about and for what people answer."""

import io

import click
import pytest

from lfp_pipeline.cli.main import lfp as lfp_group
from lfp_pipeline.cli.output import confirm
from lfp_pipeline.cli.param_types import Text
from testing.command_line import CommandLine
from testing.engine import tables

NAMING = [
    ("ingest", "targets", "no.csv"),
    ("deliveries", "file", "no.csv"),
    ("rejects", "which", "no.csv"),
    ("revert", "delivery", "no.csv"),
    ("reinstate", "delivery", "no.csv#20260102"),
    ("dismiss", "delivery", "no.csv"),
    ("purge", "file", "--file=no.csv"),
    ("purge", "skus_from", "--skus-from=no.csv"),
]
"""Commands, their parameters that name a file, source or delivery, and an argument."""

FORMS = [
    (command, argument, *option)
    for command, _, argument in NAMING
    for option in ((), ("--dry-run",), ("--json",))
    if (command, *option) not in {("deliveries", "--dry-run"), ("rejects", "--dry-run")}
]
"""Each of these commands, alone and with the options of its forms: reading has no dry run."""


def parameters(command: str) -> list[click.Parameter]:
    found = lfp_group.get_command(click.Context(lfp_group), command)  # type: ignore[attr-defined]
    assert found
    return list(found.params)


def test_the_list_has_every_parameter_that_is_a_name():
    commands = lfp_group.list_commands(click.Context(lfp_group))  # type: ignore[attr-defined]
    names = {
        (command, parameter.name)
        for command in commands
        for parameter in parameters(command)
        if isinstance(parameter.type, Text)
    }
    assert names - {("ingest", "name"), ("worker", "name")} == {
        (command, name) for command, name, _ in NAMING
    }


@pytest.mark.parametrize("project", ["lfp", "stocked"])
def test_a_name_of_nothing_is_refused_before_anything_is_done(
    project: str, request: pytest.FixtureRequest
):
    line: CommandLine = request.getfixturevalue(project)
    for form in FORMS:
        ended = line(*form)
        assert (ended.code, ended.out) == (3, ""), (form, ended.err)
        assert "no.csv" in ended.err.splitlines()[-1], (form, ended.err)
        assert len(ended.err.splitlines()) <= 2
    assert line.runs() == []


@pytest.mark.parametrize("command", [["show", "no-such"], ["search", "no-such"]])
def test_a_search_that_finds_nothing_is_exit_code_1(stocked: CommandLine, command: list[str]):
    assert stocked(*command).code == 1


def test_a_purge_of_skus_without_a_product_says_that_nothing_was_deleted(shop: CommandLine):
    before = tables(shop.engine)
    planned = shop.done("purge", "no-such", "--dry-run").out
    assert "No products would be deleted: none has a sku of these: no-such." in planned
    assert "Older files that arrive later would not add them." in planned
    purged = shop.done("purge", "no-such").out
    assert "No products were deleted" in purged
    assert "Older files that arrive later do not add them." in purged
    assert tables(shop.engine)["products"] == before["products"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_without_consent_nothing_is_changed(
    answer: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    with pytest.raises(SystemExit) as ended:
        confirm("Delete?", yes=False)
    assert ended.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].endswith("Nothing was changed.")
    assert "Aborted" not in err


def test_with_consent_the_command_goes_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    confirm("Delete?", yes=False)
