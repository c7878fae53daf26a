"""Whether a file is being written: the kernel knows which files are open for writing."""

import fcntl
import signal
import sys


def is_open_for_writing(descriptor: int) -> bool:
    """Whether any process has a file open for writing, as far as the kernel tells.

    Linux grants a read lease on a file only while nobody has it open for writing. The lease is let
    go at once: as long as it is held, programs that want to write the file have to wait.

    Args:
        descriptor: of the file, open for reading only.

    Returns:
        False, too, where the kernel does not tell: on other systems, on most network file systems,
        and for files of other users, unless this process has the capability CAP_LEASE.
    """
    if sys.platform != "linux":
        return False
    try:
        # Who opens the file meanwhile has the kernel send a signal to the holder of the lease. That
        # is SIGIO, which ends a process; SIGURG is ignored by default.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
