"""What a delivery is, and how it is named."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

_WITHOUT_MARKS = str.maketrans("", "", "-:")


class Kind(StrEnum):
    """What a delivery holds."""

    PRODUCTS = "products"
    DELETION = "deletion"  # skus, under a header, that it deletes


@dataclass(frozen=True)
class TextFormat:
    """What is known of how a file is written, beside its bytes.

    Attributes:
        encoding: what the sources file says; Python's name. A byte order mark overrides it.
        charset: what the server says; Python's name. It counts where the bytes are not UTF-8.
        delimiter: what the sources file says: one ASCII character.
    """

    encoding: str | None = None
    charset: str | None = None
    delimiter: str | None = None

    def __str__(self) -> str:
        """What is known, for people: `encoding cp1251, delimiter ';'`."""
        parts = (
            self.encoding and f"encoding {self.encoding}",
            self.charset and f"charset {self.charset}",
            self.delimiter and f"delimiter {self.delimiter!r}",
        )
        return ", ".join(filter(None, parts)) or "none"


@dataclass(frozen=True)
class Delivery:
    """One version of one source file, in the raw zone.

    Attributes:
        partition_key: the source file, through all its versions.
        delivered_at: the time that decides which version is newer, in UTC without a zone, to the
            microsecond (see `delivery_time`).
        sha256: of the exact bytes, in hex.
        source: where it came from, without credentials.
        size_bytes: of the raw file.
        landed_at: when it reached the raw zone, in UTC without a zone.
        path: of the raw file.
        kind: what it holds.
        text_format: how it is written, as far as its source says.
        stated_at: when its source says that this version came to be, in UTC without a zone; None:
            at `delivered_at`, or the source does not say.
        source_ctime_ns: when the file that it was read from was last written, moved or touched;
            None: it was no file of this machine, or that was not recorded.
        completes: the id of an earlier delivery of the partition that is the begin of this one, and
            ends inside a record: an unfinished upload.
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
    def version_time(self) -> datetime:
        """The time by which its source tells this version from others."""
        return self.stated_at or self.delivered_at

    @property
    def is_dated_ahead(self) -> bool:
        """Whether its source dates it after it landed."""
        return self.kind is Kind.PRODUCTS and self.version_time > self.landed_at

    @property
    def delivery_id(self) -> str:
        """The delivery's name: the same wherever and whenever these bytes are delivered.

        Ids of one `delivered_at` sort as their partition keys do, because `#` sorts before every
        character that a key may hold. So (delivered_at, delivery_id, row_number) is a total order
        of all rows ever delivered.
        """
        return f"{self.partition_key}#{stamp(self.delivered_at)}#{self.sha256[:16]}"

    @property
    def order_key(self) -> tuple[datetime, str]:
        """What deliveries are ordered by: of two, the greater is the newer."""
        return self.delivered_at, self.delivery_id


def stamp(moment: datetime) -> str:
    """A moment as a compact name that sorts as time does: 20261120T081952.123456Z."""
    # strftime does not pad years before 1000 everywhere; isoformat does.
    return moment.isoformat(timespec="microseconds").translate(_WITHOUT_MARKS) + "Z"


def parse_stamp(text: str) -> datetime:
    """Return the moment that `stamp` has written.

    Raises:
        ValueError: it has not.
    """
    return datetime.fromisoformat(text.removesuffix("Z"))
