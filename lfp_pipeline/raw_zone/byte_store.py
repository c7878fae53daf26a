"""Where the bytes of deliveries are kept: what each kind of store can do."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

from lfp_pipeline.model.delivery import Delivery, Kind, RawName

HasSize = Callable[[RawName, int], bool]
"""Whether the bytes of a delivery have a size."""

HINTS = {
    Kind.PRODUCTS: "Restore it from a copy; or remove it, and land its file again (drop it again, "
    "with the time that it had). Then run `lfp ingest`.",
    Kind.DELETION: "Restore it from a copy; or revert this purge, and purge again.",
}
"""What to do about damaged bytes, by the kind of their delivery."""


class ByteStore(Protocol):
    """The bytes of all deliveries of a raw zone."""

    def path(self, name: RawName) -> Path:
        """Return where the bytes are read on this machine, if they are there."""

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
        """

    def is_intact(self, delivery: Delivery) -> bool:
        """Return whether the bytes are those that landed."""

    def touched_ns(self, name: RawName) -> int | None:
        """Return a time that moves with each change of the bytes; None: the store knows none."""

    def size(self, name: RawName) -> int | None:
        """Return the size of the bytes; None: they are missing."""

    def missing(self, names: Iterable[RawName]) -> list[RawName]:
        """Return those of the deliveries whose bytes are missing."""

    def checking_sizes(self) -> AbstractContextManager[HasSize]:
        """Return a function that checks the sizes of many deliveries, for a block."""

    def remove(self, name: RawName) -> None:
        """Remove the bytes, if they are there."""

    def restrict(self, name: RawName, mode: int) -> bool:
        """Remove the permissions that a mode lacks; return whether there were any."""
