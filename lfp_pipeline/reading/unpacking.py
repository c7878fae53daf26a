"""Unpacking of raw files to plain CSV bytes; the first bytes of a file show how it is packed."""

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

MAX_RATIO = 1_000
"""Largest ratio of unpacked to packed size, for more than `FREE_BYTES`.

No product file is so repetitive; the largest ratio of deflate is 1,032.
"""

FREE_BYTES = 64 << 20
"""Unpacked size that is allowed for every packed file."""

# bz2 gives no number; a damaged zip may lead to an invalid offset.
_NOT_OF_THE_DISK = (None, errno.EINVAL)


@dataclass(frozen=True)
class Content:
    """One file in a delivery.

    Attributes:
        name: in a zip of several files, the full name of this one; otherwise empty.
        pieces: its plain bytes. They can be read once, before those of the next file.
        notes: sentences for people about the unpacking, complete after the last piece.
    """

    name: str
    pieces: Iterator[bytes]
    notes: list[str] = field(default_factory=list)


def is_packed(path: Path) -> bool:
    """Return whether a file is packed in a way that is unpacked here."""
    return is_packed_head(_magic(path))


def is_packed_head(head: bytes) -> bool:
    """Return whether a file is packed so, by its first `compression.MAGIC_BYTES` bytes."""
    return head.startswith(ZIP_BEGINS) or compression.compression_of(head) is not None


def contents(
    path: Path, max_bytes: int, has_header: Callable[[bytes], bool]
) -> Generator[Content, None, None]:
    """Yield the files in a delivery, unpacked if they are packed.

    The delivery is a plain file; a gzip, zstd, bz2 or xz file; or a zip, whose members follow in
    the order of their names. Unpacked, it may have at most `max_bytes`. `has_header` decides which
    texts in a zip are read, by their first `HEAD_BYTES` in any encoding.

    Raises:
        DeliveryRefusedError: the file or a member is damaged, encrypted, an archive, too large, or
            malformed on purpose. Reading the pieces raises this error, too.
    """
    magic, bounds = _magic(path), _Bounds(max_bytes, path.stat().st_size)
    with path.open("rb") as file:
        if magic.startswith(ZIP_BEGINS):
            yield from _zip_contents(file, path, bounds, has_header)
        elif found := compression.compression_of(magic):
            notes: list[str] = []
            pieces = bounds.limited(compression.unpack(file, found, notes))
            yield Content("", _checked(pieces, "What is packed in the file"), notes)
        else:
            yield Content("", _checked(iter(lambda: file.read(CHUNK_BYTES), b""), "The file"))


def _zip_contents(
    file: BinaryIO, path: Path, bounds: "_Bounds", has_header: Callable[[bytes], bool]
) -> Iterator[Content]:
    """Yield the members of a zip that are read; a note of the first names the skipped ones."""

    def head_of(member: ZipInfo) -> bytes:
        return compression.peek(_member_pieces(file, member), HEAD_BYTES)[0]

    with _refusing_damage("The zip"):
        members = zip_archive.zip_members(path)
    read, skipped = zip_archive.choose_members(members, lambda member: has_header(head_of(member)))
    bounds.check(sum(member.file_size for member in read))
    notes = [f"Skipped in the zip: {zip_archive.names_of(skipped)}."] if skipped else []
    for member in read:
        name = zip_archive.shown_name(member.filename) if len(members) > 1 else ""
        yield Content(name, bounds.limited(_member_pieces(file, member)), notes)
        notes = []


def _member_pieces(file: BinaryIO, member: ZipInfo) -> Iterator[bytes]:
    name = zip_archive.shown_name(member.filename)
    return _checked(zip_archive.member_bytes(file, member), f"{name} in the zip")


class _Bounds:
    """The limits of the unpacked size of one packed file, with all its members."""

    def __init__(self, max_bytes: int, packed_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._ratio_bytes = max(FREE_BYTES, MAX_RATIO * packed_bytes)
        self._done = 0

    def check(self, size: int) -> None:
        """Refuse a file with this unpacked size, if the size is beyond the limits."""
        if size > self._max_bytes:
            msg = (
                f"Unpacked, the file is larger than {self._max_bytes:,} bytes "
                "(setting LFP_MAX_UNPACKED_BYTES). Raise the setting, or deliver the file in parts."
            )
            raise DeliveryRefusedError(msg)
        if size > self._ratio_bytes:
            msg = (
                f"The file unpacks to more than {MAX_RATIO:,} times its size, as no product file "
                "does. If this is one, deliver it unpacked."
            )
            raise DeliveryRefusedError(msg)

    def limited(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the same pieces, up to the limits."""
        for piece in pieces:
            self._done += len(piece)
            self.check(self._done)
            yield piece


def _checked(pieces: Iterator[bytes], what: str) -> Iterator[bytes]:
    """Yield the same pieces, unless they are damaged or those of another packed file."""
    with _refusing_damage(what):
        head, pieces = compression.peek(pieces, PACKED_HEAD_BYTES)
        if found := zip_format_of(head):
            raise DeliveryRefusedError(found.refusal(what))
        if kind := packed_kind(head):
            msg = (
                f"{what} is itself an archive or a packed file ({kind}), and is not unpacked. "
                "Deliver CSV, plain or packed once: as .gz, .zst, .bz2, .xz or .zip."
            )
            raise DeliveryRefusedError(msg)
        yield from pieces


class TimeLimit:
    """A time limit for reading an archive, from its creation on; checked between the members."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        """Raise a ReadingTimeoutError after the limit."""
        if time.monotonic() > self._end:
            msg = (
                f"Reading the members of the zip took more than {self._seconds:,.0f} s (setting "
                "LFP_MAX_ARCHIVE_SECONDS), and was stopped; nothing was merged. Raise the setting, "
                "or deliver the members in several zips."
            )
            raise ReadingTimeoutError(msg)


@contextmanager
def _refusing_damage(what: str) -> Iterator[None]:
    """Turn the errors of unpacking damaged bytes into refusals."""
    try:
        yield
    except (*compression.DAMAGED, *zip_archive.DAMAGED) as error:
        if isinstance(error, OSError) and error.errno not in _NOT_OF_THE_DISK:
            raise
        # zstd and lzma have no class of their own for a lack of memory.
        if "memory" in str(error).lower():
            msg = f"{what} takes too much memory to unpack: {error}. Pack it with a smaller window."
            raise DeliveryRefusedError(msg) from error
        msg = f"{what} is damaged or cut off: {error}. Deliver it again."
        raise DeliveryRefusedError(msg) from error


def _magic(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(compression.MAGIC_BYTES)
