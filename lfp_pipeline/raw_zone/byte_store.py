"""Where the bytes of deliveries are kept: what each kind of store can do."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from shlex import quote
from typing import BinaryIO, Protocol

from lfp_pipeline.model.delivery import Delivery, Kind, RawName
from lfp_pipeline.model.partition_key import typed_name
from lfp_pipeline.raw_zone.sidecars import Sidecar

HasSize = Callable[[RawName, int], bool]
"""Whether the bytes of a delivery have a size."""

_LAND_AGAIN = "`touch -d {time} FILE; lfp ingest FILE --as {name}`."

LAND_AGAIN = _LAND_AGAIN.format(time="TIME", name="NAME")
"""The commands that land a copy of a file with its name and the time that it had."""

_RESTORE = "Restore it from a copy, and run `lfp ingest`"


def restoring(delivery: Delivery) -> str:
    """Return what to do about damaged or missing bytes of a delivery."""
    if delivery.kind is Kind.DELETION:
        return f"{_RESTORE}; or revert this purge, and purge again."
    return f"{_RESTORE}; or land its file again, with the time that it had: {landing(delivery)}"


def landing(delivery: Delivery) -> str:
    """Return the commands that land a copy of the file of a delivery as that delivery."""
    time = f"{delivery.version_time.isoformat(timespec='microseconds')}Z"
    name = quote(typed_name(delivery.partition_key, delivery.source))
    return _LAND_AGAIN.format(time=time, name=name)


class ByteStore(Protocol):
    """The bytes of all deliveries of a raw zone."""

    def path(self, name: RawName) -> Path:
        """Return where the bytes are read on this machine, if they are there."""

    def describe(self, name: RawName) -> str:
        """Return where the bytes are kept, for messages."""

    def commit(self, file: BinaryIO, temporary: Path, delivery: Delivery) -> None:
        """Keep the bytes of a finished temporary file beside `path`, so that they survive.

        Raises:
            LandingError: they could not be kept.
        """

    def verified(
        self, delivery: Delivery, touched_ns: Callable[[], int | None], *, full: bool
    ) -> AbstractContextManager[Path]:
        """Verify that the bytes are those that landed, and keep them at `path` for a block.

        Args:
            touched_ns: returns what the method of that name had returned at the landing.
            full: verify the bytes even if they are known to be untouched, because disks lose bytes.

        Raises:
            RawFileError: the bytes are changed or gone, or cannot be read.
            BucketUnreachableError: the server of the bytes does not answer.
        """

    def is_intact(self, delivery: Delivery) -> bool:
        """Return whether the bytes are those that landed."""

    def touched_ns(self, name: RawName) -> int | None:
        """Return a time that moves with each change of the bytes; None: the store knows none."""

    def size(self, name: RawName) -> int | None:
        """Return the size of the bytes; None: they are missing."""

    def missing(self, names: Iterable[RawName]) -> list[RawName]:
        """Return those of the deliveries whose bytes are missing."""

    def names(self) -> Iterator[tuple[RawName, str]]:
        """Yield name and suffix of all bytes and of all that is kept beside them, by partition."""

    def keep_record(self, name: RawName, content: bytes) -> None:
        """Keep a copy of a record beside the bytes, in the place of an earlier one.

        Raises:
            LandingError: it could not be kept.
        """

    def kept_beside(self, name: RawName) -> Mapping[str, Sidecar]:
        """Return the copy of a record, and markers if the store keeps any, by suffix."""

    def checking_sizes(self) -> AbstractContextManager[HasSize]:
        """Return a function that checks the sizes of many deliveries, for a block."""

    def remove(self, name: RawName) -> None:
        """Remove the bytes, if they are there."""

    def restrict(self, name: RawName, mode: int) -> bool:
        """Remove the permissions that a mode lacks; return whether there were any."""
