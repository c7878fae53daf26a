"""Random files that are dropped into a data folder."""

from dataclasses import replace
from itertools import count
from random import Random

from testing.expected_tables import File, Row
from verification.fuzz.packings import PACKINGS
from verification.histories.rules import Version

KEYS = ("a.csv", "a", "b.csv", "c.csv", "d.csv")
LARGE_BYTES = 4_500_000
"""Just enough for a direct load, where the product's own limits hold."""

AT_THE_DROP = 10**12
"""Files with a time from here on are dropped with the present time: newer than all purges."""

AHEAD = 4_102_444_800_000_000
"""Files with a time from here on, the year 2100, are dropped with it; landing replaces it."""

_PACKINGS = ["plain"] * 4 + ["zip", "gz", "zst"]
_CLEAN_SHARE = 0.6
_SKUS, _NAMES = 60, 12
_UNFINISHED_SHARE = 0.2
"""The share of files that are dropped unfinished first, and whole the next time."""

_MAX_ROWS = 40
_LARGE_ROWS = 2_000


class Drops:
    """The files that are dropped into one folder; the same ones for the same random numbers.

    Files overlap in names, times, bytes and skus. In half of the folders, no two partitions have a
    sku in common. A version may be older than one before, newer than all purges, of the future, or
    an unfinished upload of the next one.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._skus_are_shared = random.random() < 0.5
        self._dropped: dict[str, list[File]] = {key: [] for key in KEYS}
        self._unfinished: dict[str, Version] = {}

    def next(self, number: int, *, large: bool) -> list[File]:
        """Draw so many files, of as many partitions; the first is large on request."""
        keys = self._random.sample(KEYS, number)
        return [self._next_of(key, large=large and key == keys[0]) for key in keys]

    def _next_of(self, key: str, *, large: bool) -> File:
        earlier, random = self._dropped[key], self._random
        taken = {file.microseconds for file in earlier}
        microseconds = random.choice([at for at in range(1, 200) if at not in taken])
        later = next(at for at in count(AT_THE_DROP) if at not in taken)
        microseconds = random.choice([*[microseconds] * 4, later, AHEAD + len(earlier)])
        again = random.random()
        if key in self._unfinished:
            file = replace(self._unfinished.pop(key), microseconds=later, size=None)
        elif again > 1 - _UNFINISHED_SHARE and not large:
            file = self._cut(Version(key, later, (self._row(key, "x"), *self._rows(key))))
            self._unfinished[key] = file
        elif earlier and again < 0.25:
            newest = max(earlier, key=lambda file: file.microseconds)
            after = next(at for at in count(newest.microseconds + 1) if at not in taken)
            file = replace(newest, microseconds=after)
        elif earlier and again < 0.4:
            file = replace(random.choice(earlier), microseconds=microseconds)
        else:
            rows = self._large_rows(key) if large else self._rows(key)
            packing = "plain" if large else random.choice(_PACKINGS)
            file = File(key, microseconds, rows, PACKINGS[packing])
        earlier.append(file)
        return file

    def _cut(self, whole: Version) -> Version:
        """Cut a version off within a record."""
        sizes = range(len(whole.texts[0]), len(whole.content))
        inside = [size for size in sizes if whole.ends_inside_a_record(size)]
        return replace(whole, size=self._random.choice(inside))

    def _rows(self, key: str) -> tuple[Row, ...]:
        random = self._random
        dirty = random.random() > _CLEAN_SHARE
        number = random.randint(0, _MAX_ROWS)
        rows = [self._row(key, f"d{random.randrange(3)}") for _ in range(number)]
        for number in range(len(rows) if dirty else 0):
            wrong = [("", *rows[number][1:]), rows[number][:1], (" s1 ", *rows[number][1:])]
            rows[number] = random.choice([rows[number]] * 12 + wrong)
        return tuple(rows)

    def _large_rows(self, key: str) -> tuple[Row, ...]:
        description = "".join(self._random.choices("abcdefgh ", k=LARGE_BYTES // _LARGE_ROWS))
        return tuple(self._row(key, f"{description}{number}") for number in range(_LARGE_ROWS))

    def _row(self, key: str, description: str) -> Row:
        random, prefix = self._random, "" if self._skus_are_shared else key
        return f"{prefix}s{random.randrange(_SKUS)}", f"n{random.randrange(_NAMES)}", description
