"""Entries of an inbox that must not be ingested: they are skipped or ignored."""

import os
import shutil
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

IGNORED_BY_SETTING = "*-old.csv"

_BAIT = b"sku,name,description\r\ns0,Bait,x\r\ns1,Bait,x\r\nbait,Bait,x\r\n"
"""If a run ingested this, the tables would show it."""


def _to_a_file(entry: Path) -> None:
    entry.symlink_to(_outside(entry) / "bait.csv")


def _socket(entry: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        folder = os.open(entry.parent, os.O_RDONLY)
        # The path of a socket may have 107 bytes at most.
        listening.bind(f"/proc/self/fd/{folder}/{entry.name}")
        os.close(folder)


def _closed_folder(entry: Path) -> None:
    _folder(entry)
    entry.chmod(0)


def _folder(entry: Path) -> None:
    entry.mkdir()
    (entry / "bait.csv").write_bytes(_BAIT)


def _file(entry: Path) -> None:
    entry.write_bytes(_BAIT)


def _outside(entry: Path) -> Path:
    """Return a folder beside the inbox, with a file that a run could ingest."""
    folder = entry.parent.with_name("outside")
    folder.mkdir(exist_ok=True)
    (folder / "bait.csv").write_bytes(_BAIT)
    return folder


_SKIPPED: Mapping[str, tuple[str, Callable[[Path], None]]] = {
    "file-link.csv": ("a link", _to_a_file),
    "folder-link": ("a link", lambda entry: entry.symlink_to(_outside(entry))),
    "dangling.csv": ("a link", lambda entry: entry.symlink_to("nowhere.csv")),
    "loop": ("a link", lambda entry: entry.symlink_to(entry.parent)),
    "pipe.csv": ("a pipe", os.mkfifo),
    "socket.csv": ("a socket", _socket),
}
_IGNORED: Mapping[str, Callable[[Path], None]] = {
    "a.csv.part": _file,
    "b.csv.TMP": lambda entry: os.link(_outside(entry) / "bait.csv", entry),
    ".hidden.csv": _file,
    "~$a.csv": _to_a_file,
    "a.csv.md5": _file,
    "_SUCCESS": os.mkfifo,
    "__MACOSX": _folder,
    "b-old.csv": _file,
}
_CLOSED = "closed"

ODD_NAMES = [*_SKIPPED, *_IGNORED, *([_CLOSED] if os.geteuid() else [])]
"""Without the closed folder for root, who may read it."""


def draw_names(random: Random) -> frozenset[str]:
    """Draw the odd entries that are there from now on."""
    return frozenset(random.sample(ODD_NAMES, random.choice([0, 1, 3, len(ODD_NAMES)])))


def lay(inbox: Path, names: frozenset[str]) -> None:
    """Make exactly these odd entries in the inbox."""
    clear(inbox)
    for name in names:
        if name in _SKIPPED:
            _SKIPPED[name][1](inbox / name)
        else:
            _IGNORED.get(name, _closed_folder)(inbox / name)


def clear(inbox: Path) -> None:
    """Remove all odd entries."""
    for name in ODD_NAMES:
        entry = inbox / name
        if entry.is_dir() and not entry.is_symlink():
            entry.chmod(0o700)
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


def skipped(names: frozenset[str]) -> dict[str, str]:
    """Return the entries that a listing must name as skipped, with their kinds."""
    closed = {f"{_CLOSED}/": "Permission denied"} if _CLOSED in names else {}
    return {name: _SKIPPED[name][0] for name in names & _SKIPPED.keys()} | closed


def ignored(names: frozenset[str]) -> set[str]:
    """Return the entries that a listing must name as ignored."""
    return {f"{name}/" if _IGNORED[name] is _folder else name for name in names & _IGNORED.keys()}
