"""Zips: their members, looked at before anything is unpacked, and their bytes."""

import io
import stat
import struct
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import filterfalse
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from zipfile import ZipInfo

from isal import isal_zlib

from lfp_pipeline.common.text import preview
from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading.compression import inflate, packed_pieces
from lfp_pipeline.reading.file_formats import (
    OFFICE,
    PACKED_HEAD_BYTES,
    ZIP_MEMBER,
    is_named_packed,
    zip_format_of,
)

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
_MOST_TOLD = 200
_MOST_DIRECTORY_BYTES = 4 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 1

_CSV_SUFFIXES = {".csv", ".tsv", ".tab"}
_TEXT_SUFFIXES = {".txt", ".dat", ".asc", ""}
_LITTER = {".ds_store", "thumbs.db", "desktop.ini"}


def zip_members(path: Path) -> list[ZipInfo]:
    """Return the files in a zip that are not litter, in the order of their names: at least one.

    Raises:
        DeliveryRefusedError: there is none, or an entry is not what an honest tool makes.
        DAMAGED: the zip is.
    """
    with _DirectoryFile(path) as file, zipfile.ZipFile(file) as archive:
        entries, end = archive.infolist(), archive.start_dir
        file.seek(0)
        found = zip_format_of(file.read(PACKED_HEAD_BYTES))
    if any(entry.filename == "[Content_Types].xml" for entry in entries):
        found = OFFICE
    if found:
        raise DeliveryRefusedError(found.refusal)
    if len(entries) > _MOST_ENTRIES:
        msg = f"The zip has {len(entries):,} entries; more than {_MOST_ENTRIES:,} are refused."
        raise DeliveryRefusedError(msg)
    _check_places(entries, end)
    for entry in entries:
        _check_entry(entry)
    members = sorted(filterfalse(_is_litter, entries), key=lambda member: member.filename)
    if not members:
        msg = "The zip holds no file. Deliver a zip with a CSV file, or with several."
        raise DeliveryRefusedError(msg)
    for member in members:
        _check_kind(member)
    return members


def choose_members(
    members: Sequence[ZipInfo], has_header: Callable[[ZipInfo], bool]
) -> tuple[list[ZipInfo], list[ZipInfo]]:
    """Choose the members of a zip that are read.

    These are the members named as CSV, and those named as text that have a header. Where there is
    none, all that are named as text are read, so that the errors say what is wrong with them. A
    lone member is read whatever its name.

    Args:
        members: all files in the zip.
        has_header: whether a member has the header of a product file; asked of texts only.

    Returns:
        The members that are read, and those that are skipped, each in the order of `members`.

    Raises:
        DeliveryRefusedError: no member can be read, or one that may have to be cannot be unpacked.
    """
    lone = len(members) == 1
    readable = [one for one in members if lone or _suffix(one) in _CSV_SUFFIXES | _TEXT_SUFFIXES]
    if not readable:
        msg = f"The zip holds no CSV file, but {names_of(members)}. Add a .csv file to the zip."
        raise DeliveryRefusedError(msg)
    ((name, times),) = Counter(str(_path_of(member)) for member in readable).most_common(1)
    if times > 1:
        msg = f"The zip holds {told(name)} {times} times, of which only one can be meant."
        raise DeliveryRefusedError(msg)
    for member in readable:
        _check_packing(member)
    if lone:
        return readable, []
    data = [one for one in readable if _suffix(one) in _CSV_SUFFIXES or has_header(one)]
    names = {member.filename for member in data or readable}
    return data or readable, [member for member in members if member.filename not in names]


def names_of(members: Sequence[ZipInfo]) -> str:
    """Return the names of the first members, and how many more there are, for people."""
    return preview([told(member.filename) for member in members])


def _suffix(member: ZipInfo) -> str:
    return _path_of(member).suffix.lower()


