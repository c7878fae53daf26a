"""What is dropped into a data folder, at random, and what its tables must be then."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from lfp_pipeline_tests.fuzz.cases import PACKINGS
from lfp_pipeline_tests.oracle import File, Row, assert_tables_are_those_of

KEYS = ("a.csv", "a", "b.csv", "c.csv", "d.csv")
LARGE_BYTES = 4_500_000
"""Just large enough to be loaded directly, where the product is as it is."""

_PACKINGS = ["plain"] * 4 + ["zip", "gz", "zst"]
_CLEAN_SHARE = 0.6
_SKUS, _NAMES = 60, 12
_MOST_ROWS = 40
_LARGE_ROWS = 2_000


@dataclass
class History:
    """What was meant to happen in a data folder: the tables are checked against this.

    Whatever else is asked of a folder, such as that a delivery be taken back, is to be noted here
    before it is tried, and to be looked at in both checks.

    Attributes:
        files: all that were dropped so far.
    """

    files: list[File] = field(default_factory=list)

    def check_atomicity(self, found: Mapping[str, list[tuple[Any, ...]]]) -> None:
        """At any moment, the tables are exactly those of the deliveries that the ledger tells."""
        known = {row[0] for row in found["ledger"]}
        assert known <= {file.delivery_id for file in self.files}
        assert_tables_are_those_of([one for one in self.files if one.delivery_id in known], found)

    def check_end(self, found: Mapping[str, list[tuple[Any, ...]]]) -> None:
        """When all work is done, everything that was dropped is in, and all laws hold."""
        assert_tables_are_those_of(self.files, found)


class Drops:
    """The files that are dropped into one folder, the same ones for the same random numbers.

    They overlap in names, times, bytes and skus; in half of the folders, a sku is of one partition.
    A version of a partition may be older than one before.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._skus_are_shared = random.random() < 0.5
        self._dropped: dict[str, list[File]] = {key: [] for key in KEYS}

    def next(self, number: int, *, large: bool) -> list[File]:
        """As many files of as many partitions; maybe a large one among them."""
        keys = self._random.sample(KEYS, number)
        return [self._next_of(key, large=large and key == keys[0]) for key in keys]

    def _next_of(self, key: str, *, large: bool) -> File:
        earlier, random = self._dropped[key], self._random
        taken = {file.microseconds for file in earlier}
        microseconds = random.choice([time for time in range(1, 200) if time not in taken])
        again = random.random()
        if earlier and again < 0.25:
            newest = max(earlier, key=lambda file: file.microseconds)
            file = replace(newest, microseconds=newest.microseconds + 1)
        elif earlier and again < 0.4:
            file = replace(random.choice(earlier), microseconds=microseconds)
        else:
            rows = self._large_rows(key) if large else self._rows(key)
            packing = "plain" if large else random.choice(_PACKINGS)
            file = File(key, microseconds, rows, PACKINGS[packing])
        earlier.append(file)
        return file

    def _rows(self, key: str) -> tuple[Row, ...]:
        random = self._random
        dirty = random.random() > _CLEAN_SHARE
        number = random.randint(0, _MOST_ROWS)
        rows = [self._row(key, f"d{random.randrange(3)}") for _ in range(number)]
        for number in range(len(rows) if dirty else 0):
            wrong = [("", *rows[number][1:]), rows[number][:1], (" s1 ", *rows[number][1:])]
            rows[number] = random.choice([rows[number]] * 12 + wrong)
        return tuple(rows)

    def _large_rows(self, key: str) -> tuple[Row, ...]:
        description = "".join(self._random.choices("abcdefgh ", k=LARGE_BYTES // _LARGE_ROWS))
        return tuple(self._row(key, f"{description}{number}") for number in range(_LARGE_ROWS))

    def _row(self, key: str, description: str) -> Row:
        random, whose = self._random, "" if self._skus_are_shared else key
        return f"{whose}s{random.randrange(_SKUS)}", f"n{random.randrange(_NAMES)}", description
