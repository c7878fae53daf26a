"""Small bar charts for the UI, which shows Markdown of less than 1,000 characters inline."""

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

import dagster as dg

from lfp_pipeline.common.text import printable, shortened

_INLINE_LIMIT = 1_000
_LABEL_CHARACTERS = 22
_ROW_HEIGHT = 16
_LABEL_WIDTH = 150
_BAR_WIDTH = 140
_WIDTH = 370

# These need no escape in a data URI inside of Markdown, and each escape costs two characters.
_SAFE = " /:;=,.'-"


def bar_chart(bars: Sequence[tuple[str, int]], title: str) -> dg.MetadataValue[str] | None:
    """Return a picture of bars with labels and numbers, as many as the limit allows.

    None: there are no bars.
    """
    for number in range(len(bars), 0, -1):
        markdown = f"![{title}]({_data_uri(bars[:number])})"
        if len(markdown) < _INLINE_LIMIT:
            return dg.MetadataValue.md(markdown)
    return None


def _data_uri(bars: Sequence[tuple[str, int]]) -> str:
    largest = max(number for _, number in bars) or 1
    lines, texts = "", ""
    for row, (label, number) in enumerate(bars):
        middle = _ROW_HEIGHT * row + _ROW_HEIGHT // 2
        length = max(1, _BAR_WIDTH * number // largest)
        lines += f"M{_LABEL_WIDTH} {middle}h{length}"
        name = escape(shortened(printable(label), _LABEL_CHARACTERS), quote=False)
        right = _LABEL_WIDTH + length + 4
        texts += f"<text y='{middle + 4}'>{name}<tspan x='{right}'>{number:,}</tspan></text>"
    height = _ROW_HEIGHT * len(bars)
    svg = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{_WIDTH}' height='{height}' "
        f"font-family='sans-serif' font-size='12' fill='gray'>"
        f"<path d='{lines}' stroke='dodgerblue' stroke-width='11'/>{texts}</svg>"
    )
    return "data:image/svg+xml," + quote(svg, safe=_SAFE).replace(" ", "%20")
