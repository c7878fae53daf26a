"""The README and the docs are complete and current."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from docs import generate
from lfp_pipeline.reading.reject_limit import KEPT_AS_EVIDENCE, MAX_REJECTS
from lfp_pipeline.settings import load_settings
from lfp_pipeline.warehouse.schema import migrate

PROJECT = Path(__file__).parents[1]
DOCS = PROJECT / "docs"
PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
PACKAGE = PROJECT / "lfp_pipeline"


@pytest.mark.parametrize("path", generate.pages(), ids=lambda path: path.name)
def test_generated_files_are_current(path: Path) -> None:
    assert path.read_text() == generate.pages()[path], "`make docs` generates it again"


def test_readme_is_one_page() -> None:
    assert len(PAGES[0].read_text().splitlines()) <= 110


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_has_a_target(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        assert not anchor or anchor in set(anchors(target)), link


def anchors(page: Path) -> Iterator[str]:
    """Yield the anchors of a page's headings, as GitHub makes them."""
    for heading in re.findall("^#+ (.*)$", page.read_text(), re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_are_targets_of_the_makefile(page: Path) -> None:
    makefile = (PROJECT / "Makefile").read_text()
    targets = set(re.findall("^([a-z-]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"(?:^ +|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)) <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_named_files_exist(page: Path) -> None:
    known = {path.name for path in PROJECT.glob("[a-z]*/**/*.py")}
    for name in re.findall(r"[\w/]+\.py\b", page.read_text()):
        if "/" in name:
            assert any((root / name).exists() for root in (PROJECT, PACKAGE)), name
        else:
            assert name in known, name


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


def test_modules_of_reading_that_the_design_lists_exist() -> None:
    design = (DOCS / "design.md").read_text()
    (listed,) = re.findall(r"^In `reading/`, (.*?)\n\n", design, re.MULTILINE | re.DOTALL)
    modules = {path.stem for path in (PACKAGE / "reading").glob("*.py")}
    assert set(re.findall(r"`(\w+)`", listed)) <= modules


def test_every_dependency_has_a_reason() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in project["dependencies"]}
    table = (DOCS / "design.md").read_text().partition("## Dependencies")[2]
    cells = re.findall(r"^\| (\w[^|(]*)", table, re.MULTILINE)
    assert {name.lower() for cell in cells for name in re.findall(r"[\w.-]+", cell)} == names
    extra = project["optional-dependencies"]["cluster"]
    names = {re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in extra}
    cells = re.findall(r"^\| (`[^|]*)", table, re.MULTILINE)
    assert {name for cell in cells for name in re.findall(r"`([\w.-]+)`", cell)} == names


def test_every_table_and_column_is_described() -> None:
    with duckdb.connect() as connection:
        connection.execute("ATTACH ':memory:' AS warehouse")
        migrate(connection)
        columns = connection.execute(
            "SELECT table_name, column_name, data_type FROM duckdb_columns() "
            "WHERE database_name = 'warehouse' ORDER BY ALL"
        ).fetchall()
    described = {
        (section.split("\n", 1)[0], name, type_)
        for section in (DOCS / "tables.md").read_text().split("\n## ")
        for cell, type_ in re.findall(r"^\| (`.*?) \| (\w+) \|", section, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", cell)
    }
    assert set(columns) <= described
    former = {("operations", "summary", "VARCHAR"), ("operations", "told", "VARCHAR")}
    assert described - set(columns) <= former


def test_list_for_the_settings_file_is_read_as_it_is_meant(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (example,) = re.findall("`(null_tokens = .*?)`", (DOCS / "settings.md").read_text())
    (tmp_path / "lfp.toml").write_text(example)
    monkeypatch.setenv("LFP_SETTINGS_FILE", str(tmp_path / "lfp.toml"))
    assert load_settings().null_tokens == (r"\N", "NULL")


def test_operations_page_says_how_many_rejects_refuse_a_file() -> None:
    operations = (DOCS / "operations.md").read_text()
    (row,) = [line for line in operations.splitlines() if '"More than ' in line]
    assert f"{MAX_REJECTS:,}" in row
    assert f"{KEPT_AS_EVIDENCE:,}" in row
