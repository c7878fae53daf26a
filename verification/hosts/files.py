"""Random deliveries for several hosts."""

import os
from pathlib import Path
from random import Random

from testing.expected_tables import File, Row

_NAMES = 12
_REJECT_SHARE = 0.02
_AGAIN_SHARE = 0.15
_PARTITIONS = 30


class Files:
    """The deliveries of one lake; the same ones for the same random numbers.

    Skus overlap within and between files. A version can be older than one before, or have its bytes
    again. Some rows are rejected.

    Attributes:
        drawn: all of them.
    """

    def __init__(self, random: Random, *, skus: int = 200, rows: int = 60) -> None:
        self._random = random
        self._skus, self._rows = skus, rows
        self._times = random.sample(range(1, 10**9), 10_000)
        self.drawn: list[File] = []

    def draw(self, number: int) -> list[File]:
        """Draw so many deliveries, each of another partition."""
        partitions = self._random.sample(range(max(_PARTITIONS, number)), number)
        files = [self._next_of(f"file{partition:03}.csv") for partition in partitions]
        self.drawn += files
        return files

    def _next_of(self, key: str) -> File:
        random = self._random
        earlier = [file for file in self.drawn if file.key == key]
        if earlier and random.random() < _AGAIN_SHARE:
            rows = random.choice(earlier).rows
        else:
            rows = tuple(self._row() for _ in range(random.randint(1, self._rows)))
        return File(key, self._times.pop(), rows)

    def _row(self) -> Row:
        random = self._random
        sku = "" if random.random() < _REJECT_SHARE else f"s{random.randrange(self._skus)}"
        return sku, f"n{random.randrange(_NAMES)}", f"d{random.randrange(3)}"


def same_new_skus(
    random: Random, number: int, deliveries: int, skus: int = 200, *, own_names: bool = False
) -> list[File]:
    """Return deliveries that all have the same skus, which no delivery of another number has.

    Args:
        own_names: whether no two deliveries have a name in common. Then merging them deletes
            nothing, so DuckLake itself sees no conflict.
    """
    names = [f"r{number}s{place}" for place in range(skus)]
    times = random.sample(range(1, 10**9), deliveries)
    return [
        File(
            f"r{number}-{place}.csv",
            microseconds,
            tuple(
                (
                    sku,
                    f"n{random.randrange(_NAMES)}" + f" of {number}-{place}" * own_names,
                    str(place),
                )
                for sku in names
            ),
        )
        for place, microseconds in enumerate(times)
    ]


def write(file: File, folder: Path) -> Path:
    """Write a file below a folder, with its time; return its path."""
    path = folder / str(file.microseconds) / file.key
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        os.utime(path, ns=(file.microseconds * 1000,) * 2)
    return path
