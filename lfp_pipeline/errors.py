"""What can go wrong, by what to do about it; and each error as a message for people."""

import re

from lfp_pipeline.common.text import printable, visible


class LfpError(Exception):
    """Base of every error that lfp_pipeline raises on purpose; its text is meant for people."""


class SettingsError(LfpError):
    """A setting is wrong. Nothing was started."""


class LandingError(LfpError):
    """A source could not be brought into the raw zone.

    Attributes:
        permanent: whether trying again as it is would fail again (a missing file, HTTP 404, a
            full disk).
        retry_after: in so many seconds, the server asks to be tried again; None: it does not say.
    """

    def __init__(self, message: str, *, permanent: bool, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.retry_after = retry_after


class StillWrittenError(LandingError):
    """A file is still being written. That is no failed attempt to take it in."""

    def __init__(self, message: str) -> None:
        super().__init__(message, permanent=False)


class UnreadableError(LandingError):
    """The system does not let a file be read.

    Attributes:
        reason: what it says.
    """

    def __init__(self, message: str, reason: str, *, permanent: bool) -> None:
        super().__init__(message, permanent=permanent)
        self.reason = reason


class RequestNotSentError(LandingError):
    """A server did not get a question, or refuses it: it has not changed its mind by it."""


class RawFileError(LfpError):
    """A raw file is gone, or not what landed: nothing may be read from it."""


class DeliveryRefusedError(LfpError):
    """The delivery itself is bad: nothing of it was taken, and trying again changes nothing."""


class NoHeaderError(DeliveryRefusedError):
    """No line of the delivery names all columns."""


class AnotherHeaderError(DeliveryRefusedError):
    """A record is a header with other columns than the delivery's first one.

    Args:
        place: where it is, such as `Row`, with `number`.
    """

    def __init__(self, place: str, number: int) -> None:
        super().__init__(
            f"{place} {number:,} is a header, and names other columns, or in another order, than "
            "the header of the file. Cut the file in two there, and deliver both parts."
        )


class TooManyRejectsError(DeliveryRefusedError):
    """So many records are rejected that nothing was taken.

    Attributes:
        reason: the commonest one.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class ReaderCrashedError(LfpError):
    """Processes that read the delivery died, or took more than they may have."""


class ReadingTimeoutError(LfpError):
    """Reading an archive takes longer than the settings allow. On another day, it may not."""


class WarehouseBusyError(LfpError):
    """The warehouse stayed in other hands for longer than the settings allow to wait."""


class OperationRefusedError(LfpError):
    """What an operator asks for cannot be done, or would lose something. Nothing was done."""


class RebuildIncompleteError(LfpError):
    """The warehouse was made anew, and what has landed is not all in yet: readers must wait."""


class WarehouseInconsistentError(LfpError):
    """A law does not hold in the warehouse. The transaction was rolled back."""


class WarehouseCorruptError(LfpError):
    """The database file cannot be read as what it was: it is damaged, or something else."""


_HINTS = {
    # DuckDB bounds its spill by what is free on the disk, and calls that a setting.
    r"max_temp_directory_size": (
        "The disk of the data folder (setting LFP_DATA_DIR) has no room for what does not fit into "
        "memory: free some space, or raise LFP_MEMORY_LIMIT"
    ),
    r"No space left on device|Disk quota exceeded|File too large": (
        "The disk of the data folder (setting LFP_DATA_DIR) is full: free some space"
    ),
    r"Read-only file system|Permission denied|Operation not permitted": (
        "Make the data folder (setting LFP_DATA_DIR) and all in it writable for the user that runs "
        "this"
    ),
    r"Out of Memory Error|failed to (pin|offload)|could not allocate": (
        "Raise LFP_MEMORY_LIMIT, or lower LFP_PARALLEL_FILES: files that are read at once share "
        "the memory"
    ),
}


def hint_for(error: BaseException) -> str:
    """What to do about an error, as a sentence; nothing where that is not known."""
    text = str(error)
    found = (hint for pattern, hint in _HINTS.items() if re.search(pattern, text))
    return next((f"{hint}, then do it again." for hint in found), "")


def user_message(error: Exception) -> str:
    """An error as it is told to people: with what to do about it, as far as that is known."""
    if isinstance(error, LfpError):
        return visible(str(error))
    if to_do := hint_for(error):
        first_line, _, _ = str(error).partition("\n")  # DuckDB goes on with settings of its own.
        return f"{printable(first_line)}. {to_do}"
    return visible(f"{type(error).__name__}: {error}")
