"""Bytes of deliveries as objects in a bucket, which are read from copies on this machine.

    <partition key>/<delivered_at>-<sha256, 16 digits>.raw     the bytes
    <partition key>/<delivered_at>-<sha256, 16 digits>.json    a copy of the record

An object appears whole or not at all, and is never replaced by other bytes.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import BinaryIO

from lfp_pipeline.common.atomic_files import commit_file, stale_temporaries, temporary_sibling
from lfp_pipeline.common.clock import microseconds
from lfp_pipeline.errors import RawFileError
from lfp_pipeline.hosts.bucket import Bucket
from lfp_pipeline.model.delivery import Delivery, RawName
from lfp_pipeline.raw_zone.byte_store import HasSize, restoring
from lfp_pipeline.raw_zone.local_copies import LocalCopies
from lfp_pipeline.raw_zone.sidecars import RECORD, Sidecar

_OWNER_ONLY = 0o600
_MAX_RECORD_BYTES = 2**20


class BucketStore:
    """Raw files in a bucket."""

    def __init__(self, bucket: Bucket, copies: LocalCopies) -> None:
        """Use a bucket, and copies of its objects."""
        self._bucket = bucket
        self._copies = copies

    def path(self, name: RawName) -> Path:
        """Return the copy of the raw file, which need not exist."""
        return self._copies.path(name)

    def describe(self, name: RawName) -> str:
        """Return the URL of the object, for messages."""
        return self._bucket.url(_object(name))

    def commit(self, file: BinaryIO, temporary: Path, delivery: Delivery) -> None:
        """Upload a finished temporary file, and make it the copy."""
        file.flush()
        name, described = delivery.raw_name, (delivery.size_bytes, delivery.sha256)
        with temporary.open("rb") as complete:
            is_new = self._bucket.put(complete, _object(name), *described)
            if not is_new and not self.is_intact(delivery):  # Another program has put it there.
                self._bucket.put(complete, _object(name), *described, replace=True)
        commit_file(file, temporary, self.path(name))
        self._copies.make_room(delivery, coming_bytes=0)

    @contextmanager
    def verified(
        self, delivery: Delivery, touched_ns: Callable[[], int | None], *, full: bool
    ) -> Iterator[Path]:
        """Keep a verified copy of a raw file for the block (see `ByteStore`)."""
        del touched_ns
        path, is_new = self.path(delivery.raw_name), False
        with ExitStack() as held:
            while True:
                with self._naming_copies():
                    copy = self._copies.hold(delivery.raw_name, held)
                if copy and (is_new or _is_good(copy, delivery, full=full)):
                    break
                self._download(delivery, path)
                is_new = True
            if full and not is_new:  # The copy stays: other processes may read it by its name.
                self._copy(delivery, None)
            yield path

    def _download(self, delivery: Delivery, path: Path) -> None:
        """Make a copy of an object, if its bytes are those that landed."""
        with self._naming_copies():
            self._copies.make_room(delivery, coming_bytes=delivery.size_bytes)
            for _ in stale_temporaries(path.parent):
                pass  # Each is removed after its turn.
            with temporary_sibling(path, _OWNER_ONLY) as (file, temporary):
                self._copy(delivery, file)
                commit_file(file, temporary, path)

    @contextmanager
    def _naming_copies(self) -> Iterator[None]:
        """Raise a RawFileError if a copy cannot be opened or written."""
        try:
            yield
        except OSError as error:
            msg = (
                f"The copies of raw files in {self._copies.folder} cannot be used: {error}. This "
                "user must be able to read and write them."
            )
            raise RawFileError(msg, is_lost=False) from error

    def _copy(self, delivery: Delivery, file: BinaryIO | None) -> None:
        """Verify the bytes of an object; write them to a file, if one is given."""
        found = self._bucket.look_up(_object(delivery.raw_name))
        digest = hashlib.sha256()
        try:
            for chunk in self._bucket.read(found) if found else ():
                digest.update(chunk)
                if file:
                    file.write(chunk)
        except FileNotFoundError:  # It was removed or replaced meanwhile.
            found = None
        url = self.describe(delivery.raw_name)
        if found is None:
            msg = f"{url} is gone. {restoring(delivery)}"
            raise RawFileError(msg)
        if digest.hexdigest() != delivery.sha256:
            msg = (
                f"{url} is not what landed: its sha256 is {digest.hexdigest()}, not "
                f"{delivery.sha256}. Remove it first. {restoring(delivery)}"
            )
            raise RawFileError(msg)

    def is_intact(self, delivery: Delivery) -> bool:
        """Return whether the object has the bytes that landed, by its size and stated digest.

        The bytes are read if no digest is stated, as by a program that has restored them.
        """
        found = self._bucket.look_up(_object(delivery.raw_name))
        if found is None or found.size_bytes != delivery.size_bytes:
            return False
        if found.sha256 is not None:
            return found.sha256 == delivery.sha256
        try:
            self._copy(delivery, None)
        except RawFileError:
            return False
        return True

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

    def names(self) -> Iterator[tuple[RawName, str]]:
        """Yield name and suffix of all objects, by partition."""
        for found in self._bucket.objects():
            key, slash, file = found.name.rpartition("/")
            stem, dot, suffix = file.rpartition(".")
            if slash and dot:
                yield RawName(key, stem), suffix

    def keep_record(self, name: RawName, content: bytes) -> None:
        """Put a copy of a record beside the object of the bytes, unless the same copy is there."""
        place = _object(name, RECORD)
        described = BytesIO(content), place, len(content), hashlib.sha256(content).hexdigest()
        if not self._bucket.put(*described) and self._bucket.content(place) != content:
            self._bucket.put(*described, replace=True)

    def kept_beside(self, name: RawName) -> Mapping[str, Sidecar]:
        """Return the copy of a record, if there is one."""
        found = self._bucket.look_up(_object(name, RECORD))
        if found is None:
            return {}
        content, put_ns = self._bucket.read(found, _MAX_RECORD_BYTES), microseconds(found.modified)
        return {RECORD: Sidecar(b"".join(content), put_ns * 1000, put_ns * 1000)}

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


def _object(name: RawName, suffix: str = "raw") -> str:
    return f"{name.key}/{name.stem}.{suffix}"


def _is_good(copy: BufferedReader, delivery: Delivery, *, full: bool) -> bool:
    """Return whether a copy has the size of a delivery; if wanted, also whether its digest."""
    has_size = os.fstat(copy.fileno()).st_size == delivery.size_bytes
    return has_size and not (
        full and hashlib.file_digest(copy, "sha256").hexdigest() != delivery.sha256
    )
