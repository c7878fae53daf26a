"""Versions of product files that are dropped: some of them old, repeated, or broken.

A version is kept as a seed, so that thousands of them need little memory.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from lfp_pipeline.cli.sample_text import WORDS
from testing.dagster_project import drop
from testing.expected_tables import File, Row
from testing.raw_folder import path_of
from verification.fuzz.packings import PACKINGS

PARTITIONS = 120
SKUS = 50_000
NAMES = 3_000
MIN_ROWS, MAX_ROWS = 10, 20_000

_MIN_ROWS_WITH_REJECTS = 200
_REJECTS_AMONG = {"some rejects": 0.03, "half rejects": 0.5}
_WHOLE = ("plain", "zipped", "some rejects")
_BROKEN = ("half rejects", "no skus", "cut off")
_SHARE_NEW, _SHARE_AGAIN, _SHARE_OLD, _SHARE_BROKEN = 0.2, 0.1, 0.15, 0.06
_OLDEST_SECONDS = 86_400


def _cut_off(text: bytes) -> bytes:
    archive = PACKINGS["zip"](text)
    return archive[: len(archive) // 2]


_PACKED: dict[str, Callable[[bytes], bytes]] = {
    "zipped": PACKINGS["zip"],
    "no skus": lambda text: text.replace(b"sku", b"no", 1),
    "cut off": _cut_off,
}


@dataclass(frozen=True)
class Version:
    """One version of a file.

    Attributes:
        key: the partition, and the name in the inbox.
        seed: of the rows.
        size: the number of rows.
        form: plain, packed, or broken in some way.
    """

    key: str
    microseconds: int
    seed: int
    size: int
    form: str

    @property
    def is_broken(self) -> bool:
        """Whether the pipeline must refuse the version."""
        return self.form in _BROKEN

    def file(self) -> File:
        """Make the file."""
        chance = random.Random(self.seed)
        share = _REJECTS_AMONG.get(self.form, 0.0)
        rows = tuple(_row(chance, share) for _ in range(self.size))
        return File(self.key, self.microseconds, rows, _PACKED.get(self.form, bytes))


def _row(chance: random.Random, share_of_rejects: float) -> Row:
    name = f"Name {int(NAMES * chance.random() ** 2)}"
    words = " ".join(chance.choices(WORDS, k=chance.randrange(20)))
    description = f'{words}, "{words[:10]}"\n' if chance.random() < 0.05 else words
    if share_of_rejects and chance.random() < share_of_rejects:
        return chance.choice([("", name, words), ("s0", "", words), ("s0", name, words, "more")])
    return f"s{chance.randrange(SKUS):06}", name, description


@dataclass
class Dropping:
    """Drops one version after the other.

    A version that is replaced in the inbox before it lands never is a delivery. The ledger must
    have every version, so a file is replaced only once its last version is merged or refused.

    Attributes:
        dropped: the versions so far and their times in seconds since the epoch, by delivery id.
    """

    chance: random.Random
    data: Path
    dropped: dict[str, tuple[Version, float]] = field(default_factory=dict)
    _last: dict[str, str] = field(default_factory=dict)

    def drop(self) -> Version:
        """Drop a version into the inbox."""
        version = self._next()
        file = version.file()
        drop(self.data / "inbox", version.key, file.content, version.microseconds)
        self.dropped[file.delivery_id] = version, time.time()
        self._last[version.key] = file.delivery_id
        return version

    @property
    def versions(self) -> dict[str, Version]:
        """The versions so far, by delivery id."""
        return {id_: version for id_, (version, _) in self.dropped.items()}

    def pending(self) -> list[str]:
        """Return the versions that have no status note yet, by delivery id."""
        raw = self.data / "raw"
        return [id_ for id_ in self._last.values() if not path_of(raw, id_, ".outcome").exists()]

    def _next(self) -> Version:
        chance = self.chance
        now = time.time_ns() // 1000
        pending = set(self.pending())
        ended = sorted(key for key, id_ in self._last.items() if id_ not in pending)
        is_new = len(self._last) < PARTITIONS and chance.random() < _SHARE_NEW
        if is_new or not ended:
            key = f"products-{len(self._last):03}.csv"
        else:
            key = chance.choice(ended)
            last, _ = self.dropped[self._last[key]]
            if chance.random() < _SHARE_AGAIN:
                return replace(last, microseconds=now)
            if chance.random() < _SHARE_OLD:
                now -= chance.randrange(1, _OLDEST_SECONDS * 1_000_000)
        size = round(MIN_ROWS * (MAX_ROWS / MIN_ROWS) ** chance.random())
        is_broken = size >= _MIN_ROWS_WITH_REJECTS and chance.random() < _SHARE_BROKEN
        forms = _BROKEN if is_broken else _WHOLE if size >= _MIN_ROWS_WITH_REJECTS else _WHOLE[:2]
        return Version(key, now, chance.getrandbits(32), size, chance.choice(forms))
