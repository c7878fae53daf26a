"""From the raw bytes to plain CSV bytes: what packs a file is told by its first bytes."""

import errno
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, BinaryIO, cast

import zstandard

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.landing.sources import CHUNK_BYTES

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_GZIP = b"\x1f\x8b"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_ZSTD = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")  # The latter is to be skipped.
_MAGIC_LENGTH = 4
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

_DAMAGED = (
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    zstandard.ZstdError,
    EOFError,
    # zipfile: a feature that it does not know; no name; a name that is not text, or a place beyond
    # all files.
    NotImplementedError,
    IndexError,
    ValueError,
)

# gzip gives no number; zipfile seeks to where a damaged zip sends it.
_NOT_OF_THE_DISK = (None, errno.EINVAL)


def is_packed(path: Path) -> bool:
    """Whether the file is compressed in a way that we undo."""
    magic = _magic(path)
    return magic in _ZIP or _ZSTD.match(magic) is not None or magic.startswith(_GZIP)


@contextmanager
def open_unpacked(path: Path) -> Iterator[IO[bytes]]:
    """Open the plain bytes of a gzip, zstd or zip file with one member.

    Raises:
        DeliveryRefusedError: the file is damaged, encrypted, or not one file.
    """
    magic = _magic(path)
    with ExitStack() as stack:
        try:
            if magic in _ZIP:
                archive = stack.enter_context(zipfile.ZipFile(path))
                yield stack.enter_context(archive.open(_only_member(archive)))
            elif _ZSTD.match(magic):
                file = stack.enter_context(path.open("rb"))
                yield stack.enter_context(io.BufferedReader(_ZstdFile(file), CHUNK_BYTES))
            else:
                yield cast("IO[bytes]", stack.enter_context(gzip.open(path)))
        except (*_DAMAGED, OSError) as error:
            if isinstance(error, OSError) and error.errno not in _NOT_OF_THE_DISK:
                raise
            msg = f"The compressed file is damaged or cut off: {error}. Deliver it again."
            raise DeliveryRefusedError(msg) from error


def chunks(file: IO[bytes], max_bytes: int) -> Iterator[bytes]:
    """The bytes of an unpacked file, in chunks.

    Raises:
        DeliveryRefusedError: more than `max_bytes` come out.
    """
    done = 0
    while chunk := file.read(CHUNK_BYTES):
        done += len(chunk)
        if done > max_bytes:
            msg = (
                f"Unpacked, the file is larger than {max_bytes:,} bytes "
                "(setting LFP_MAX_UNPACKED_BYTES)."
            )
            raise DeliveryRefusedError(msg)
        yield chunk


class _ZstdFile(io.RawIOBase):
    """The frames of a zstd file, one after the other.

    To zstandard's own reader, a file that is cut off has come to its end.
    """

    _PACKED_BYTES = 1 << 10  # They may unpack to 32,000 times as much, all at once.

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._packed = self._plain = b""

    def readable(self) -> bool:
        return True

    def readinto(self, target: "WriteableBuffer") -> int:
        while not self._plain and self._refill():
            pass
        view = memoryview(target)
        taken = min(len(view), len(self._plain))
        view[:taken] = self._plain[:taken]
        self._plain = self._plain[taken:]
        return taken

    def _refill(self) -> bool:
        packed = self._packed or self._file.read(self._PACKED_BYTES)
        if not packed:
            if self._frame:
                msg = "its last frame is not whole"
                raise EOFError(msg)
            return False
        frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
        self._plain = frame.decompress(packed)
        self._frame, self._packed = (None, frame.unused_data) if frame.eof else (frame, b"")
        return True


def _magic(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAGIC_LENGTH)


def _only_member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = [member for member in archive.infolist() if not _is_packing_litter(member)]
    if any(member.filename == "[Content_Types].xml" for member in members):
        msg = "The file is an Excel workbook, or another Office document. Save it as CSV."
        raise DeliveryRefusedError(msg)
    if len(members) != 1:
        names = ", ".join(member.filename for member in members[:5]) or "none"
        msg = f"The zip holds {len(members)} files ({names}). Deliver a zip with one CSV file."
        raise DeliveryRefusedError(msg)
    only = members[0]
    if only.flag_bits & 1:
        msg = f"{only.filename} in the zip is encrypted. Deliver it without a password."
        raise DeliveryRefusedError(msg)
    if only.compress_type not in _ZIP_METHODS:
        msg = f"{only.filename} in the zip is compressed in a rare way. Zip it with Deflate."
        raise DeliveryRefusedError(msg)
    return only


def _is_packing_litter(member: zipfile.ZipInfo) -> bool:
    """Folders and what macOS adds."""
    path = PurePosixPath(member.filename)
    return member.is_dir() or "__MACOSX" in path.parts or path.name.startswith(".")
