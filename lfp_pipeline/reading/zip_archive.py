"""Zips: the check of their members before the unpacking, the choice of members, and their bytes."""

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
    # An unknown feature; a missing name; a name that is no text, or an offset beyond all files; a
    # header that is cut off.
    NotImplementedError,
    IndexError,
    ValueError,
    struct.error,
)
"""Errors of reading a damaged zip."""

_MAX_ENTRIES = 10_000
_MAX_SHOWN = 200
_MAX_DIRECTORY_BYTES = 4 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 1

_CSV_SUFFIXES = {".csv", ".tsv", ".tab"}
_TEXT_SUFFIXES = {".txt", ".dat", ".asc", ""}
_CLUTTER = {".ds_store", "thumbs.db", "desktop.ini"}


def zip_members(path: Path) -> list[ZipInfo]:
    """Return the files in a zip except clutter, in the order of their names: at least one.

    Raises:
        DeliveryRefusedError: the zip has no file, or an entry is malformed on purpose.
        DAMAGED: the zip is damaged.
    """
    with _DirectoryFile(path) as file, zipfile.ZipFile(file) as archive:
        entries, end = archive.infolist(), archive.start_dir
        file.seek(0)
        found = zip_format_of(file.read(PACKED_HEAD_BYTES))
    if any(entry.filename == "[Content_Types].xml" for entry in entries):
        found = OFFICE
    if found:
        raise DeliveryRefusedError(found.refusal())
    if len(entries) > _MAX_ENTRIES:
        msg = (
            f"The zip has {len(entries):,} entries; more than {_MAX_ENTRIES:,} are refused. "
            "Deliver the files in several zips."
        )
        raise DeliveryRefusedError(msg)
    _check_places(entries, end)
    for entry in entries:
        _check_entry(entry)
    members = sorted(filterfalse(_is_clutter, entries), key=lambda member: member.filename)
    if not members:
        msg = "The zip holds no file. Deliver a zip with a CSV file, or with several."
        raise DeliveryRefusedError(msg)
    for member in members:
        _check_kind(member)
    return members


def choose_members(
    members: Sequence[ZipInfo], has_header: Callable[[ZipInfo], bool]
) -> tuple[list[ZipInfo], list[ZipInfo]]:
    """Return the members of a zip to read and the skipped ones, each in the order of `members`.

    Read are the members with the name of a CSV file, and those with the name of a text and with a
    header. If there are none, all texts are read, so that the errors explain what is wrong. A lone
    member is read whatever its name.

    Raises:
        DeliveryRefusedError: no member can be read, or a text cannot be unpacked.
    """
    lone = len(members) == 1
    suffixes = _CSV_SUFFIXES | _TEXT_SUFFIXES
    readable = [member for member in members if lone or _suffix(member) in suffixes]
    if not readable:
        msg = f"The zip holds no CSV file, but {names_of(members)}. Add a .csv file to the zip."
        raise DeliveryRefusedError(msg)
    ((name, times),) = Counter(str(_path_of(member)) for member in readable).most_common(1)
    if times > 1:
        msg = f"The zip holds {shown_name(name)} {times} times. Zip each file only once."
        raise DeliveryRefusedError(msg)
    for member in readable:
        _check_packing(member)
    if lone:
        return readable, []
    data = [m for m in readable if _suffix(m) in _CSV_SUFFIXES or has_header(m)]
    names = {member.filename for member in data or readable}
    return data or readable, [member for member in members if member.filename not in names]


def names_of(members: Sequence[ZipInfo]) -> str:
    """Return the names of the first members and the number of the others, for people."""
    return preview([shown_name(member.filename) for member in members])


def _suffix(member: ZipInfo) -> str:
    return _path_of(member).suffix.lower()


def member_bytes(file: BinaryIO, member: ZipInfo) -> Iterator[bytes]:
    """Yield the plain bytes of a member of the zip in `file`.

    Raises:
        BadZipFile: the bytes do not match the directory.
        DAMAGED: the bytes cannot be unpacked.
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
    """A zip file with a limit for the size of its directory, which zipfile reads at once."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > _MAX_DIRECTORY_BYTES:
            msg = (
                f"The directory of the zip is {size:,} bytes long; more than "
                f"{_MAX_DIRECTORY_BYTES:,} are refused. Deliver the files in several zips."
            )
            raise DeliveryRefusedError(msg)
        return super().read(-1 if size is None else size)


def _check_places(entries: Sequence[ZipInfo], directory: int) -> None:
    """Refuse entries that overlap, and bytes before the first entry.

    Overlapping entries unpack to more than the zip contains. Bytes before the first entry, such as
    another zip, would not be read.
    """
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            msg = f"{shown_name(entry.filename)} begins within the entry before it"
            raise zipfile.BadZipFile(msg)
        if end == 0 < entry.header_offset:
            msg = f"its directory does not cover the first {entry.header_offset:,} bytes"
            raise zipfile.BadZipFile(msg)
        end = entry.header_offset + _LOCAL_HEADER.size + entry.compress_size
    if end > directory:
        msg = "its last entry ends within its directory"
        raise zipfile.BadZipFile(msg)


def _check_entry(entry: ZipInfo) -> None:
    """Refuse names that no honest tool writes, though no file is written under them."""
    path = _path_of(entry)
    if not entry.filename:
        msg = "an entry has no name"
        raise zipfile.BadZipFile(msg)
    if path.is_absolute() or ".." in path.parts or "".join(path.parts[:1]).endswith(":"):
        raise _refusal(entry, "leads out of it. Zip the file by its plain name.")
    if entry.is_dir() and entry.file_size:
        raise _refusal(entry, "is named as a folder, but has content. Zip it again.")


def _check_kind(member: ZipInfo) -> None:
    """Refuse a member that is not a plain file, or is itself packed."""
    mode = member.external_attr >> 16
    if stat.S_ISLNK(mode):
        raise _refusal(member, "is a symbolic link. Zip the file that it leads to.")
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
        raise _refusal(member, "is a device or a pipe. Zip plain files only.")
    if is_named_packed(member.filename):
        raise _refusal(member, "is itself an archive or a workbook. Zip the CSV files themselves.")


def _check_packing(member: ZipInfo) -> None:
    """Refuse a member that cannot be unpacked."""
    if member.flag_bits & _ENCRYPTED:
        raise _refusal(member, "is encrypted. Deliver it without a password.")
    if member.compress_type not in _METHODS:
        raise _refusal(member, "is compressed in a rare way. Zip it with Deflate.")


def _refusal(entry: ZipInfo, fault: str) -> DeliveryRefusedError:
    return DeliveryRefusedError(f"{shown_name(entry.filename)} in the zip {fault}")


def shown_name(name: str) -> str:
    """Return a name for messages and rejects, shortened, and without unprintable characters."""
    printable = "".join(mark if mark.isprintable() else "\ufffd" for mark in name)
    return printable if len(name) <= _MAX_SHOWN else f"{printable[:99]}…{printable[-100:]}"


def _is_clutter(entry: ZipInfo) -> bool:
    """Return whether an entry is a folder, or a file that macOS or Windows adds."""
    path = _path_of(entry)
    named_so = path.name.startswith("._") or path.name.lower() in _CLUTTER
    return entry.is_dir() or "__MACOSX" in path.parts or named_so


def _path_of(entry: ZipInfo) -> PurePosixPath:
    return PurePosixPath(entry.filename.replace("\\", "/"))
