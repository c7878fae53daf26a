"""The scan of a folder that brings the raw index up to date. Only changed files are read again."""

import json
import os
import sqlite3
import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from lfp_pipeline.raw_zone.folder_store import open_folder
from lfp_pipeline.raw_zone.index_database import transaction
from lfp_pipeline.raw_zone.index_rows import IndexRow, read_columns, replace_rows
from lfp_pipeline.raw_zone.raw_records import is_raw_stem
from lfp_pipeline.raw_zone.sidecars import NOTE, PRUNED, RECORD, REVERTED, read_sidecar

_STABLE_NS = 2_000_000_000
"""Minimum age of a ctime at the scan: a later change could have the same ctime as a younger one."""

_SUFFIXES = (RECORD, NOTE, REVERTED, PRUNED, "raw")


def refresh(index: sqlite3.Connection, root: Path, keys: Collection[str] | None) -> None:
    """Bring an index up to date with some partitions of a raw zone, or with all (None)."""
    changed = _changed(index, root, keys)
    if not changed:
        return
    with transaction(index):  # So that comparison and change see the same state of the index.
        started_ns = time.time_ns()
        index.execute("UPDATE contents SET generation = generation + 1")
        for key, state in _changed(index, root, changed.keys()).items():
            _scan(index, root, key, started_ns)
            if state is None:
                index.execute("DELETE FROM folders WHERE key = ?", (key,))
            else:
                # The state from before the scan, so that a change meanwhile causes another scan.
                inode, changed_ns = state if _is_stable(state[1], started_ns) else (0, 0)
                index.execute(
                    "INSERT OR REPLACE INTO folders VALUES (?, ?, ?)", (key, inode, changed_ns)
                )


_FolderState = tuple[int, int]
"""Inode and ctime of a folder. The ctime moves with each change of names in the folder."""


def _changed(
    index: sqlite3.Connection, root: Path, keys: Collection[str] | None
) -> dict[str, _FolderState | None]:
    """Return the present states of folders that changed since their scan; None: it is gone."""
    scanned, present = _scanned_states(index, keys), _folder_states(root, keys)
    if scanned == present:  # The usual case. This comparison is fast.
        return {}
    changed = {key: state for key, state in present.items() if scanned.get(key) != state}
    gone = scanned.keys() - present.keys()
    return changed | dict.fromkeys(gone if keys is None else gone & set(keys))


def _scanned_states(
    index: sqlite3.Connection, keys: Collection[str] | None
) -> dict[str, _FolderState]:
    """Return the states of folders at their scan: of these partitions at least, or of all."""
    sql, values = "SELECT key, inode, changed_ns FROM folders", []
    (count,) = index.execute("SELECT count(*) FROM folders").fetchone()
    if keys is not None and len(keys) < count // 2:  # Reading all is faster than selecting most.
        sql, values = f"{sql} WHERE key IN (SELECT value FROM json_each(?))", [json.dumps([*keys])]
    return {key: (inode, changed_ns) for key, inode, changed_ns in index.execute(sql, values)}


def _folder_states(root: Path, keys: Collection[str] | None) -> dict[str, _FolderState]:
    states: dict[str, _FolderState] = {}
    with suppress(FileNotFoundError), open_folder(root) as descriptor:
        # Partition keys are ASCII.
        names = filter(str.isascii, os.listdir(descriptor)) if keys is None else keys  # noqa: PTH208
        for name in names:
            try:
                status = os.stat(f"{name}/", dir_fd=descriptor)  # The slash excludes files.
            except (FileNotFoundError, NotADirectoryError):
                continue
            states[name] = (status.st_ino, status.st_ctime_ns)
    return states


def _is_stable(changed_ns: int, now_ns: int) -> bool:
    """Return whether every later change will have another ctime."""
    return changed_ns < now_ns - _STABLE_NS


def _scan(index: sqlite3.Connection, root: Path, key: str, started_ns: int) -> None:
    """Bring the deliveries of a partition up to date. Read only those whose files changed."""
    found = index.execute("SELECT stem, files FROM deliveries WHERE key = ?", (key,))
    indexed = dict(found.fetchall())
    rows = []
    present = _entries(root / key)
    for stem, entries in present.items():
        identity = _identity(entries, started_ns)
        if not identity or indexed.get(stem) != identity:
            rows.append((key, stem, identity, *_read_columns(entries)))
    replace_rows(index, key, rows, gone=indexed.keys() - present.keys())


_Entries = Mapping[str, os.DirEntry[str]]
"""The files of a delivery, by suffix."""


def _entries(folder: Path) -> dict[str, _Entries]:
    """Return the files of all recorded deliveries in a folder, by the stem of their names."""
    deliveries: dict[str, dict[str, os.DirEntry[str]]] = defaultdict(dict)
    missing = (FileNotFoundError, NotADirectoryError, PermissionError)
    with suppress(*missing), os.scandir(folder) as found:
        for entry in found:
            stem, _, suffix = entry.name.rpartition(".")
            if suffix in _SUFFIXES:
                deliveries[stem][suffix] = entry
    return {
        stem: entries
        for stem, entries in deliveries.items()
        if RECORD in entries and is_raw_stem(stem)
    }


def _identity(entries: _Entries, started_ns: int) -> str:
    """Return a text that changes with the files; empty: they may still change without a trace.

    Records and notes need a ctime, because a new file may get the inode of a removed one. Raw files
    need none, because all raw files of one name have the same bytes.
    """
    parts = [f"{suffix} {entries[suffix].inode()}" for suffix in _SUFFIXES if suffix in entries]
    for suffix in (RECORD, NOTE):
        if entry := entries.get(suffix):
            changed_ns = entry.stat().st_ctime_ns
            if not _is_stable(changed_ns, started_ns):
                return ""
            parts.append(str(changed_ns))
    return " ".join(parts)


def _read_columns(entries: _Entries) -> IndexRow:
    """Return the columns of a delivery after `files`, as its files say."""
    note = entries.get(NOTE)
    return read_columns(
        read_sidecar(Path(entries[RECORD].path)),
        read_sidecar(Path(note.path)) if note else None,
        reverted=REVERTED in entries,
        pruned=PRUNED in entries,
        disk_bytes=sum(entry.stat().st_size for entry in entries.values()),
    )
