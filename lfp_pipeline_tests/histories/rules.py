"""The settings that files are read with, and what they give then, told without the program."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from lfp_pipeline_tests.oracle import File, Row

_LEAST_SHORT_ROWS = 3


@dataclass(frozen=True)
class Rules:
    """Settings that decide what is read.

    Attributes:
        name_alias: another name of the column name: `label` or `title`.
    """

    name_alias: str | None = None
    max_name_length: int = 1_000
    null_tokens: tuple[str, ...] = ()
    max_reject_share: float = 0.5
    require_all_cells: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "column_aliases": {"name": [self.name_alias]} if self.name_alias else {},
            "max_name_length": self.max_name_length,
            "null_tokens": self.null_tokens,
            "max_reject_share": self.max_reject_share,
            "require_all_cells": self.require_all_cells,
        }

    @classmethod
    def recorded(cls, conditions: str) -> "Rules":
        """Those that a row of the ledger has."""
        found = json.loads(conditions)["settings"]
        (alias,) = found["column_aliases"].get("name", [None])
        return cls(
            alias,
            found["max_name_length"],
            tuple(found["null_tokens"]),
            found["max_reject_share"],
            found["require_all_cells"],
        )


@dataclass(frozen=True)
class Version(File):
    """A version of a file, of which a column may have a name that only an alias knows.

    Attributes:
        has_two_names: whether names stand in the column `label`, and, spelt otherwise, in `title`.
    """

    has_two_names: bool = False

    @cached_property
    def content(self) -> bytes:
        if not self.has_two_names:
            return super().content
        text = io.StringIO()
        rows = [(*row[:2], row[1].swapcase(), *row[2:]) if row[1:] else row for row in self.rows]
        csv.writer(text).writerows([("sku", "label", "title", "description"), *rows])
        return self.pack(text.getvalue().encode())


@dataclass(frozen=True)
class Read:
    """What is read of a file: accepted rows by their numbers, and the numbers of rejects."""

    accepted: Mapping[int, Row]
    rejects: tuple[int, ...]
    is_refused: bool

    @cached_property
    def winners(self) -> dict[str, tuple[int, Row]]:
        return {row[0]: (number, row) for number, row in self.accepted.items()}


@lru_cache(maxsize=10_000)
def read(file: File, rules: Rules) -> Read:
    """Read a file by rules."""
    two_names = isinstance(file, Version) and file.has_two_names
    if two_names and rules.name_alias is None:
        return Read({}, (), is_refused=True)
    short = sum(len(row) == 2 for row in file.records.values())
    may_be_short = short >= _LEAST_SHORT_ROWS and not rules.require_all_cells
    accepted, rejects = {}, []
    for number, row in file.records.items():
        if len(row) != 3 and not (len(row) == 2 and may_be_short):
            rejects.append(number)
            continue
        sku, name, description = (*row, "")[:3]
        name = name.swapcase() if two_names and rules.name_alias == "title" else name
        values = sku.strip(), name.strip(), description
        values = tuple("" if value in rules.null_tokens else value for value in values)
        if values[0] and 0 < len(values[1]) <= rules.max_name_length:
            accepted[number] = values
        else:
            rejects.append(number)
    is_refused = len(rejects) > rules.max_reject_share * len(file.records)
    return Read(accepted, tuple(rejects), is_refused)
