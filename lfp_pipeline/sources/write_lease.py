"""Read leases of Linux, which reveal whether a file is open for writing."""

import fcntl
import os
import re
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

_SELF = Path("/proc/self")
_MOUNT_ID = re.compile(r"^mnt_id:\s*(\d+)$", re.MULTILINE)
_REMOTE = re.compile(
    r"9p|acfs|afs|autofs|beegfs|ceph|cifs|coda|davfs|drvfs|fakeowner|fuse.*|gfs2?|glusterfs|gpfs"
    r"|lustre|ncpfs|nfs\d?|ocfs2|orangefs|panfs|prl_fs|pvfs2|smb\d?|smbfs|vboxsf|virtiofs|vmhgfs"
    r"|wekafs"
)
"""Types of file systems whose files are on another machine, or served by a program."""

_KEPT_SECONDS = 1.0
_known: dict[int, tuple[float, bool]] = {}
"""By device: until when it is known, on the monotonic clock, and whether it is remote."""


def is_open_for_writing(descriptor: int) -> bool | None:
    """Return whether any process has a file open for writing; None: the kernel gives no answer.

    Linux grants a read lease on a file only while no process has the file open for writing. The
    lease is released at once, because programs that want to write the file wait for its end. The
    descriptor must be open for reading only.

    There is no answer on other systems; on network file systems and FUSE, where other machines may
    write, and which may refuse a lease although nobody writes; and for files of other users, unless
    this process has the capability CAP_LEASE.
    """
    if sys.platform != "linux":
        return None
    try:
        # If another process opens the file meanwhile, the kernel sends a signal to this one. The
        # default, SIGIO, ends a process; SIGURG is ignored.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        is_open = True
    except OSError:
        return None
    else:
        is_open = False
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return None if _is_remote(descriptor) else is_open


def _is_remote(descriptor: int) -> bool:
    """Return whether a file is on a network file system or FUSE, as far as the kernel shows.

    The answer is kept for a moment: an inbox may have many files, and a computer many mounts.
    """
    device, now = os.fstat(descriptor).st_dev, time.monotonic()
    until, is_remote = _known.get(device, (0.0, False))
    if now >= until:
        is_remote = _is_mount_remote(descriptor)
        _known[device] = now + _KEPT_SECONDS, is_remote
    return is_remote


def _is_mount_remote(descriptor: int) -> bool:
    with suppress(OSError, ValueError):
        found = _MOUNT_ID.search((_SELF / "fdinfo" / str(descriptor)).read_text())
        for mount in (_SELF / "mountinfo").read_text(errors="replace").splitlines():
            ids, _, kind = mount.partition(" - ")
            if found and ids.split()[0] == found[1]:
                return bool(_REMOTE.fullmatch(kind.split()[0]))
    return False
