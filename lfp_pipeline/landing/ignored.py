"""Which files of the inbox are ignored: those that programs leave beside the real ones."""

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase, translate

_WILD = re.compile(r"[*?[]")
_NOTHING = r"(?!)"
"""A regular expression that matches nothing."""

# Of files and folders.
_UNFINISHED = (
    "*.part *.partial *.tmp *.temp *.crdownload *.opdownload *.download *.filepart *.uploading "
    "*.inprogress *.incomplete *.aria2 *.lftp-pget-status *.!qb *.!ut *.!sync *._copying_ *.sb-*-* "
    "_temporary/"
)
# Of files only: a folder of such a name is somebody's, and may be full of products.
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

_OF_FILES = (
    *_COPIES_OF_EDITORS.split(),
    *_LOCKS.split(),
    *_CHECKSUMS.split(),
    *_SIGNALS.split(),
    *_FILES_OF_SYSTEMS.split(),
    "Icon\r",
)
_OF_ALL = (".*", *_UNFINISHED.split(), *_FOLDERS_OF_SYSTEMS.split(), *_WITH_SPACES)

IGNORED = (*_OF_ALL, *_OF_FILES)
"""The patterns that always hold."""


def ignored_pattern(pattern: str) -> str:
    """Return a pattern, if it is one.

    Raises:
        ValueError: it can match nothing; with what is allowed.
    """
    *folders, last = pattern.removeprefix("/").removesuffix("/").split("/")
    if any(part in {"", ".", ".."} for part in (*folders, last)):
        msg = "a pattern such as *.old (names), drafts/ (folders) or shop/*.csv (paths)"
        raise ValueError(msg)
    return pattern


class IgnoredNames:
    """Tells by patterns which entries of the inbox are ignored, in any case of letters.

    A pattern of a setting matches the names of files and folders; one that ends in `/`, those of
    folders only; one with a `/` elsewhere, paths inside the inbox. `*`, `?` and `[...]` match no
    `/`. With a folder, all that is in it is ignored.
    """

    def __init__(self, more: Sequence[str] = ()) -> None:
        """For the patterns that always hold, and some more."""
        patterns = [pattern.lower() for pattern in (*_OF_ALL, *more)]
        names = [pattern for pattern in patterns if "/" not in pattern]
        folders = [pattern[:-1] for pattern in patterns if pattern.find("/") == len(pattern) - 1]
        self._is_name = _matching([*names, *(pattern.lower() for pattern in _OF_FILES)])
        self._is_folder = _matching([*names, *folders])
        self._paths = [pattern for pattern in patterns if "/" in pattern[:-1]]

    def match(self, path: str, *, is_folder: bool) -> bool:
        """Whether an entry is ignored, by its path inside the inbox."""
        path = path.lower()
        name = path.rpartition("/")[2]
        if (self._is_folder if is_folder else self._is_name)(name):
            return True
        if not self._paths:  # To begin a loop for each file would take as long as the rest.
            return False
        return any(_is_path(path, pattern, is_folder=is_folder) for pattern in self._paths)


def _matching(patterns: Iterable[str]) -> Callable[[str], object]:
    """Return a matcher of names; it compares suffixes for patterns such as `*.old`."""
    ends, others = [], [_NOTHING]
    for pattern in patterns:
        if pattern.startswith("*") and not _WILD.search(pattern, 1):
            ends.append(pattern[1:])
        else:
            others.append(translate(pattern))
    has_end, match = tuple(ends), re.compile("|".join(others)).match
    return lambda name: name.endswith(has_end) or match(name)


def _is_path(path: str, pattern: str, *, is_folder: bool) -> bool:
    if pattern.endswith("/") and not is_folder:
        return False
    parts, wanted = path.split("/"), pattern.strip("/").split("/")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))
