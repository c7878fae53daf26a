"""One damage changes only the rows that it touches."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from verification.damage.catalogue import Catalogue, Style, styles
from verification.damage.damages import Damaged, Damages
from verification.damage.judge import find_wrong

STYLES = list(styles())

SEED = 20261127


def some_damages(style: Style, number: int, seed: int) -> Iterator[tuple[Catalogue, Damaged]]:
    """Yield a number of damages of a catalogue, of all kinds in turn."""
    catalogue = Catalogue(style)
    rng = Random(f"{seed} {style}")
    kinds = Damages(catalogue).kinds()
    rng.shuffle(kinds)
    for turn in range(number):
        yield catalogue, rng.choice(kinds[turn % len(kinds)])


def assert_read_correctly(folder: Path, files: Iterator[tuple[Catalogue, Damaged]]) -> None:
    found = [
        f"{catalogue.style}: {damaged.what}: {why}"
        for catalogue, damaged, why in find_wrong(folder, files)
    ]
    assert not found, f"{len(found)} files:\n" + "\n".join(found[:20])


@pytest.mark.slow
def test_a_damage_changes_only_the_rows_that_it_touches(tmp_path: Path):
    rng = Random(SEED)
    chosen = rng.sample(STYLES, 36)
    files = (file for style in chosen for file in some_damages(style, 7, SEED))
    assert_read_correctly(tmp_path, files)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_none_of_3000_damages_changes_rows_that_it_does_not_touch(tmp_path: Path, part: int):
    files = (file for style in STYLES[part::4] for file in some_damages(style, 28, SEED + 1))
    assert_read_correctly(tmp_path, files)


def test_a_lost_row_is_detected(tmp_path: Path):
    catalogue = Catalogue(STYLES[0])
    text = "\n".join([catalogue.header, *map(catalogue.record, range(20))])
    ((*_, why),) = find_wrong(tmp_path, [(catalogue, Damaged("rows lost", text))])
    assert "an undamaged row" in why


def wrong_of(folder: Path, kind: str, **style: str) -> list[str]:
    """Return what is wrong with the files of a kind of damage in one style."""
    catalogue = Catalogue(Style(**{"newline": "\n", "quoting": "none", "layout": "bare"} | style))
    files = [damaged for damaged in Damages(catalogue).all() if damaged.what.startswith(kind)]
    assert files
    found = find_wrong(folder, [(catalogue, damaged) for damaged in files])
    return [f"{damaged.what}: {why}" for _, damaged, why in found]


@pytest.mark.parametrize("layout", ["bare", "last column empty", "last column filled"])
def test_an_extra_delimiter_in_the_header_shifts_no_value(tmp_path: Path, layout: str):
    assert wrong_of(tmp_path, "header with ','", delimiter=",", layout=layout) == []


@pytest.mark.slow
def test_an_odd_line_end_is_no_blank_line(tmp_path: Path):
    wrong = wrong_of(tmp_path, "line end", delimiter=",", layout="last column empty")
    assert wrong == []


def test_a_text_that_lost_its_opening_quote_is_one_reject(tmp_path: Path):
    """The first line of the text is a whole row; the quote at its end shows that it goes on."""
    catalogue = Catalogue(Style(",", "\n", "minimal", "bare"))
    what = "quote fewer: row 3, byte 12"
    (cut,) = [damaged for damaged in Damages(catalogue).all() if damaged.what == what]
    assert "s-03,Lamp 3,Two\n" in cut.text
    assert [*find_wrong(tmp_path, [(catalogue, cut)])] == []
