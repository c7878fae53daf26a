"""Bytes of deliveries as objects in a bucket, and copies of them in a folder of this machine.

    <partition key>/<delivered_at>-<sha256, 16 digits>.raw    an object, or its copy

An object appears whole or not at all, and is never replaced by other bytes. A copy gets its name
after its bytes are verified. While a process reads a copy, it holds a lock on it. Without one, a
copy is removed when it is the one that was unused for longest, and all together are too large.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from lfp_pipeline.common.atomic_files import commit_file, stale_temporaries, temporary_sibling
from lfp_pipeline.errors import BucketUnreachableError, RawFileError
from lfp_pipeline.hosts.bucket import Bucket
from lfp_pipeline.model.delivery import Delivery, RawName
from lfp_pipeline.raw_zone.byte_store import HINTS, HasSize

_LIMIT_BYTES = 20 * 2**30
_OWNER_ONLY = 0o600
_LOOK_SECONDS = 600.0
_MAX_UNUSED_NS = 7 * 86_400 * 10**9


class BucketStore:
    """Raw files in a bucket."""

    def __init__(self, bucket: Bucket, copies: Path, limit_bytes: int = _LIMIT_BYTES) -> None:
        """Use a bucket, and a folder for copies of its objects."""
        self._bucket = bucket
        self._copies = copies
        self._limit_bytes = limit_bytes
        self._new_bytes = 0
        self._look_at = 0.0

    def path(self, name: RawName) -> Path:
        """Return the copy of the raw file, which need not exist."""
        return self._copies / name.key / f"{name.stem}.raw"

    def commit(self, file: BinaryIO, temporary: Path, delivery: Delivery) -> None:
        """Upload a finished temporary file, and make it the copy."""
        file.flush()
        name, described = delivery.raw_name, (delivery.size_bytes, delivery.sha256)
        with temporary.open("rb") as complete:
            is_new = self._bucket.put(complete, _object(name), *described)
            if not is_new and not self.is_intact(delivery):  # Another program has put it there.
                self._bucket.put(complete, _object(name), *described, replace=True)
        commit_file(file, temporary, self.path(name))
        self._evict(delivery, coming_bytes=0)

    @contextmanager
    def verified(
        self, delivery: Delivery, touched_ns: Callable[[], int | None], *, full: bool
    ) -> Iterator[Path]:
        """Keep a verified copy of a raw file for the block (see `ByteStore`)."""
        del touched_ns
        path = self.path(delivery.raw_name)
        if full or (path.exists() and path.stat().st_size != delivery.size_bytes):
            path.unlink(missing_ok=True)  # A process that has it open keeps its bytes.
        with ExitStack() as held:
            while not _hold(path, held):
                try:
                    self._download(delivery, path)
                except (OSError, BucketUnreachableError) as error:
                    raise self._error(delivery, error) from error
            yield path

    def _download(self, delivery: Delivery, path: Path) -> None:
        """Copy an object, if its bytes are those that landed."""
        found = self._bucket.look_up(_object(delivery.raw_name))
        if found is None:
            raise FileNotFoundError
        self._evict(delivery, coming_bytes=delivery.size_bytes)
        for _ in stale_temporaries(path.parent):
            pass  # Each is removed after its turn.
        digest = hashlib.sha256()
        with temporary_sibling(path, _OWNER_ONLY) as (file, temporary):
            for chunk in self._bucket.read(found):
                digest.update(chunk)
                file.write(chunk)
            if digest.hexdigest() != delivery.sha256:
                url, hint = self._bucket.url(found.name), HINTS[delivery.kind]
                msg = (
                    f"{url} is not what landed: its sha256 is {digest.hexdigest()}, not "
                    f"{delivery.sha256}. {hint}"
                )
                raise RawFileError(msg)
            commit_file(file, temporary, path)

    def _error(self, delivery: Delivery, error: Exception) -> RawFileError:
        url, hint = self._bucket.url(_object(delivery.raw_name)), HINTS[delivery.kind]
        match error:
            case FileNotFoundError():
                return RawFileError(f"{url} is gone. {hint}")
            case BucketUnreachableError():
                return RawFileError(str(error))
        return RawFileError(f"The copy of {url} in {self._copies} cannot be written: {error}.")

    def is_intact(self, delivery: Delivery) -> bool:
        """Return whether the object has the size and the digest of what landed."""
        found = self._bucket.look_up(_object(delivery.raw_name))
        return (
            found is not None
            and found.size_bytes == delivery.size_bytes
            and found.sha256 in {None, delivery.sha256}
        )

    def touched_ns(self, name: RawName) -> int | None:
        """Return None: an object is not changed, but replaced."""
        del name
        return None

    def size(self, name: RawName) -> int | None:
        """Return the size of the object; None: it is missing."""
        found = self._bucket.look_up(_object(name))
        return found.size_bytes if found else None

    def missing(self, names: Iterable[RawName]) -> list[RawName]:
        """Return those of the deliveries whose objects are missing, by a listing of the bucket."""
        present = {found.name for found in self._bucket.objects()}
        return [name for name in names if _object(name) not in present]

    @contextmanager
    def checking_sizes(self) -> Iterator[HasSize]:
        """Yield a function that trusts the bucket: a request for each file would take too long."""
        yield lambda _name, _size: True

    def remove(self, name: RawName) -> None:
        """Remove the object and its copy, if they are there."""
        self._bucket.delete(_object(name))
        self.path(name).unlink(missing_ok=True)

    def restrict(self, name: RawName, mode: int) -> bool:
        """Do nothing: who may read an object is a matter of the bucket."""
        del name, mode
        return False

    def _evict(self, new: Delivery, *, coming_bytes: int) -> None:
        """Remove old copies, and those that were unused for longest, until there is space.

        Looking at all copies takes its time, so that is done now and then.

        Args:
            new: the delivery whose copy is made.
            coming_bytes: what is still to be written of that copy.
        """
        self._new_bytes += new.size_bytes
        if self._new_bytes < self._limit_bytes // 100 and time.monotonic() < self._look_at:
            return
        self._new_bytes, self._look_at = 0, time.monotonic() + _LOOK_SECONDS
        copies = []
        for path in self._copies.glob("*/*.raw"):
            with suppress(FileNotFoundError):  # Another process has removed it.
                status = path.stat()
                copies.append((status.st_mtime_ns, status.st_size, path))
        total = coming_bytes + sum(size for _, size, _ in copies)
        for used_ns, size, path in sorted(copies):
            is_old = time.time_ns() - used_ns > _MAX_UNUSED_NS
            if total <= self._limit_bytes and not is_old:
                return
            if path != self.path(new.raw_name) and _remove_unused(path):
                total -= size


def _object(name: RawName) -> str:
    return f"{name.key}/{name.stem}.raw"


def _hold(path: Path, held: ExitStack) -> bool:
    """Hold a copy, so that no process removes it; return False if there is none."""
    try:
        file = held.enter_context(path.open("rb"))
        fcntl.flock(file, fcntl.LOCK_SH)
        os.utime(path)
    except FileNotFoundError:
        return False
    return os.fstat(file.fileno()).st_nlink > 0


def _remove_unused(path: Path) -> bool:
    """Remove a copy that no process holds; return whether it is gone."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        path.unlink(missing_ok=True)
    return True
