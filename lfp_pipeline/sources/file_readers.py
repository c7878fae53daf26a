"""Read permissions of a file, which limit the permissions of its copy."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR

_OWNER = 0o400
_EVERYBODY = 0o444
_GROUP_AND_OTHERS = 0o044
_ACCESS_LIST = "system.posix_acl_access"


@dataclass(frozen=True)
class Readers:
    """Read permissions of a file beside its owner's.

    Attributes:
        barriers: group and permission bits of the file, and of folders above it. The bits are 0o040
            if the group may pass and 0o004 if all others may. Without barriers, everybody may read
            the file.
        folders: group and bits of folders above the file, by path. These are barriers only for a
            copy outside of them.
    """

    barriers: tuple[tuple[int, int], ...] = ()
    folders: Mapping[Path, tuple[int, int]] = field(default_factory=dict)

    def mode_in(self, folder: Path, group: int) -> int:
        """Return the mode of a copy that only its owner and the readers of the file may read."""
        mode = _EVERYBODY
        inside = folder.resolve()
        outside = self.folders.keys() - {inside, *inside.parents}
        for owners, bits in (*self.barriers, *(self.folders[path] for path in outside)):
            # A barrier that treats its group and all others differently says nothing about the
            # members of another group.
            applies = owners == group or bits == _GROUP_AND_OTHERS
            mode &= _OWNER | (bits if applies else 0)
        return mode


def readers_of(file: int, folders: tuple[tuple[int, int], ...] = ()) -> Readers:
    """Return the read permissions of an open file below folders with the given barriers."""
    return Readers((*folders, barrier(file)))


def readers_at(path: Path, file: int) -> Readers:
    """Return the read permissions of a file, by its path and its descriptor."""
    return Readers((barrier(file),), {folder: barrier(folder) for folder in path.resolve().parents})


def barrier(target: int | Path) -> tuple[int, int]:
    """Return the group of a file or folder, and the bits of the users who may read or enter it.

    With an access list, the mode does not name these users; then only the owner may.
    """
    status = os.stat(target)  # noqa: PTH116 (a descriptor is no path)
    bits = status.st_mode << 2 if S_ISDIR(status.st_mode) else status.st_mode
    return status.st_gid, 0 if _has_access_list(target) else bits & _GROUP_AND_OTHERS


def _has_access_list(target: int | Path) -> bool:
    with suppress(OSError, AttributeError):  # The file, or the system, has no access lists.
        os.getxattr(target, _ACCESS_LIST)
        return True
    return False
