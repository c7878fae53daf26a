"""Sidecars as files beside the raw files."""

import os
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from lfp_pipeline.common.atomic_files import folder_lock, remove_file, write_file
from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.model.delivery import RawName
from lfp_pipeline.raw_zone.index_scan import refresh
from lfp_pipeline.raw_zone.sidecars import RECORD, Sidecar, read_sidecar


class FolderSidecars:
    """Sidecars in the folder of a raw zone, below the folders of its partitions."""

    are_apart = False

    def __init__(self, root: Path) -> None:
        self.root = root
        self._beginning = f"{root}/"

    def read(self, name: RawName, suffix: str) -> Sidecar | None:
        """Return a sidecar; None: there is none."""
        return read_sidecar(self._path(name, suffix))

    def exists(self, name: RawName, suffix: str) -> bool:
        """Return whether there is a sidecar."""
        return os.path.exists(self.describe(name, suffix))  # noqa: PTH110 (half the time)

    def write(
        self, name: RawName, suffix: str, content: bytes, written_ns: int | None = None
    ) -> None:
        """Write a sidecar, or replace it."""
        path = self._path(name, suffix)
        write_file(path, content)
        if written_ns is not None:
            os.utime(path, ns=(written_ns, written_ns))

    def remove(self, name: RawName, suffix: str) -> None:
        """Remove a sidecar, if there is one."""
        remove_file(self._path(name, suffix))

    @contextmanager
    def changing(self, key: str) -> Iterator[None]:
        """Exclude other processes that change the deliveries of a partition, for the block."""
        with folder_lock(self.root / key):
            yield

    def recorded(self, key: str) -> Iterator[str]:
        """Yield the stems of all records of a partition, well-formed or not."""
        missing = (FileNotFoundError, NotADirectoryError, PermissionError)
        with suppress(*missing), os.scandir(self.root / key) as found:
            for entry in found:
                stem, dot, suffix = entry.name.rpartition(".")
                if dot and suffix == RECORD and not stem.startswith("."):
                    yield stem

    def partitions(self) -> Collection[str]:
        """Return the keys of all partitions."""
        with suppress(FileNotFoundError), os.scandir(self.root) as found:
            return [entry.name for entry in found if entry.is_dir()]
        return []

    def describe(self, name: RawName, suffix: str) -> str:
        """Return where a sidecar is, for messages."""
        return f"{self._beginning}{name.key}/{name.stem}.{suffix}"

    def refresh(self, index: sqlite3.Connection, keys: Collection[str] | None) -> None:
        """Bring an index up to date with some partitions, or with all (None)."""
        refresh(index, self.root, keys)

    def now(self) -> datetime:
        """Return the present time of the clock that dates sidecars, in UTC without a zone."""
        return utc_now()

    def _path(self, name: RawName, suffix: str) -> Path:
        return Path(self.describe(name, suffix))
