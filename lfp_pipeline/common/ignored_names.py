"""Names of inbox files that are ignored: temporary files, copies, locks, checksums and the like."""

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase, translate

_WILD = re.compile(r"[*?[]")
_NOTHING = r"(?!)"
"""A regular expression that matches nothing."""

# For files and folders.
_UNFINISHED = (
    "*.part *.partial *.tmp *.temp *.crdownload *.opdownload *.download *.filepart *.uploading "
    "*.inprogress *.incomplete *.aria2 *.lftp-pget-status *.!qb *.!ut *.!sync *._copying_ *.sb-*-* "
    "_temporary/"
)
# For files only: a folder with such a name may hold product files.
_COPIES_OF_EDITORS = "*.bak *.backup *.old *.orig *.swp *.swo *~ #*#"
_LOCKS = "~$* .~lock.*# *.lock *.lck"
_CHECKSUMS = (
    "*.md5 *.md5sum *.sha1 *.sha1sum *.sha224 *.sha256 *.sha256sum *.sha384 *.sha512 *.sha512sum "
    "*.crc *.crc32 *.sfv *.b2 *.b3 md5sums sha1sums sha256sums sha512sums *.sig"
)
_SIGNALS = "*.done *.ok *.ready *.trg *.trigger *.flag *.sem *.ctl *.ack _success _started*"
_FILES_OF_SYSTEMS = "Thumbs.db ehthumbs.db desktop.ini *.lnk *.url *.webloc"
_FOLDERS_OF_SYSTEMS = (
    "__MACOSX/ $RECYCLE.BIN/ lost+found/ FOUND.[0-9][0-9][0-9]/ @eaDir/ @tmp/ @Recycle/ #recycle/ "
    "#snapshot/ ~snapshot/ __pycache__/"
)
_WITH_SPACES = ("System Volume Information/", "Network Trash Folder/", "Temporary Items/")

_FILE_PATTERNS = (
    *_COPIES_OF_EDITORS.split(),
    *_LOCKS.split(),
    *_CHECKSUMS.split(),
    *_SIGNALS.split(),
    *_FILES_OF_SYSTEMS.split(),
    "Icon\r",
)
_COMMON_PATTERNS = (".*", *_UNFINISHED.split(), *_FOLDERS_OF_SYSTEMS.split(), *_WITH_SPACES)

IGNORED = (*_COMMON_PATTERNS, *_FILE_PATTERNS)
"""The built-in patterns."""


def checked_pattern(pattern: str) -> str:
    """Return a pattern unchanged.

    Raises:
        ValueError: the pattern can match nothing. The text says what is allowed.
    """
    *folders, last = pattern.removeprefix("/").removesuffix("/").split("/")
    if any(part in {"", ".", ".."} for part in (*folders, last)):
        msg = "a pattern such as *.old (names), drafts/ (folders) or shop/*.csv (paths)"
        raise ValueError(msg)
    return pattern


class IgnoredNames:
    """Matcher of the inbox entries that are ignored, without regard to case.

    A pattern matches names of files and folders; with a `/` at its end, names of folders only; with
    a `/` elsewhere, paths inside the inbox. `*`, `?` and `[...]` never match a `/`. All that an
    ignored folder contains is ignored.
    """

    def __init__(self, more: Sequence[str] = ()) -> None:
        """Compile the built-in patterns and more."""
        patterns = [pattern.lower() for pattern in (*_COMMON_PATTERNS, *more)]
        names = [pattern for pattern in patterns if "/" not in pattern]
        folders = [pattern[:-1] for pattern in patterns if pattern.find("/") == len(pattern) - 1]
        self._is_name = _matching([*names, *(pattern.lower() for pattern in _FILE_PATTERNS)])
        self._is_folder = _matching([*names, *folders])
        self._paths = [pattern for pattern in patterns if "/" in pattern[:-1]]

    def match(self, path: str, *, is_folder: bool) -> bool:
        """Return whether the entry at a path inside the inbox is ignored."""
        path = path.lower()
        name = path.rpartition("/")[2]
        if (self._is_folder if is_folder else self._is_name)(name):
            return True
        if not self._paths:  # Starting the loop below for each file would double the time.
            return False
        return any(_is_path(path, pattern, is_folder=is_folder) for pattern in self._paths)


def _matching(patterns: Iterable[str]) -> Callable[[str], object]:
    """Return a matcher of names. It compares suffixes for patterns such as `*.old`."""
    suffixes, others = [], [_NOTHING]
    for pattern in patterns:
        if pattern.startswith("*") and not _WILD.search(pattern, 1):
            suffixes.append(pattern[1:])
        else:
            others.append(translate(pattern))
    ends, match = tuple(suffixes), re.compile("|".join(others)).match
    return lambda name: name.endswith(ends) or match(name)


def _is_path(path: str, pattern: str, *, is_folder: bool) -> bool:
    if pattern.endswith("/") and not is_folder:
        return False
    names, patterns = path.split("/"), pattern.strip("/").split("/")
    return len(names) == len(patterns) and all(map(fnmatchcase, names, patterns))
