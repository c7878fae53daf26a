"""What a landing writes to: a file whose bytes are hashed on the way."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lfp_pipeline.errors import LandingError, hint_for
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.raw_zone.unfinished_upload import PrefixDigest, ends_inside_a_record


class HashingSink:
    """Writes to a file and hashes on the way: all of it, and its first bytes."""

    def __init__(self, file: BinaryIO, root: Path, first_bytes: int) -> None:
        """Write to a file of the raw zone in `root`."""
        self.file = file
        self.root = root
        self.first_bytes = first_bytes
        self.restart()

    def write(self, chunk: bytes) -> None:
        """Append a chunk."""
        self.digest.update(chunk)
        self.prefix.update(chunk)
        with reporting_write_errors(self.root):
            self.file.write(chunk)

    def restart(self) -> None:
        """Discard all bytes."""
        self.digest = hashlib.sha256()
        self.prefix = PrefixDigest(self.first_bytes)
        with reporting_write_errors(self.root):
            self.file.seek(0)
            self.file.truncate()

    def hexdigest(self) -> str:
        """Return the sha256 of the bytes."""
        return self.digest.hexdigest()


def unfinished_upload(
    before: Delivery | None, sink: HashingSink, file: BinaryIO, temporary: Path
) -> str | None:
    """Return the id of the version before, if that is an unfinished upload of the fetched bytes."""
    if before is None or not 0 < before.size_bytes < file.tell():
        return None
    file.flush()
    is_begin = sink.prefix.hexdigest() == before.sha256
    return (
        before.delivery_id
        if is_begin and ends_inside_a_record(before.size_bytes, temporary)
        else None
    )


@contextmanager
def reporting_write_errors(root: Path) -> Iterator[None]:
    """Raise write errors as permanent landing errors, apart from errors of the source."""
    try:
        yield
    except OSError as error:
        msg = f"The folder {root} cannot be written: {error.strerror or error}. {hint_for(error)}"
        raise LandingError(msg.rstrip(), permanent=True) from error
