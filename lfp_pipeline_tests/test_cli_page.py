"""`docs/cli.md` describes every command, with its real help and output."""

import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from docs import run_cli
from docs.console import commands, comparable
from lfp_pipeline.cli.main import lfp

PAGE = run_cli.PAGE.read_text()
NAMES = lfp.list_commands(None)  # type: ignore[arg-type]  # The context is not used.


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Yield a folder with a path as short as that of the generator: lines of texts depend on it."""
    with TemporaryDirectory(prefix="lfp-cli-") as folder:
        yield Path(folder)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_a_section_with_help_and_an_example(name: str):
    section = PAGE.partition(f"\n### lfp {name}\n")[2].partition("\n##")[0]
    found = commands(section)
    assert found.count(f"lfp {name} --help") == 1
    is_shown = [command for command in found if re.search(rf"\blfp {name}\b(?! --help)", command)]
    assert is_shown or name == "dev"  # It does not end by itself.


def test_the_page_names_no_command_that_does_not_exist():
    assert set(re.findall(r"^### lfp (\S+)$", PAGE, re.MULTILINE)) <= set(NAMES)


def test_the_help_on_the_page_is_current(short_folder: Path):
    page = "".join(
        f"```console\n$ {command}\n```\n" for command in commands(PAGE) if "--help" in command
    )
    present = run_cli.present_page(short_folder, page)
    helps = re.findall(
        r"^\$ (lfp [a-z ]*--help)\n(.*?)(?=^\$ |^```)", present, re.MULTILINE | re.DOTALL
    )
    assert len(helps) >= len(NAMES)
    for command, text in helps:
        assert f"$ {command}\n{text}" in PAGE, "`python -m docs.run_cli` writes it again"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_output_on_the_page_is_current(short_folder: Path):
    present = run_cli.present_page(short_folder, PAGE)
    assert comparable(present) == comparable(PAGE), "`python -m docs.run_cli` writes it again"
