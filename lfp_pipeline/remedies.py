"""What to do about errors that others raise: the system, where a disk is full, and DuckDB."""

import re

from lfp_pipeline.errors import LfpError
from lfp_pipeline.progress import printable, visible

_REMEDIES = {
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


def remedy(error: BaseException) -> str:
    """What to do about an error, as a sentence; nothing where that is not known."""
    text = str(error)
    found = (remedy for pattern, remedy in _REMEDIES.items() if re.search(pattern, text))
    return next((f"{remedy}, then do it again." for remedy in found), "")


def told(error: Exception) -> str:
    """An error as it is told to people: with what to do about it, as far as that is known."""
    if isinstance(error, LfpError):
        return visible(str(error))
    if to_do := remedy(error):
        first_line, _, _ = str(error).partition("\n")  # DuckDB goes on with settings of its own.
        return f"{printable(first_line)}. {to_do}"
    return visible(f"{type(error).__name__}: {error}")
