"""Deliveries and their ids."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from lfp_pipeline.model.partition_key import file_name

_ID = re.compile(r"[^#]+#\d{8}T\d{6}\.\d{6}Z#[0-9a-f]{16}")

_WITHOUT_MARKS = str.maketrans("", "", "-:")


class Kind(StrEnum):
    """The content of a delivery."""

    PRODUCTS = "products"
    DELETION = "deletion"  # a header and the skus to delete


class RawName(NamedTuple):
    """The place of a delivery in the raw zone: its partition key, and the stem of its files."""

    key: str
    stem: str

    @property
    def delivery_id(self) -> str:
        """The id of the delivery whose files have this name."""
        return f"{self.key}#{self.stem.replace('-', '#')}"


@dataclass(frozen=True)
class TextFormat:
    """The encoding and the delimiter of a file, as its source states them.

    Attributes:
        encoding: Python's name of the encoding in the sources file. A byte order mark overrides it.
        charset: Python's name of the encoding that the server states, for bytes that are not UTF-8.
        delimiter: the delimiter in the sources file, one ASCII character.
    """

    encoding: str | None = None
    charset: str | None = None
    delimiter: str | None = None

    def __str__(self) -> str:
        """The stated parts, for people: `encoding cp1251, delimiter ';'`."""
        parts = (
            self.encoding and f"encoding {self.encoding}",
            self.charset and f"charset {self.charset}",
            self.delimiter and f"delimiter {self.delimiter!r}",
        )
        return ", ".join(filter(None, parts)) or "none"


@dataclass(frozen=True)
class Delivery:
    """One version of a source file, in the raw zone.

    Attributes:
        partition_key: the key of the source file, the same for all its versions.
        delivered_at: the time that decides which version is newer, in UTC without a zone, to the
            microsecond (see `delivery_time`).
        sha256: the digest of the exact bytes, in hex.
        source: the place that it came from, without credentials.
        size_bytes: the size of the raw file.
        landed_at: when it reached the raw zone, in UTC without a zone.
        path: where its bytes are read (see `RawZone.verified`).
        text_format: its encoding and delimiter, as far as its source states them.
        stated_at: the time of this version according to its source, in UTC without a zone; None:
            `delivered_at`, or the source states none.
        source_ctime_ns: when the source file was last written, moved or touched; None: the source
            is no file of this machine, or the time was not recorded.
        completes: the id of an earlier delivery of the partition whose bytes are the beginning of
            this one and end inside a record: an unfinished upload.
    """

    partition_key: str
    delivered_at: datetime
    sha256: str
    source: str
    size_bytes: int
    landed_at: datetime
    path: Path
    kind: Kind = Kind.PRODUCTS
    text_format: TextFormat = TextFormat()
    stated_at: datetime | None = None
    source_ctime_ns: int | None = None
    completes: str | None = None

    @property
    def raw_name(self) -> RawName:
        """Its place in the raw zone."""
        *_, key, file = str(self.path).rsplit("/", 2)  # Faster than by the properties of a path.
        return RawName(key, file.rpartition(".")[0])

    @property
    def version_time(self) -> datetime:
        """The time by which its source distinguishes this version from others."""
        return self.stated_at or self.delivered_at

    @property
    def is_dated_ahead(self) -> bool:
        """Whether its source dates it after it landed."""
        return self.kind is Kind.PRODUCTS and self.version_time > self.landed_at

    @property
    def delivery_id(self) -> str:
        """The id: the same for the same partition key, time and bytes.

        Ids with the same `delivered_at` sort as their partition keys do, because `#` sorts before
        every character of a key. So (delivered_at, delivery_id, row_number) is a total order of all
        rows ever delivered.
        """
        return f"{self.partition_key}#{stamp(self.delivered_at)}#{self.sha256[:16]}"

    @property
    def label(self) -> str:
        """A short name for people: `my file.csv#20261127T160302` (see `labels`)."""
        return label_of(self.delivery_id, self.source)

    @property
    def order_key(self) -> tuple[datetime, str]:
        """The key that orders deliveries: the newer one has the greater key."""
        return self.delivered_at, self.delivery_id


def stamp(timestamp: datetime) -> str:
    """Return a time as a compact text that sorts as times do: 20261120T081952.123456Z."""
    # strftime does not pad years before 1000 everywhere; isoformat does.
    return timestamp.isoformat(timespec="microseconds").translate(_WITHOUT_MARKS) + "Z"


def parse_stamp(text: str) -> datetime:
    """Return the time that `stamp` has written; raise ValueError for any other text."""
    return datetime.fromisoformat(text.removesuffix("Z"))


def is_delivery_id(text: str) -> bool:
    """Return whether a text is the id of a delivery."""
    return _ID.fullmatch(text) is not None


def label_of(delivery_id: str, source: str = "") -> str:
    """Return a short name of a delivery for people, up to the second of its time.

    Without its source, a file name that is no partition key shows as its key.
    """
    return labels({delivery_id: file_name(delivery_id.partition("#")[0], source)})[delivery_id]


def labels(files: Mapping[str, str]) -> dict[str, str]:
    """Return a short name of each delivery for people: `my file.csv#20261127T160302`.

    It is the name of the file, and of the id so much that it names one of these deliveries: up to
    the second of its time, up to the microsecond, or all.

    Args:
        files: names of files, by delivery id.
    """
    beginnings = {id_: _beginnings(id_) for id_ in files}
    times = Counter(beginning for several in beginnings.values() for beginning in several)
    found = {}
    for id_, several in beginnings.items():
        short = next((beginning for beginning in several if times[beginning] == 1), id_)
        found[id_] = files[id_] + short[short.index("#") :]
    return found


def _beginnings(delivery_id: str) -> tuple[str, str]:
    to_microsecond, _, _ = delivery_id.rpartition("#")
    to_second, _, _ = to_microsecond.rpartition(".")
    return to_second, to_microsecond
