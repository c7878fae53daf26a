"""Zips: their members, looked at before anything is unpacked, and their bytes."""

import stat
import struct
import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO

from isal import isal_zlib

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading.compression import inflater, packed_pieces, unpack

MAGIC = (b"PK\x03\x04", b"PK\x05\x06")

DAMAGED = (
    zipfile.BadZipFile,
    # A feature that zipfile does not know; no name; a name that is not text, or a place beyond all
    # files; a header that is cut off.
    NotImplementedError,
    IndexError,
    ValueError,
    struct.error,
)
"""What reading a damaged zip may raise."""

_MOST_ENTRIES = 10_000
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_LOCAL_MAGIC = b"PK\x03\x04"
_ENCRYPTED = 1


def csv_member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """The one file in a zip that is not litter.

    Raises:
        DeliveryRefusedError: there is not one, or it is not what an honest tool makes.
        DAMAGED: the zip is.
    """
    entries = archive.infolist()
    if any(entry.filename == "[Content_Types].xml" for entry in entries):
        msg = "The file is an Excel workbook, or another Office document. Save it as CSV."
        raise DeliveryRefusedError(msg)
    if len(entries) > _MOST_ENTRIES:
        msg = f"The zip has {len(entries):,} entries; more than {_MOST_ENTRIES:,} are refused."
        raise DeliveryRefusedError(msg)
    _check_places(entries)
    members = [entry for entry in entries if not _is_litter(entry)]
    if len(members) != 1:
        names = ", ".join(member.filename for member in members[:5]) or "none"
        msg = f"The zip holds {len(members)} files ({names}). Deliver a zip with one CSV file."
        raise DeliveryRefusedError(msg)
    _check(members[0])
    return members[0]


def member_bytes(file: BinaryIO, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """The plain bytes of a member of the zip in `file`.

    Raises:
        BadZipFile: they are not those that the directory tells of.
        DAMAGED: they cannot be unpacked.
    """
    file.seek(member.header_offset)
    magic, name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    if magic != _LOCAL_MAGIC:
        msg = f"{member.filename} is not where the directory says"
        raise zipfile.BadZipFile(msg)
    file.seek(name_length + extra_length, 1)
    packed = packed_pieces(file, member.compress_size)
    deflated = member.compress_type == zipfile.ZIP_DEFLATED
    size, checksum = 0, 0
    for piece in unpack(packed, inflater) if deflated else packed:
        size += len(piece)
        checksum = isal_zlib.crc32(piece, checksum)
        yield piece
    if (size, checksum) != (member.file_size, member.CRC):
        msg = f"{member.filename} is not as long as it was, or its checksum differs"
        raise zipfile.BadZipFile(msg)


def _check_places(entries: list[zipfile.ZipInfo]) -> None:
    """Entries that share bytes are made to unpack to more than there is."""
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            msg = f"{entry.filename} begins within what is before it"
            raise zipfile.BadZipFile(msg)
        end = entry.header_offset + _LOCAL_HEADER.size + entry.compress_size


def _check(member: zipfile.ZipInfo) -> None:
    name, path = member.filename, _path(member)
    if member.flag_bits & _ENCRYPTED:
        msg = f"{name} in the zip is encrypted. Deliver it without a password."
        raise DeliveryRefusedError(msg)
    if member.compress_type not in _METHODS:
        msg = f"{name} in the zip is compressed in a rare way. Zip it with Deflate."
        raise DeliveryRefusedError(msg)
    if stat.S_ISLNK(member.external_attr >> 16):
        msg = f"{name} in the zip is a symbolic link. Zip the file that it leads to."
        raise DeliveryRefusedError(msg)
    if path.is_absolute() or ".." in path.parts or path.parts[0].endswith(":"):
        msg = f"{name} in the zip leads out of it. Zip the file by its plain name."
        raise DeliveryRefusedError(msg)


def _is_litter(entry: zipfile.ZipInfo) -> bool:
    """Folders and what macOS adds."""
    path = _path(entry)
    return entry.is_dir() or "__MACOSX" in path.parts or path.name.startswith(".")


def _path(entry: zipfile.ZipInfo) -> PurePosixPath:
    return PurePosixPath(entry.filename.replace("\\", "/"))
