"""Hostile sources files are refused within seconds, with a message that gives the line."""

import os
import time
from pathlib import Path

import pytest

from lfp_pipeline.errors import SettingsError
from lfp_pipeline.sources.sources_file import read_sources

ENTRY = "sources: [{name: a, location: x, interval: 60}]"
MANY = "sources:\n" + "".join(f"  - {{name: n{i}, location: x}}\n" for i in range(5000))
LAUGHS = "x0: &x0 [lol]\n" + "".join(
    f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]\n" for n in range(1, 20)
)
MERGED_LAUGHS = "x0: &x0 {name: a}\n" + "".join(
    f"x{n}: &x{n} {{<<: [{', '.join([f'*x{n - 1}'] * 10)}]}}\n" for n in range(1, 20)
)


def entry(field: str) -> str:
    return f"sources:\n  - name: a\n    location: x\n    {field}\n"


HOSTILE = {
    "brackets": ("[" * 3000, "line 1: nested deeper than 10 levels"),
    "closed brackets": ("sources: " + "[" * 3000 + "]" * 3000, "nested deeper than 10"),
    "a megabyte of brackets": ("[" * 999_999, "nested deeper than 10"),
    "braces": ("{a: " * 3000, "nested deeper than 10"),
    "indents": ("".join(" " * n + "-\n" for n in range(500)), "nested deeper than 10"),
    "laughs": (LAUGHS + "sources: [*x19]", "more than 100,000 values"),
    "merged laughs": (MERGED_LAUGHS + "sources: [*x19]", "more than 100,000 values"),
    "itself": ("sources: &a [*a]", "a reference to the value that contains it"),
    "several megabytes": (MANY * 20, "it is larger than 1,000,000 bytes"),
    "a megabyte of values": ("sources: [" + "1," * 490_000 + "]", "more than 100,000 values"),
    "5,000 digits": (entry("interval: " + "9" * 5000), "line 4: a number, a date or a key"),
    "400 digits": (entry("interval: " + "9" * 400), "entry 1: interval: Input should be"),
    "parts of sixty": (entry("interval: " + "1:" * 9000 + "1"), "a value of more than 10,000"),
    "no date": (entry("interval: 2026-99-99"), "line 4: a number, a date or a key"),
    "infinity": (entry("interval: .inf"), "entry 1: interval: Input should be a finite number"),
    "no number": (entry("interval: .nan"), "entry 1: interval: Input should be a finite number"),
    "as good as infinite": (entry("interval: 1e400"), "entry 1: interval: Input should be"),
    "10,000 years": (entry("interval: 1.0e+12"), "interval: Input should be less than or equal"),
    "a key twice": (entry("name: b"), "line 4: the key 'name' is there twice"),
    "the list twice": (ENTRY + "\n" + ENTRY, "line 2: the key 'sources' is there twice"),
    "a list for a key": ("? [a]\n: 1", "line 1: "),
    "a long value": (entry("sha256: " + "0" * 20_000), "a value of more than 10,000 characters"),
    "purges": ("sources: [{name: purges, location: x}]", "entry 1: name: the partition purges is"),
    "two documents": (ENTRY + "\n---\n" + ENTRY, "line 2: "),
    "a zero byte": (ENTRY + "\n\0", "cannot be read"),
}


@pytest.mark.parametrize(("text", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_is_refused_in_bounded_time(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "sources.yaml"
    file.write_text(text)
    started = time.process_time()
    with pytest.raises(SettingsError) as caught:
        read_sources(file)
    assert time.process_time() - started < 3
    assert message in str(caught.value)
    assert str(file) in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_pipe_or_a_folder_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(SettingsError, match="cannot be read: it is not a file"):
            read_sources(path)


def test_references_and_thousands_of_entries_are_read(tmp_path: Path) -> None:
    file = tmp_path / "sources.yaml"
    file.write_text(MANY)
    assert len(read_sources(file)) == 5000
    file.write_text(
        "sources:\n"
        "  - &base {name: a, location: x, interval: 60}\n"
        "  - &next {<<: *base, name: b}\n"
        "  - {<<: *next, name: c, interval: 5}\n"
    )
    found = read_sources(file)
    assert {name: source.interval for name, source in found.items()} == {"a": 60, "b": 60, "c": 5}
