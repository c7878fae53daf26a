"""Which members of a zip are read: by their names, and by the headers of texts."""

from collections import Counter
from collections.abc import Callable, Sequence
from zipfile import ZipInfo

from lfp_pipeline.common.text import preview
from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading.zip_archive import check_packing, path_of, told

_CSV_SUFFIXES = {".csv", ".tsv", ".tab"}
_TEXT_SUFFIXES = {".txt", ".dat", ".asc", ""}


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
    ((name, times),) = Counter(str(path_of(member)) for member in readable).most_common(1)
    if times > 1:
        msg = f"The zip holds {told(name)} {times} times, of which only one can be meant."
        raise DeliveryRefusedError(msg)
    for member in readable:
        check_packing(member)
    if lone:
        return readable, []
    data = [one for one in readable if _suffix(one) in _CSV_SUFFIXES or has_header(one)]
    names = {member.filename for member in data or readable}
    return data or readable, [member for member in members if member.filename not in names]


def names_of(members: Sequence[ZipInfo]) -> str:
    """Return the names of the first members, and how many more there are, for people."""
    return preview([told(member.filename) for member in members])


def _suffix(member: ZipInfo) -> str:
    return path_of(member).suffix.lower()
