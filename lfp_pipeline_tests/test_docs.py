"""The README and the docs are complete and current."""

import re
from pathlib import Path

import pytest

from docs import generate

PROJECT = Path(__file__).parents[1]
DOCS = PROJECT / "docs"
PACKAGE = PROJECT / "lfp_pipeline"


@pytest.mark.parametrize("path", generate.pages(), ids=lambda path: path.name)
def test_generated_files_are_current(path: Path) -> None:
    assert path.read_text() == generate.pages()[path], "`make docs` generates it again"


_STEP = re.compile(
    r"^\| (?P<number>\d+) \| `(?P<file>[\w/]+\.py)` \| `(?P<function>\w+)` \| (?P<caller>\w+) \|",
    re.MULTILINE,
)
_PATHS = (DOCS / "design.md").read_text().partition("## Three paths")[2].partition("\n## ")[0]


@pytest.mark.parametrize("path", _PATHS.split("### ")[1:], ids=lambda path: path.splitlines()[0])
def test_paths_in_the_design_lead_down_through_files_and_functions(path: str) -> None:
    level_of = {name: number for number, row in enumerate(generate.levels()) for name in row}
    levels: dict[str, int] = {}
    for step in _STEP.finditer(path):
        source = (PACKAGE / step["file"]).read_text()
        name = step["function"]
        assert re.search(rf"^ *(def|class) {name}\b|^{name} = ", source, re.MULTILINE), step[0]
        levels[step["number"]] = level_of[step["file"].partition("/")[0].removesuffix(".py")]
        if step["caller"] != "Dagster":
            assert levels[step["caller"]] <= levels[step["number"]], step[0]
    assert list(levels) == [str(number) for number in range(1, path.count("\n| "))]
