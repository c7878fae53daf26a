"""From the raw bytes to plain CSV bytes: what packs a file is told by its first bytes."""

import errno
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from zipfile import ZipInfo

from lfp_pipeline.errors import DeliveryRefusedError, ReadingTimeoutError
from lfp_pipeline.reading import compression, zip_archive
from lfp_pipeline.reading.dialect import HEAD_BYTES
from lfp_pipeline.reading.file_formats import (
    PACKED_HEAD_BYTES,
    ZIP_BEGINS,
    packed_kind,
    zip_format_of,
)
from lfp_pipeline.sources.base import CHUNK_BYTES

MOST_TIMES = 1_000
"""So many times its size a packed file may unpack to, once it is more than `FREE_BYTES`.

No file of products is so repetitive, and deflate can do no more than 1,032 times.
"""

FREE_BYTES = 64 << 20
"""So much may come out of any packed file."""

# bz2 gives no number; a damaged zip may send one to a place that is none.
_NOT_OF_THE_DISK = (None, errno.EINVAL)


@dataclass(frozen=True)
class Content:
    """One file in a delivery.

    Attributes:
        name: in a zip with several, in full; otherwise nothing.
        pieces: its plain bytes. They can be had once, and before those of the next.
        notes: what people should know of how it was unpacked, a sentence each. Complete once the
            pieces are exhausted.
    """

    name: str
    pieces: Iterator[bytes]
    notes: list[str] = field(default_factory=list)


def is_packed(path: Path) -> bool:
    """Whether the file is compressed in a way that we undo."""
    return is_packed_head(_magic(path))


def is_packed_head(head: bytes) -> bool:
    """Whether a file that begins so is; `compression.MAGIC_BYTES` of it are enough."""
    return head.startswith(ZIP_BEGINS) or compression.compression_of(head) is not None


def contents(
    path: Path, max_bytes: int, has_header: Callable[[bytes], bool]
) -> Generator[Content, None, None]:
    """The files in a delivery, unpacked if they are packed.

    Args:
        path: a plain file; one of gzip, zstd, bz2 or xz; or a zip, whose members come in the order
            of their names.
        max_bytes: so many may come out of a packed one in all.
        has_header: whether the first `HEAD_BYTES` of a text, in any encoding, hold the header of a
            product file. Decides which texts in a zip are read.

    Raises:
        DeliveryRefusedError: the file, or what is in it, is damaged, encrypted, an archive, too
            large, or not what an honest tool makes. Reading the pieces raises it, too.
    """
    magic, bounds = _magic(path), _Bounds(max_bytes, path.stat().st_size)
    with path.open("rb") as file:
        if magic.startswith(ZIP_BEGINS):
            yield from _zip_contents(file, path, bounds, has_header)
        elif found := compression.compression_of(magic):
            notes: list[str] = []
            pieces = bounds.kept(compression.unpack(file, found, notes))
            yield Content("", _checked(pieces, "What is packed in the file"), notes)
        else:
            yield Content("", _checked(iter(lambda: file.read(CHUNK_BYTES), b""), "The file"))


def _zip_contents(
    file: BinaryIO, path: Path, bounds: "_Bounds", has_header: Callable[[bytes], bool]
) -> Iterator[Content]:
    """Yield the members of a zip that are read, the first of them with a note of the others."""

    def head_of(member: ZipInfo) -> bytes:
        return compression.peek(_member_pieces(file, member), HEAD_BYTES)[0]

    with _refusing_damage("The zip"):
        members = zip_archive.zip_members(path)
    read, skipped = zip_archive.choose_members(members, lambda member: has_header(head_of(member)))
    bounds.check(sum(member.file_size for member in read))
    notes = [f"Skipped in the zip: {zip_archive.names_of(skipped)}."] if skipped else []
    for member in read:
        name = zip_archive.told(member.filename) if len(members) > 1 else ""
        yield Content(name, bounds.kept(_member_pieces(file, member)), notes)
        notes = []


def _member_pieces(file: BinaryIO, member: ZipInfo) -> Iterator[bytes]:
    name = zip_archive.told(member.filename)
    return _checked(zip_archive.member_bytes(file, member), f"{name} in the zip")


class _Bounds:
    """How much may come out of one packed file, all that is in it together."""

    def __init__(self, max_bytes: int, packed_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._most_bytes = max(FREE_BYTES, MOST_TIMES * packed_bytes)
        self._done = 0

    def check(self, size: int) -> None:
        """Refuse a file of which so much comes out, or is to."""
        if size > self._max_bytes:
            msg = (
                f"Unpacked, the file is larger than {self._max_bytes:,} bytes "
                "(setting LFP_MAX_UNPACKED_BYTES)."
            )
            raise DeliveryRefusedError(msg)
        if size > self._most_bytes:
            msg = (
                f"The file unpacks to more than {MOST_TIMES:,} times its size: no file of products "
                "does. If this one does, deliver it unpacked."
            )
            raise DeliveryRefusedError(msg)

    def kept(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The same pieces, as long as they are not too many."""
        for piece in pieces:
            self._done += len(piece)
            self.check(self._done)
            yield piece


def _checked(pieces: Iterator[bytes], what: str) -> Iterator[bytes]:
    """The same pieces, if they are whole and not those of an archive."""
    with _refusing_damage(what):
        head, pieces = compression.peek(pieces, PACKED_HEAD_BYTES)
        if found := zip_format_of(head):
            raise DeliveryRefusedError(found.refusal_of(what))
        if kind := packed_kind(head):
            msg = (
                f"{what} is itself an archive or a packed file ({kind}), and is not unpacked. "
                "Deliver CSV, plain or packed once: as .gz, .zst, .bz2, .xz or .zip."
            )
            raise DeliveryRefusedError(msg)
        yield from pieces


class TimeLimit:
    """A limit of time that begins when it is made; checked between the members of an archive."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        """Raise a ReadingTimeoutError if the time is over."""
        if time.monotonic() > self._end:
            msg = (
                f"Reading the members of the zip took more than {self._seconds:,.0f} s (setting "
                "LFP_MAX_ARCHIVE_SECONDS), and was stopped; nothing was merged. Raise the setting, "
                "or deliver the members in several zips."
            )
            raise ReadingTimeoutError(msg)


@contextmanager
def _refusing_damage(what: str) -> Iterator[None]:
    try:
        yield
    except (*compression.DAMAGED, *zip_archive.DAMAGED) as error:
        if isinstance(error, OSError) and error.errno not in _NOT_OF_THE_DISK:
            raise
        # zstd and lzma have no class of their own for it.
        if "memory" in str(error).lower():
            msg = f"{what} takes too much memory to unpack: {error}. Pack it with a smaller window."
            raise DeliveryRefusedError(msg) from error
        msg = f"{what} is damaged or cut off: {error}. Deliver it again."
        raise DeliveryRefusedError(msg) from error


def _magic(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(compression.MAGIC_BYTES)
