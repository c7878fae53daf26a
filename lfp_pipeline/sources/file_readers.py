"""Who may read a file: a copy of it is for nobody else."""

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
    """Who may read a file beside its owner.

    Attributes:
        barriers: the file and the folders above it, as far as they count. Of each, the group, and
            the bits 0o040 and 0o004 of those whom it lets through: this group, and all others.
            Without any, everybody may read the file.
        folders: those above it that are a barrier only for a copy that does not lie in them.
    """

    barriers: tuple[tuple[int, int], ...] = ()
    folders: Mapping[Path, tuple[int, int]] = field(default_factory=dict)

    def mode_in(self, folder: Path, group: int) -> int:
        """The mode of a copy in a folder, of a group: it gives nobody but its owner more."""
        mode = _EVERYBODY
        place = folder.resolve()
        others = (self.folders[one] for one in self.folders.keys() - {place, *place.parents})
        for owners, bits in (*self.barriers, *others):
            # Members of another group may be on either side of a barrier that parts its own group
            # from all others.
            alike = owners == group or bits == _GROUP_AND_OTHERS
            mode &= _OWNER | (bits if alike else 0)
        return mode


def readers_of(file: int, folders: tuple[tuple[int, int], ...] = ()) -> Readers:
    """Return who may read an open file, and has to come through some folders for it."""
    return Readers((*folders, barrier(file)))


def readers_at(path: Path, file: int) -> Readers:
    """Return who may read the file that is open, and lies at a path."""
    return Readers((barrier(file),), {folder: barrier(folder) for folder in path.resolve().parents})


def barrier(place: int | Path) -> tuple[int, int]:
    """Return whom a file lets read it, or a folder lets through it.

    With an access list, the mode does not tell whom; then it is the owner alone.

    Args:
        place: the path, or a descriptor of what is open.
    """
    status = os.stat(place)  # noqa: PTH116 (it may be a descriptor)
    bits = status.st_mode << 2 if S_ISDIR(status.st_mode) else status.st_mode
    return status.st_gid, 0 if _has_access_list(place) else bits & _GROUP_AND_OTHERS


def _has_access_list(place: int | Path) -> bool:
    with suppress(OSError, AttributeError):  # There is none; or the system knows of none.
        os.getxattr(place, _ACCESS_LIST)
        return True
    return False
