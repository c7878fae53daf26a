"""Tables and texts fit the terminal."""

import re
import tracemalloc

import click
import pytest
from rich.cells import cell_len

from lfp_pipeline.cli.layout import fit, print_table


def test_a_table_fits_by_shortening_the_longest_texts(capsys: pytest.CaptureFixture[str]):
    print_table(("id", "name", "n"), [("a" * 30, "b" * 200, 1), ("a", "b", None)], whole=("id",))
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["id", "name", "n"]
    assert first == f"{'a' * 30}  {'b' * 64}…  1"
    assert second.split() == ["a", "b"]


def test_a_table_of_whole_texts_may_be_wider(capsys: pytest.CaptureFixture[str]):
    print_table(("id",), [("a" * 200,)], whole=("id",))
    assert "a" * 200 in capsys.readouterr().out


def test_control_characters_in_a_table_are_escaped(capsys: pytest.CaptureFixture[str]):
    print_table(("a",), [("\x1b[2J\n",)])
    assert capsys.readouterr().out == "a\n\\x1b[2J\\n\n"


def test_control_characters_in_the_name_of_a_column_are_escaped(
    capsys: pytest.CaptureFixture[str],
):
    print_table(("\x1b]0;pwned\a",), [("a",)])
    assert capsys.readouterr().out == "\\x1b]0;pwned\\x07\na\n"


def test_a_large_cell_is_cut_at_once(capsys: pytest.CaptureFixture[str]):
    row = ("\x1b" * 10_000_000, "x" * 10_000_000)
    tracemalloc.start()
    print_table(("a", "b"), [row])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000  # Of a text that is escaped before it is cut, 40,000,000 characters.
    assert len(capsys.readouterr().out.splitlines()[1]) == 100


def test_long_lines_go_on_indented_and_words_stay_whole():
    text = f"title\n\n  {'word ' * 30}\n  {'x' * 120}"
    title, empty, first, second, long = fit(text).splitlines()
    assert (title, empty, long) == ("title", "", f"  {'x' * 120}")
    assert len(first) <= 100
    assert second.startswith("    word")


WIDE = ["商品" * 60, "\U0001f680" * 90, "e\u0301" * 150, "Lamp " * 60]


@pytest.mark.parametrize("text", WIDE, ids=["Chinese", "emoji", "marks", "words"])
@pytest.mark.parametrize("columns", [100, 80, 40])
def test_every_text_fits_into_the_cells_of_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, text: str, columns: int
):
    monkeypatch.setenv("COLUMNS", str(columns))
    names = [f"begin{text}.csv", "short.csv"]
    print_table(("file", "n", "text"), [(name, 1, text) for name in names], names=["file"])
    print_table(("n", "of these"), [(1, "10,000 inserted, " * 9)], whole=["of these"])
    print_table([f"c{number}" for number in range(40)], [[text, 123_456] * 20])
    print_table([f"c{number}" for number in range(40)], [])
    click.echo(fit(f"  {'word 商品 ' * 60}"))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(cell_len, lines)) <= columns
    assert lines[1].startswith("begin")
    assert "….csv" not in lines[1]
    assert re.search(r"….*\.csv +1  ", lines[1])
    head, *rows = lines[:3]
    at = cell_len(head[: head.rindex(" n  ")])
    assert [cell_len(row[: row.rindex(" 1  ")]) for row in rows] == [at, at]


def test_a_long_text_to_be_copied_has_a_line_of_its_own(capsys: pytest.CaptureFixture[str]):
    name = "a" * 90
    print_table(("id", "n", "text"), [(name, 1, "b" * 90), ("short", 2, "c")], whole=["id"])
    head, own, first, second = capsys.readouterr().out.splitlines()
    assert own == name
    assert [head.index("n"), first.index("1"), second.index("2")] == [7, 7, 7]


def test_the_last_column_goes_on_in_further_lines(capsys: pytest.CaptureFixture[str]):
    counts = ", ".join(f"1,000,00{number} inserted" for number in range(9))
    print_table(("n", "of these"), [(1, counts), (2, "3 stale")], whole=["of these"])
    _, *lines, last = capsys.readouterr().out.splitlines()
    assert " ".join(" ".join(lines).split()) == f"1 {counts}"
    assert all(line.startswith("   ") for line in lines[1:])
    assert last == "2  3 stale"


def test_with_too_many_columns_each_value_has_a_line(capsys: pytest.CaptureFixture[str]):
    columns = [f"column_{number}" for number in range(20)]
    print_table(columns, [list(range(20)), list(range(20))])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["column_0   0", "column_1   1"]
    assert lines[20:22] == ["", "column_0   0"]


def test_a_command_is_not_broken():
    command = f"      lfp dismiss '{'my shop ' * 20}.csv#20260102T030405'"
    assert fit(f"Fix it, or:\n{command}") == f"Fix it, or:\n{command}"
