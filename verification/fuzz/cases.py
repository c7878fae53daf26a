"""A case: files, and how they are read. It can be written as JSON, to be repeated."""

import json
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from verification.fuzz.packings import PACKINGS, damaged

RECORD_BYTES = 2_000_000


@dataclass(frozen=True)
class File:
    """A file as it is delivered.

    Attributes:
        text: the bytes that were written, UTF-8 where they are text.
        start: where the first record begins; None: the header may be damaged, too.
        header: the names in the header.
        encoding: the encoding of the text, with a byte order mark if it is not UTF-8.
        packing: a name of `PACKINGS`.
        damage: the seed of the damage to the packed bytes; None: there is none.
        microseconds: the time of the delivery.
    """

    text: bytes
    start: int | None
    delimiter: str
    header: tuple[str, ...]
    encoding: str = "utf-8"
    packing: str = "plain"
    damage: int | None = None
    key: str = "a.csv"
    microseconds: int = 1

    @property
    def encoded(self) -> bytes:
        """The text in its encoding, before it is packed."""
        if self.encoding == "utf-8":
            return self.text
        return ("\ufeff" + self.text.decode()).encode(self.encoding)

    @property
    def raw(self) -> bytes:
        """The bytes that are delivered."""
        packed = PACKINGS[self.packing](self.encoded)
        return packed if self.damage is None else damaged(packed, Random(self.damage))


@dataclass(frozen=True)
class Case:
    """Files, and how they are read.

    Attributes:
        way: `read` each in turn, `merge` them together, or load each `directly`.
        record_bytes: the limit of a record; a small one makes DuckDB's buffers short.
        max_reject_share: a file with a larger share of rejects is refused.
        null_tokens: texts that stand for an empty value.
        require_all_cells: whether every short row is a reject.
    """

    way: str
    files: tuple[File, ...]
    record_bytes: int = RECORD_BYTES
    threads: int = 2
    max_reject_share: float = 1.0
    null_tokens: tuple[str, ...] = ()
    require_all_cells: bool = False

    def to_json(self) -> str:
        """Return the case as text."""
        return json.dumps(asdict(self), default=lambda raw: raw.decode("latin-1"))

    @classmethod
    def from_json(cls, text: str) -> "Case":
        """Return the case that was written as text."""
        fields = json.loads(text)
        tokens = tuple(fields.get("null_tokens", ()))
        return cls(**fields | {"files": tuple(map(_file, fields["files"])), "null_tokens": tokens})


def _file(fields: dict[str, Any]) -> File:
    text, header = fields["text"].encode("latin-1"), tuple(fields["header"])
    return File(**fields | {"text": text, "header": header})
