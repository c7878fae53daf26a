"""Bytes of deliveries as files in a folder.

Hashing a file before each reading would cost about as much as the reading. But a file's ctime moves
with each change, and no program can set it back. So a record has the ctime of the raw file at the
landing. If the ctime is the same, so are the bytes. If not (the file was changed, or restored from
a copy), the file is hashed.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_IMODE
from typing import BinaryIO

from lfp_pipeline.common.atomic_files import commit_file, write_file
from lfp_pipeline.errors import RawFileError
from lfp_pipeline.model.delivery import Delivery, RawName
from lfp_pipeline.raw_zone.byte_store import HasSize, restoring
from lfp_pipeline.raw_zone.sidecars import MARKERS, PRUNED, RECORD, Sidecar, read_sidecar


class FolderStore:
    """Raw files in the folder of a raw zone, below the folders of its partitions."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._beginning = f"{root}/"

    def path(self, name: RawName) -> Path:
        """Return the raw file."""
        return Path(f"{self._beginning}{name.key}/{name.stem}.raw")  # Faster than joining.

    def describe(self, name: RawName) -> str:
        """Return the raw file, for messages."""
        return str(self.path(name))

    def commit(self, file: BinaryIO, temporary: Path, delivery: Delivery) -> None:
        """Rename a finished temporary file to the raw file, so that it survives a power cut."""
        commit_file(file, temporary, self.path(delivery.raw_name))

    @contextmanager
    def verified(
        self, delivery: Delivery, touched_ns: Callable[[], int | None], *, full: bool
    ) -> Iterator[Path]:
        """Verify the raw file of a delivery (see `ByteStore`)."""
        path, hint = delivery.path, restoring(delivery)
        try:
            if full or not _is_untouched(path, touched_ns):
                require_digest(path, delivery, hint)
        except FileNotFoundError:
            msg = f"{path} is gone. {hint}"
            raise RawFileError(msg) from None
        except OSError as error:
            msg = f"{path} cannot be read: {error.strerror or error}. {hint}"
            raise RawFileError(msg, is_lost=False) from error
        yield path

    def is_intact(self, delivery: Delivery) -> bool:
        """Return whether the raw file has the bytes that landed, by hashing it."""
        try:
            with self.verified(delivery, lambda: None, full=True):
                return True
        except RawFileError:
            return False

    def touched_ns(self, name: RawName) -> int | None:
        """Return the ctime of the raw file; None: it is missing, as that of a pruned delivery."""
        with suppress(FileNotFoundError):
            return self.path(name).stat().st_ctime_ns
        return None

    def size(self, name: RawName) -> int | None:
        """Return the size of the raw file; None: it is missing."""
        try:
            return self.path(name).stat().st_size
        except FileNotFoundError:
            return None

    def missing(self, names: Iterable[RawName]) -> list[RawName]:
        """Return those of the deliveries whose raw files are missing."""
        return [name for name in names if self.size(name) is None]

    def names(self) -> Iterator[tuple[RawName, str]]:
        """Yield name and suffix of all files, by partition."""
        for path in self.root.glob("*/[!.]*.*"):
            yield RawName(path.parent.name, path.stem), path.suffix[1:]

    def keep_record(self, name: RawName, content: bytes) -> None:
        """Write a copy of a record to where it would be on one machine, unless it is there."""
        path = self.path(name).with_suffix(f".{RECORD}")
        if not path.exists() or path.read_bytes() != content:
            write_file(path, content)

    def kept_beside(self, name: RawName) -> Mapping[str, Sidecar]:
        """Return the copy of a record, and the markers from when one machine had the folder."""
        path = self.path(name)
        found = {
            suffix: read_sidecar(path.with_suffix(f".{suffix}"))
            for suffix in (RECORD, *MARKERS)
            if suffix != PRUNED  # Its bytes are there.
        }
        return {suffix: sidecar for suffix, sidecar in found.items() if sidecar is not None}

    @contextmanager
    def checking_sizes(self) -> Iterator[HasSize]:
        """Yield a function that is fast: below a descriptor, the kernel resolves shorter paths."""
        with open_folder(self.root) as root:

            def has_size(name: RawName, size: int) -> bool:
                try:
                    return os.stat(f"{name.key}/{name.stem}.raw", dir_fd=root).st_size == size
                except FileNotFoundError:
                    return False

            yield has_size

    def remove(self, name: RawName) -> None:
        """Remove the raw file, if it exists."""
        self.path(name).unlink(missing_ok=True)

    def restrict(self, name: RawName, mode: int) -> bool:
        """Remove the permissions that a mode lacks; return whether there were any."""
        path = self.path(name)
        present = S_IMODE(path.stat().st_mode)
        if present & mode == present:
            return False
        path.chmod(present & mode)
        return True


def _is_untouched(path: Path, touched_ns: Callable[[], int | None]) -> bool:
    return path.stat().st_ctime_ns == touched_ns()


def require_digest(path: Path, delivery: Delivery, hint: str) -> None:
    """Raise a RawFileError if a file does not have the bytes of a delivery."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != delivery.sha256:
        msg = f"{path} is not what landed: its sha256 is {found}, not {delivery.sha256}. {hint}"
        raise RawFileError(msg)


@contextmanager
def open_folder(folder: Path) -> Iterator[int]:
    """Open a folder for the block. Below its descriptor, the kernel resolves shorter paths."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
