"""Who may read a file: a copy of it is for nobody else."""

import os
from contextlib import suppress
from dataclasses import dataclass
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
    """

    barriers: tuple[tuple[int, int], ...] = ()

    def mode_in(self, group: int) -> int:
        """The mode of a copy that belongs to a group: it gives nobody but its owner more."""
        mode = _EVERYBODY
        for owners, bits in self.barriers:
            # Members of another group may be on either side of a barrier that parts its own group
            # from all others.
            alike = owners == group or bits == _GROUP_AND_OTHERS
            mode &= _OWNER | (bits if alike else 0)
        return mode


def readers_of(file: int, folders: tuple[tuple[int, int], ...] = ()) -> Readers:
    """Return who may read an open file, and has to come through some folders for it."""
    return Readers((*folders, barrier(file)))


def barrier(descriptor: int) -> tuple[int, int]:
    """Return whom an open file lets read it, or an open folder lets through it.

    With an access list, the mode does not tell whom; then it is the owner alone.
    """
    status = os.fstat(descriptor)
    bits = status.st_mode << 2 if S_ISDIR(status.st_mode) else status.st_mode
    return status.st_gid, 0 if _has_access_list(descriptor) else bits & _GROUP_AND_OTHERS


def _has_access_list(descriptor: int) -> bool:
    with suppress(OSError, AttributeError):  # There is none; or the system knows of none.
        os.getxattr(descriptor, _ACCESS_LIST)
        return True
    return False
