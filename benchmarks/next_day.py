"""Writes the next day's file of a catalogue: the same rows, but for some."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

Row = list[str]

KINDS = ("1 % changed", "one row more", "sorted differently", "half changed")
"""What the next day's file is, beside the file of the day before.

The first and the third also have 0.5 % new rows, and lack 0.5 % of the rows.
"""

_CHANGED_SHARE = {"1 % changed": 0.01, "sorted differently": 0.01, "half changed": 0.5}
_NEW_SHARE = _MISSING_SHARE = 0.005


def write_next_day(base: Path, path: Path, kind: str) -> tuple[int, int]:
    """Write the next day's file; return the number of its rows, and of its new skus."""
    with (
        base.open(encoding="utf-8", newline="") as source,
        path.open("w", encoding="utf-8", newline="") as target,
    ):
        records = csv.reader(source)
        write = csv.writer(target)
        write.writerow(next(records))
        rows = new = 0
        changed = _with_changes(kind)(records)
        if kind == "sorted differently":
            changed = iter(sorted(changed, key=lambda row: row[1]))
        for row in changed:
            write.writerow(row)
            rows += 1
            new += row[1].startswith("new-")
    return rows, new


def _with_changes(kind: str) -> Callable[[Iterator[Row]], Iterator[Row]]:
    random, share = Random(3), _CHANGED_SHARE.get(kind, 0.0)  # noqa: S311 (no secret)

    def some(records: Iterator[Row]) -> Iterator[Row]:
        for number, (name, sku, text) in enumerate(records):
            chance = random.random()
            if chance < _MISSING_SHARE:
                continue
            if chance < _MISSING_SHARE + share:
                yield [name, sku, f"Changed. {text}"] if number % 2 else [f"{name} II", sku, text]
            else:
                yield [name, sku, text]
            if random.random() < _NEW_SHARE:
                yield [name, f"new-{number}", text]

    def one_more(records: Iterator[Row]) -> Iterator[Row]:
        yield from records
        yield ["One More Name", "new-one", "One more"]

    return some if share else one_more
