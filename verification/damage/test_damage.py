"""One damage takes no more than the rows that it touches."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from verification.damage.catalogue import Catalogue, Style, styles
from verification.damage.damages import Damaged, Damages
from verification.damage.judge import wrong_ones

STYLES = list(styles())

SEED = 20261127


KNOWN_FAULTS = {
    # A row has as many cells as before, but the header has one more.
    "header with a delimiter more": ("a product that is in no file", "header with"),
    # The bytes of an odd line end are taken for an empty line.
    "blank lines beside odd line ends": ("skipped lines", "line end"),
}
"""How a damage is read wrongly at present, and which: each has a test of its own below."""


def is_known(damaged: Damaged, why: str) -> bool:
    return any(
        why.startswith(wrong) and damaged.what.startswith(what)
        for wrong, what in KNOWN_FAULTS.values()
    )


def some_damages(style: Style, number: int, seed: int) -> Iterator[tuple[Catalogue, Damaged]]:
    """Yield a number of damages of a catalogue, of all kinds in turn."""
    catalogue = Catalogue(style)
    rng = Random(f"{seed} {style}")
    kinds = Damages(catalogue).kinds()
    rng.shuffle(kinds)
    for place in range(number):
        yield catalogue, rng.choice(kinds[place % len(kinds)])


def assert_all_are_read_rightly(folder: Path, files: Iterator[tuple[Catalogue, Damaged]]) -> None:
    wrong = [
        f"{catalogue.style}: {one.damaged.what}: {one.why}"
        for catalogue, one in wrong_ones(folder, files)
        if not is_known(one.damaged, one.why)
    ]
    assert not wrong, f"{len(wrong)} files:\n" + "\n".join(wrong[:20])


def test_a_damage_takes_no_more_than_the_rows_that_it_touches(tmp_path: Path):
    rng = Random(SEED)
    chosen = rng.sample(STYLES, 36)
    files = (one for style in chosen for one in some_damages(style, 7, SEED))
    assert_all_are_read_rightly(tmp_path, files)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_none_of_3000_damages_takes_more_than_the_rows_that_it_touches(tmp_path: Path, part: int):
    files = (one for style in STYLES[part::4] for one in some_damages(style, 28, SEED + 1))
    assert_all_are_read_rightly(tmp_path, files)


def test_the_judge_sees_a_row_that_is_lost(tmp_path: Path):
    catalogue = Catalogue(STYLES[0])
    text = "\n".join([catalogue.header, *map(catalogue.record, range(20))])
    ((_, wrong),) = wrong_ones(tmp_path, [(catalogue, Damaged("rows lost", text))])
    assert "an undamaged row" in wrong.why


def wrong_of(folder: Path, kind: str, **style: str) -> list[str]:
    """Return what is wrong with the files of a kind of damage in one style, known or not."""
    catalogue = Catalogue(Style(**{"newline": "\n", "quoting": "none", "layout": "bare"} | style))
    files = [one for one in Damages(catalogue).all() if one.what.startswith(kind)]
    assert files
    found = wrong_ones(folder, [(catalogue, one) for one in files])
    return [f"{one.damaged.what}: {one.why}" for _, one in found]


@pytest.mark.parametrize("layout", ["bare", "last column empty", "last column filled"])
def test_a_delimiter_more_in_the_header_shifts_no_value(tmp_path: Path, layout: str):
    assert wrong_of(tmp_path, "header with ','", delimiter=",", layout=layout) == []


def test_an_odd_line_end_is_no_blank_line(tmp_path: Path):
    wrong = wrong_of(tmp_path, "line end", delimiter=",", layout="last column empty")
    assert wrong == []


def test_a_text_that_lost_its_opening_quote_is_one_reject(tmp_path: Path):
    """Its first line alone is a whole row; the quote that ends it shows that the text goes on."""
    catalogue = Catalogue(Style(",", "\n", "minimal", "bare"))
    what = "quote fewer: row 3, byte 12"
    (cut,) = [one for one in Damages(catalogue).all() if one.what == what]
    assert "s-03,Lamp 3,Two\n" in cut.text
    assert [*wrong_ones(tmp_path, [(catalogue, cut)])] == []