def member_bytes(file: BinaryIO, member: ZipInfo) -> Iterator[bytes]:
    """The plain bytes of a member of the zip in `file`.

    Raises:
        BadZipFile: they are not those that the directory tells of.
        DAMAGED: they cannot be unpacked.
    """
    file.seek(member.header_offset)
    magic, name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    if magic != ZIP_MEMBER:
        msg = "it is not where the directory says"
        raise zipfile.BadZipFile(msg)
    file.seek(name_length + extra_length, 1)
    packed = packed_pieces(file, member.compress_size)
    deflated = member.compress_type == zipfile.ZIP_DEFLATED
    size, checksum = 0, 0
    for piece in inflate(packed) if deflated else packed:
        size += len(piece)
        if size > member.file_size:
            break
        checksum = isal_zlib.crc32(piece, checksum)
        yield piece
    if (size, checksum) != (member.file_size, member.CRC):
        msg = "it is not as long as it was, or its checksum differs"
        raise zipfile.BadZipFile(msg)


class _DirectoryFile(io.FileIO):
    """A zip whose directory is read: all of it at once, so it must fit into memory."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > _MOST_DIRECTORY_BYTES:
            msg = (
                f"The directory of the zip is {size:,} bytes long; more than "
                f"{_MOST_DIRECTORY_BYTES:,} are refused."
            )
            raise DeliveryRefusedError(msg)
        return super().read(-1 if size is None else size)


def _check_places(entries: Sequence[ZipInfo], directory: int) -> None:
    """Entries that share bytes are made to unpack to more than there is.

    And what is before the first of them would not be read: that of another zip, say.
    """
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            msg = f"{told(entry.filename)} begins within what is before it"
            raise zipfile.BadZipFile(msg)
        if end == 0 < entry.header_offset:
            msg = f"its directory does not tell what the first {entry.header_offset:,} bytes are"
            raise zipfile.BadZipFile(msg)
        end = entry.header_offset + _LOCAL_HEADER.size + entry.compress_size
    if end > directory:
        msg = "what is in it ends within its directory"
        raise zipfile.BadZipFile(msg)


def _check_entry(entry: ZipInfo) -> None:
    """Nothing is written by its name, but an honest tool gives no such name."""
    name, path = entry.filename, _path_of(entry)
    if not name:
        msg = "an entry has no name"
        raise zipfile.BadZipFile(msg)
    if path.is_absolute() or ".." in path.parts or "".join(path.parts[:1]).endswith(":"):
        msg = f"{told(name)} in the zip leads out of it. Zip the file by its plain name."
        raise DeliveryRefusedError(msg)
    if entry.is_dir() and entry.file_size:
        msg = f"{told(name)} in the zip is a folder by its name, but has content. Zip it anew."
        raise DeliveryRefusedError(msg)


def _check_kind(member: ZipInfo) -> None:
    """Refuse what is no plain file, or holds other files."""
    name, mode = member.filename, member.external_attr >> 16
    if stat.S_ISLNK(mode):
        msg = f"{told(name)} in the zip is a symbolic link. Zip the file that it leads to."
        raise DeliveryRefusedError(msg)
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
        msg = f"{told(name)} in the zip is a device or a pipe. Zip plain files only."
        raise DeliveryRefusedError(msg)
    if is_named_packed(name):
        msg = (
            f"{told(name)} in the zip is itself an archive or a workbook. Zip CSV files, not "
            "what they are packed in."
        )
        raise DeliveryRefusedError(msg)


def _check_packing(member: ZipInfo) -> None:
    """Refuse a member that cannot be unpacked."""
    name = member.filename
    if member.flag_bits & _ENCRYPTED:
        msg = f"{told(name)} in the zip is encrypted. Deliver it without a password."
        raise DeliveryRefusedError(msg)
    if member.compress_type not in _METHODS:
        msg = f"{told(name)} in the zip is compressed in a rare way. Zip it with Deflate."
        raise DeliveryRefusedError(msg)


def told(name: str) -> str:
    """A name for messages and rejects: of any length and any characters, it was made by others."""
    printable = "".join(one if one.isprintable() else "\ufffd" for one in name)
    return printable if len(name) <= _MOST_TOLD else f"{printable[:99]}…{printable[-100:]}"


def _is_litter(entry: ZipInfo) -> bool:
    """Folders, and what macOS and Windows add."""
    path = _path_of(entry)
    named_so = path.name.startswith("._") or path.name.lower() in _LITTER
    return entry.is_dir() or "__MACOSX" in path.parts or named_so


def _path_of(entry: ZipInfo) -> PurePosixPath:
    """Return the name of an entry as a path."""
    return PurePosixPath(entry.filename.replace("\\", "/"))
