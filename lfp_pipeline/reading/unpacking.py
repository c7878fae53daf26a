"""From the raw bytes to plain CSV bytes: what packs a file is told by its first bytes."""

import errno
import zipfile
from collections.abc import Generator, Iterator
from pathlib import Path

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.landing.sources import CHUNK_BYTES
from lfp_pipeline.reading import compression, zip_archive

# bz2 gives no number; a damaged zip may send one to a place that is none.
_NOT_OF_THE_DISK = (None, errno.EINVAL)


def is_packed(path: Path) -> bool:
    """Whether the file is compressed in a way that we undo."""
    magic = _magic(path)
    return magic.startswith(zip_archive.MAGIC) or compression.compression_of(magic) is not None


def plain_bytes(path: Path, max_bytes: int) -> Generator[bytes, None, None]:
    """The bytes of a file, unpacked if it is packed, in pieces.

    Args:
        path: a plain file; one of gzip, zstd, bz2 or xz; or a zip with one member.
        max_bytes: so many may come out of a packed one.

    Raises:
        DeliveryRefusedError: the file is damaged, encrypted, not one file, or too large.
    """
    done = 0
    try:
        for piece in filter(None, _unpacked(path)):  # An empty one would be taken for the end.
            done += len(piece)
            if done > max_bytes:
                msg = (
                    f"Unpacked, the file is larger than {max_bytes:,} bytes "
                    "(setting LFP_MAX_UNPACKED_BYTES)."
                )
                raise DeliveryRefusedError(msg)
            yield piece
    except (*compression.DAMAGED, *zip_archive.DAMAGED) as error:
        if isinstance(error, OSError) and error.errno not in _NOT_OF_THE_DISK:
            raise
        msg = f"The compressed file is damaged or cut off: {error}. Deliver it again."
        raise DeliveryRefusedError(msg) from error


def _unpacked(path: Path) -> Iterator[bytes]:
    magic = _magic(path)
    with path.open("rb") as file:
        if magic.startswith(zip_archive.MAGIC):
            with zipfile.ZipFile(file) as archive:
                member = zip_archive.csv_member(archive)
                yield from zip_archive.member_bytes(file, member)
        elif found := compression.compression_of(magic):
            yield from compression.unpack(compression.packed_pieces(file), found.decompressor)
        else:
            yield from iter(lambda: file.read(CHUNK_BYTES), b"")


def _magic(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(compression.MAGIC_BYTES)
