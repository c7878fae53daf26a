"""Generate `docs/settings.md` and `docs/images/architecture.svg`: `make docs`."""

import ast
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from lfp_pipeline.cli.settings_template import GROUPS, allowed_values
from lfp_pipeline.common.setting_names import ENV_PREFIX
from lfp_pipeline.settings import Settings

PROJECT = Path(__file__).parents[1]
SETTINGS_PAGE = PROJECT / "docs" / "settings.md"
ARCHITECTURE = PROJECT / "docs" / "images" / "architecture.svg"

_COMPUTED_DEFAULTS = {"data_dir": "`data`", "threads": "the number of cores"}

_MARKER = "<!-- `make docs` generates the rest of this page from lfp_pipeline/settings.py. -->"


def pages() -> dict[Path, str]:
    """Return the text of each generated file by its path."""
    return {SETTINGS_PAGE: settings_page(), ARCHITECTURE: architecture()}


def settings_page() -> str:
    """Return `docs/settings.md`: what people have written there, and a table of all settings."""
    written, _, _ = SETTINGS_PAGE.read_text().partition(_MARKER)
    lines = [f"{written}{_MARKER}"]
    groups = dict(GROUPS)
    for name, field in Settings.model_fields.items():
        if start := next((start for start in groups if name.startswith(start)), None):
            lines += ["", f"## {groups.pop(start)}", ""]
            lines += ["| setting | default | allowed | meaning |", "|---|---|---|---|"]
        cells = _default(name, field), allowed_values(field), _meaning(field)
        lines.append(f"| `{ENV_PREFIX}{name.upper()}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _default(name: str, field: FieldInfo) -> str:
    value = field.default
    if name in _COMPUTED_DEFAULTS:
        return _COMPUTED_DEFAULTS[name]
    if field.default_factory is not None or value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if isinstance(value, int) and value >= size and value % size == 0:
            return f"{value} ({value // size} {unit})"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _meaning(field: FieldInfo) -> str:
    meaning = (field.description or "").replace("|", r"\|")
    if isinstance(field.validation_alias, AliasChoices):
        _, *former = map(str, field.validation_alias.choices)
        name = ENV_PREFIX + former[0].upper().removeprefix(ENV_PREFIX)
        meaning += f" Formerly `{name}`, accepted for one release."
    return meaning


_BOX_HEIGHT, _ROW_HEIGHT, _MARGIN, _WIDTH = 34, 68, 24, 620
_LETTER_WIDTH, _PADDING, _GAP = 8.4, 28, 48

_Box = tuple[float, int, float]
"""The horizontal centre, the top and the width."""

_STYLE = """\
  <style>
    text { font: 14px ui-monospace, Menlo, Consolas, monospace; text-anchor: middle; fill: #1f2328 }
    rect { fill: #ddf4ff; stroke: #0969da }
    path { fill: none; stroke: #59636e; marker-end: url(#arrow) }
    marker path { fill: #59636e; stroke: none }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc }
      rect { fill: #121d2f; stroke: #4493f8 }
      path { stroke: #9198a1 }
      marker path { fill: #9198a1 }
    }
  </style>
  <marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8"
    orient="auto">
    <path d="M0 0 8 4 0 8z"/>
  </marker>"""


def architecture() -> str:
    """Return a picture of the levels and of the imports between them."""
    rows = levels()
    boxes = dict(_boxes(rows))
    edges = _reduced(_imports([name for row in rows for name in row]))
    height = _MARGIN * 2 + _ROW_HEIGHT * (len(rows) - 1) + _BOX_HEIGHT
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img" '
        'aria-label="The levels of lfp_pipeline and the imports between them">'
    )
    lines = [head, _STYLE]
    lines += [_arrow(boxes[start], boxes[end], boxes.values()) for start, end in edges]
    for name, (x, y, width) in boxes.items():
        lines.append(
            f'  <rect x="{x - width / 2:.0f}" y="{y}" width="{width:.0f}" height="{_BOX_HEIGHT}" '
            f'rx="6"/><text x="{x:.0f}" y="{y + 22}">{name}</text>'
        )
    return "\n".join([*lines, "</svg>"]) + "\n"


def levels() -> list[list[str]]:
    """Return the names of each level, the highest first, as import-linter checks them."""
    configuration = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    contracts: Sequence[Mapping[str, Any]] = configuration["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    return [[name.strip() for name in row.split("|")] for row in layers]


def _boxes(rows: Sequence[Sequence[str]]) -> Iterator[tuple[str, _Box]]:
    """Yield each name with its box."""
    for number, row in enumerate(rows):
        widths = [len(name) * _LETTER_WIDTH + _PADDING for name in row]
        left = (_WIDTH - sum(widths) - _GAP * (len(row) - 1)) / 2
        for name, width in zip(row, widths, strict=True):
            yield name, (left + width / 2, _MARGIN + number * _ROW_HEIGHT, width)
            left += width + _GAP


def _imports(names: Sequence[str]) -> set[tuple[str, str]]:
    """Return the pairs of levels of which the first imports the second."""
    package = PROJECT / "lfp_pipeline"
    found = set()
    for path in package.rglob("*.py"):
        importer = path.relative_to(package).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                modules = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            else:
                continue
            for root, imported, *_ in (module.split(".") for module in modules if "." in module):
                if root == package.name and importer != imported:
                    found.add((importer, imported))
    return {edge for edge in found if set(edge) <= set(names)}


def _reduced(edges: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the edges without those that follow from others."""

    def reaches(start: str, end: str) -> bool:
        return any(
            imported == end or reaches(imported, end)
            for importer, imported in edges
            if importer == start
        )

    return sorted(
        (importer, imported)
        for importer, imported in edges
        if not any(
            start == importer and between != imported and reaches(between, imported)
            for start, between in edges
        )
    )


def _arrow(start: _Box, end: _Box, boxes: Iterable[_Box]) -> str:
    """Return a curve from below one box to above another, round a box that is in its way."""
    (x1, y1, _), (x2, y2, _) = start, end
    top, bottom = y1 + _BOX_HEIGHT, y2
    middle = (x1 + x2) / 2
    first, second = x1, x2
    for x, y, width in boxes:
        if top < y < bottom and abs(x - middle) < width / 2:
            side = 1 if x1 >= x else -1
            first = second = (8 * (x + side * (width / 2 + _GAP / 2)) - x1 - x2) / 6
    bend = (bottom - top) / 2
    return (
        f'  <path d="M{x1:.0f} {top}C{first:.0f} {top + bend:.0f} {second:.0f} '
        f'{bottom - bend:.0f} {x2:.0f} {bottom}"/>'
    )


def main() -> None:
    """Write the generated files."""
    for path, text in pages().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
