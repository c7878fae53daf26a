"""Error classes by cause, hints on what to do, and the message that users see for an error."""

import re

from lfp_pipeline.common.text import printable, visible


class LfpError(Exception):
    """Base of all errors that lfp_pipeline raises; the text is written for users.

    `except LfpError as error: print(error)` handles everything that can be expected to go wrong.
    """


class SettingsError(LfpError):
    """A setting has a wrong name or value. Nothing was started."""


class LandingError(LfpError):
    """A source could not be fetched or stored in the raw zone.

    Attributes:
        permanent: whether a retry without a change would fail as well (a missing file, HTTP 404, a
            full disk).
        retry_after: seconds after which the server asks for a retry; None: the server asks for
            none.
    """

    def __init__(self, message: str, *, permanent: bool, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.retry_after = retry_after


class BucketUnreachableError(LandingError):
    """The server of a bucket does not answer, or refuses a request."""

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message, permanent=permanent)


class StillWrittenError(LandingError):
    """Another program is still writing the file. This does not count as a failed attempt."""

    def __init__(self, message: str) -> None:
        super().__init__(message, permanent=False)


class UnreadableError(LandingError):
    """The operating system denied reading a file.

    Attributes:
        reason: the message of the operating system.
    """

    def __init__(self, message: str, reason: str, *, permanent: bool) -> None:
        super().__init__(message, permanent=permanent)
        self.reason = reason


class RequestNotSentError(LandingError):
    """The request did not reach the server, or was rejected; the server's state is unchanged."""


class RawFileError(LfpError):
    """The bytes of a delivery cannot be read, are gone, or differ from what landed.

    Attributes:
        is_lost: whether they are gone or differ.
    """

    def __init__(self, message: str, *, is_lost: bool = True) -> None:
        super().__init__(message)
        self.is_lost = is_lost


class DeliveryRefusedError(LfpError):
    """The content of a delivery is not acceptable. No row was merged; a retry changes nothing."""


class NoHeaderError(DeliveryRefusedError):
    """No line of the delivery names all required columns."""


class AnotherHeaderError(DeliveryRefusedError):
    """A record is a second header, with other columns than the first header of the delivery.

    Args:
        place: what `number` counts, such as `Row`.
        number: the position of that record.
    """

    def __init__(self, place: str, number: int) -> None:
        super().__init__(
            f"{place} {number:,} is a header, and names other columns, or in another order, than "
            "the header of the file. Cut the file in two there, and deliver both parts."
        )


class TooManyRejectsError(DeliveryRefusedError):
    """More records were rejected than the settings allow. No row was merged.

    Attributes:
        reason: the most frequent reason of the rejects.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class ReaderCrashedError(LfpError):
    """A process that read the delivery crashed, or exceeded its memory or time limit."""


class ReadingTimeoutError(LfpError):
    """Reading an archive exceeded the time limit of the settings. A retry may succeed."""


class WarehouseBusyError(LfpError):
    """Another process had the database open for longer than the settings allow to wait."""


class CatalogUnreachableError(WarehouseBusyError):
    """The PostgreSQL server of the catalog does not answer, or refuses the connection."""


class BrokerUnreachableError(LfpError):
    """The Redis server of the workers does not answer, or refuses the connection."""


class OperationRefusedError(LfpError):
    """An operator's request is not possible, or would lose data. Nothing was changed."""


class RebuildIncompleteError(LfpError):
    """The database was rebuilt, and not all landed deliveries are merged yet."""


class WarehouseInconsistentError(LfpError):
    """An invariant was violated in the database. The transaction was rolled back."""


class WarehouseCorruptError(LfpError):
    """The database file is damaged, or is no DuckDB database."""


_HINTS = {
    # DuckDB limits its spill to the free space of the disk, and reports that limit as a setting.
    r"max_temp_directory_size": (
        "The disk of the data folder (setting LFP_DATA_DIR) has no room for data that exceeds the "
        "memory limit: free some space, or raise LFP_MEMORY_LIMIT"
    ),
    r"No space left on device|Disk quota exceeded|File too large": (
        "The disk of the data folder (setting LFP_DATA_DIR) is full: free some space"
    ),
    r"Read-only file system|Permission denied|Operation not permitted": (
        "Make the data folder (setting LFP_DATA_DIR) and its content writable for the user of this "
        "process"
    ),
    r"Out of Memory Error|failed to (pin|offload)|could not allocate": (
        "Raise LFP_MEMORY_LIMIT, or lower LFP_PARALLEL_FILES: files that are read at once share "
        "the memory"
    ),
}


def hint_for(error: BaseException) -> str:
    """Return a sentence on what to do about an error; an empty text if that is unknown."""
    text = str(error)
    found = (hint for pattern, hint in _HINTS.items() if re.search(pattern, text))
    return next((f"{hint}, then try again." for hint in found), "")


def user_message(error: Exception) -> str:
    """Return the text that users see for an error, with a hint on what to do if one is known."""
    if isinstance(error, LfpError):
        return visible(str(error))
    if hint := hint_for(error):
        first_line, _, _ = str(error).partition("\n")  # DuckDB adds advice on its own settings.
        return f"{printable(first_line)}. {hint}"
    return visible(f"{type(error).__name__}: {error}")
