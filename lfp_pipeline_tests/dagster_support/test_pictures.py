"""The pictures in the metadata: small, and whole whatever their labels are."""

import re
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import pytest

from lfp_pipeline.dagster_support.pictures import bar_chart

NAMES = ["Michael Smith", "x(y)[z]!#%", "</text><script>", "\x1b\u202e", "名前" * 20, "'\"&", ""]


def texts(markdown: str) -> list[str]:
    found = re.fullmatch(r"!\[title\]\(data:image/svg\+xml,([A-Za-z0-9%/:;=,.'_~-]+)\)", markdown)
    assert found
    root = ET.fromstring(unquote(found[1]))  # noqa: S314 (made here)
    return ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("number", [1, 3, 7])
def test_a_picture_is_a_valid_image_that_the_ui_shows_inline(number: int) -> None:
    bars = [(name, 10**position) for position, name in enumerate(NAMES[:number])]
    picture = bar_chart(bars, "title")
    assert picture
    assert len(picture.value) < 1_000
    shown = texts(picture.value)
    assert len(shown) >= min(number, 3)
    assert shown[0] == "Michael Smith1"


def test_ten_common_names_lead_to_eight_bars() -> None:
    picture = bar_chart([(f"Michael Smith {number}", 247) for number in range(10)], "title")
    assert picture
    assert len(texts(picture.value)) >= 7


def test_without_bars_there_is_no_picture() -> None:
    assert bar_chart([], "title") is None
