"""The scan that brings the raw index up to date: only what has changed is read again."""

import json
import os
import sqlite3
import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from lfp_pipeline.errors import LandingError
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.raw_zone.index_database import microseconds, transaction
from lfp_pipeline.raw_zone.raw_records import is_record_name, read_record
from lfp_pipeline.raw_zone.status_notes import read_status_note

_SETTLED_NS = 2_000_000_000
"""A change that is younger than this at the scan may be followed by one with the same time."""

_SUFFIXES = ("json", "outcome", "reverted", "pruned", "raw")


def refresh(index: sqlite3.Connection, root: Path, keys: Collection[str] | None) -> None:
    """Have the index tell what some folders of a raw zone tell, or all."""
    changed = _changed(index, root, keys)
    if not changed:
        return
    with transaction(index):  # What is compared and what is written are of one state.
        started_ns = time.time_ns()
        index.execute("UPDATE contents SET generation = generation + 1")
        for key, state in _changed(index, root, changed.keys()).items():
            _scan(index, root, key, started_ns)
            if state is None:
                index.execute("DELETE FROM folders WHERE key = ?", (key,))
            else:
                # With the state from before the scan: what changes meanwhile is scanned again.
                inode, changed_ns = state if _is_settled(state[1], started_ns) else (0, 0)
                index.execute(
                    "INSERT OR REPLACE INTO folders VALUES (?, ?, ?)", (key, inode, changed_ns)
                )


_FolderState = tuple[int, int]
"""Inode and ctime, which the kernel moves with each change of names in the folder."""


def _changed(
    index: sqlite3.Connection, root: Path, keys: Collection[str] | None
) -> dict[str, _FolderState | None]:
    """Return the folders that are not as they were when they were scanned, as they are."""
    known, present = _known_states(index, keys), _folder_states(root, keys)
    changed = {key: state for key, state in present.items() if known.get(key) != state}
    gone = known.keys() - present.keys()
    return changed | dict.fromkeys(gone if keys is None else gone & set(keys))


def _known_states(
    index: sqlite3.Connection, keys: Collection[str] | None
) -> dict[str, _FolderState]:
    """Return the folders as they were when they were scanned: at least these, or all."""
    sql, values = "SELECT key, inode, changed_ns FROM folders", []
    (count,) = index.execute("SELECT count(*) FROM folders").fetchone()
    if keys is not None and len(keys) < count // 2:  # To read all of them is faster than most.
        sql, values = f"{sql} WHERE key IN (SELECT value FROM json_each(?))", [json.dumps([*keys])]
    return {key: (inode, changed_ns) for key, inode, changed_ns in index.execute(sql, values)}


def _folder_states(root: Path, keys: Collection[str] | None) -> dict[str, _FolderState]:
    states = {}
    try:
        descriptor = os.open(root, os.O_RDONLY)
    except FileNotFoundError:
        return {}
    try:
        # A name that is no ASCII is no partition key.
        names = filter(str.isascii, os.listdir(descriptor)) if keys is None else keys  # noqa: PTH208
        for name in names:
            with suppress(FileNotFoundError, NotADirectoryError):
                status = os.stat(f"{name}/", dir_fd=descriptor)  # Of a folder, or of none.
                states[name] = (status.st_ino, status.st_ctime_ns)
    finally:
        os.close(descriptor)
    return states


def _is_settled(changed_ns: int, now_ns: int) -> bool:
    """Whether what changes from now on has another time."""
    return changed_ns < now_ns - _SETTLED_NS


def _scan(index: sqlite3.Connection, root: Path, key: str, started_ns: int) -> None:
    """Bring the deliveries of a folder up to date; only those are read whose files changed."""
    found = index.execute("SELECT stem, files FROM deliveries WHERE key = ?", (key,))
    known = dict(found.fetchall())
    rows = []
    present = _entries(root / key)
    for stem, entries in present.items():
        seen = _seen(entries, started_ns)
        if not seen or known.get(stem) != seen:
            rows.append((key, stem, seen, *_told(entries)))
    gone = known.keys() - present.keys()
    index.executemany(
        "DELETE FROM deliveries WHERE key = ? AND stem = ?", [(key, stem) for stem in gone]
    )
    index.executemany(f"INSERT OR REPLACE INTO deliveries VALUES ({', '.join('?' * 13)})", rows)


_Entries = Mapping[str, os.DirEntry[str]]
"""The files of a delivery, by suffix."""


def _entries(folder: Path) -> dict[str, _Entries]:
    """Return the files of all deliveries in a folder that have a record, by the name's stem."""
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
        if "json" in entries and is_record_name(entries["json"].name)
    }


def _seen(entries: _Entries, started_ns: int) -> str:
    """Return what tells these files from others of the same names; empty: nothing does, yet.

    Inodes alone do not: that of a removed file is the next one's. Of raw files they do: under one
    name, all have the same bytes.
    """
    seen = [f"{suffix} {entries[suffix].inode()}" for suffix in _SUFFIXES if suffix in entries]
    for suffix in ("json", "outcome"):
        if entry := entries.get(suffix):
            changed_ns = entry.stat().st_ctime_ns
            if not _is_settled(changed_ns, started_ns):
                return ""
            seen.append(str(changed_ns))
    return " ".join(seen)


def _told(entries: _Entries) -> tuple[object, ...]:
    """Return what the files of a delivery tell, in the order of the columns."""
    version_us = size_bytes = source_ctime_ns = landed_us = None
    noted: tuple[str | None, str | None, int | None] = (None, None, None)
    # Whoever asks for the record tells of what is wrong with it.
    with suppress(LandingError):
        record = read_record(Path(entries["json"].path))
        version_us, size_bytes = microseconds(record.version_time), record.size_bytes
        source_ctime_ns = record.source_ctime_ns
        landed_us = microseconds(record.landed_at)
    reverted, pruned = "reverted" in entries, "pruned" in entries
    if note := entries.get("outcome"):
        with suppress(FileNotFoundError):
            read = read_status_note(Path(note.path))
            desired = Status.REVERTED if reverted else Status.MERGED
            noted = read.reconciled_status(desired), read.database_id, read.noted_ns
    disk_bytes = sum(entry.stat().st_size for entry in entries.values())
    of_record = source_ctime_ns, disk_bytes, landed_us
    return version_us, size_bytes, *noted, reverted, pruned, *of_record
