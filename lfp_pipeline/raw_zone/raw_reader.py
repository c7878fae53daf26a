"""The reading side of the raw zone: where its parts are, and which deliveries it has."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from pathlib import Path
from typing import Self

from lfp_pipeline.common.setting_types import BUCKET
from lfp_pipeline.errors import LandingError
from lfp_pipeline.hosts.bucket import Bucket
from lfp_pipeline.hosts.catalog import catalog_at
from lfp_pipeline.model.delivery import Delivery, RawName
from lfp_pipeline.model.partition_key import is_partition_key, key_hint
from lfp_pipeline.raw_zone.bucket_store import BucketStore
from lfp_pipeline.raw_zone.byte_store import ByteStore
from lfp_pipeline.raw_zone.catalog_sidecars import CatalogSidecars
from lfp_pipeline.raw_zone.desired_state import DesiredStates
from lfp_pipeline.raw_zone.folder_sidecars import FolderSidecars
from lfp_pipeline.raw_zone.folder_store import FolderStore
from lfp_pipeline.raw_zone.loaded_sidecars import LoadedSidecars
from lfp_pipeline.raw_zone.local_copies import LocalCopies
from lfp_pipeline.raw_zone.raw_index import RawIndex
from lfp_pipeline.raw_zone.raw_records import RawRecords
from lfp_pipeline.raw_zone.sidecars import RECORD, Sidecars
from lfp_pipeline.raw_zone.status_notes import StatusNotes
from lfp_pipeline.settings import Settings


class RawReader:
    """The deliveries of a raw zone: finds and reads them.

    Attributes:
        root: its folder on this machine.
        sidecars: what lies beside the bytes.
        store: the bytes.
        records: what is known of each delivery.
        desired: the desired state of each delivery.
        notes: the status of each delivery in a database.
        index: a cache of records, markers and status notes.
    """

    def __init__(
        self,
        root: Path,
        sidecars: Sidecars | None = None,
        store: ByteStore | None = None,
        *,
        index: Path | None = None,
        read_only: bool = False,
    ) -> None:
        """Use the raw zone in a folder.

        Args:
            root: holds the files of landings in progress, and all else unless other places are
                given.
            index: the file of the index; None: beside the folder.
            read_only: write nothing, not even the index.
        """
        self.root = root
        self.store = FolderStore(root) if store is None else store
        self.sidecars: Sidecars = FolderSidecars(root) if sidecars is None else sidecars
        self.records = RawRecords(self.sidecars, self.store)
        self.desired = DesiredStates(self.sidecars, self.store)
        self.notes = StatusNotes(self.sidecars, self.desired)
        path, folder = index or root.with_name(f"{root.name}.index"), index and index.parent
        self.index = RawIndex(path, folder or root, self.desired, read_only=read_only)

    @classmethod
    def of(cls, settings: Settings, *, read_only: bool = False) -> Self:
        """Return the raw zone of settings; with `read_only`, not even its index is written."""
        if settings.catalog is None:
            return cls(settings.raw_dir, read_only=read_only)
        sidecars = CatalogSidecars(catalog_at(settings.catalog, "lfp raw zone"), settings.raw_place)
        root, store, index = settings.raw_dir, None, settings.work_dir / "raw.index"
        if settings.raw_place.startswith(BUCKET):
            root = settings.work_dir / "raw"
            store = BucketStore(Bucket(settings.raw_place, "LFP_RAW"), LocalCopies(root))
        if not read_only:
            with suppress(OSError):  # Then the index cannot be written, and says so.
                index.parent.mkdir(parents=True, exist_ok=True)
        return cls(root, sidecars, store, index=index, read_only=read_only)

    def as_of_now(self) -> Self:
        """Return the raw zone for reading many deliveries: where that is faster, as it is now.

        What changes from now on may be missing.
        """
        if not isinstance(self.sidecars, CatalogSidecars):
            return self
        sidecars = LoadedSidecars(self.sidecars.catalog, self.sidecars.place)
        index = self.index
        return type(self)(
            self.root, sidecars, self.store, index=index.path, read_only=index.read_only
        )

    def now(self) -> datetime:
        """Return the present time of the clock that dates landings, in UTC without a zone."""
        return self.sidecars.now()

    def verified(self, delivery: Delivery, *, full: bool = False) -> AbstractContextManager[Path]:
        """Verify that the bytes of a delivery are those that landed, and keep them for a block.

        They are read at the path of the delivery.

        Args:
            full: verify them even if they are known to be untouched, because disks lose bytes.

        Raises:
            RawFileError: the bytes are changed or gone, or cannot be read.
            BucketUnreachableError: the server of the bytes does not answer.
        """
        name = delivery.raw_name
        return self.store.verified(delivery, lambda: self.records.touched_ns(name), full=full)

    def newest(self, key: str) -> Delivery | None:
        """Return the newest delivery of a partition, reverted or not; None: there is none.

        Raises:
            LandingError: the record cannot be read.
        """
        newest = max(self.records.stems(key), default=None)  # Stems sort by time.
        return None if newest is None else self.records.read(RawName(key, newest))

    def newer_than(self, delivery: Delivery) -> Delivery | None:
        """Return the newest delivery of its partition that counts, if that is a newer one.

        A pending delivery may still count; a reverted or refused one does not. Returns None also if
        the record of the newer delivery cannot be read.
        """
        newer = self.index.newer_in_force(delivery.partition_key, delivery.path.stem)
        if newer is not None:
            with suppress(LandingError):
                return self.records.read(delivery.raw_name._replace(stem=newer))
        return None

    def deliveries(self, key: str) -> list[Delivery]:
        """Return all deliveries of a partition, oldest first.

        Raises:
            LandingError: a record cannot be read.
        """
        return _oldest_first(map(self.records.read, self._names([key])))

    def all_deliveries(self) -> list[Delivery]:
        """Return all deliveries of all partitions, oldest first; raise as `deliveries` does."""
        return _oldest_first(map(self.records.read, self._names()))

    def survey(self) -> tuple[list[Delivery], list[str]]:
        """Return all deliveries with readable records, oldest first, and the errors of others."""
        deliveries, problems = [], []
        for name in sorted(self._names()):
            try:
                deliveries.append(self.records.read(name))
            except LandingError as error:
                problems.append(str(error))
        return _oldest_first(deliveries), problems

    def find(self, delivery_id: str) -> Delivery:
        """Return the delivery with an id.

        Raises:
            LandingError: there is none, or its record cannot be read.
        """
        name = self.name_of(delivery_id)
        if name is None or not self.sidecars.exists(name, RECORD):
            key, _, _ = delivery_id.partition("#")
            msg = (
                f"There is no delivery {delivery_id!r} in the raw zone. Give the delivery_id "
                f"as it is in the table deliveries.{key_hint(key)}"
            )
            raise LandingError(msg, permanent=True)
        return self.records.read(name)

    def keeps(self, delivery_id: str) -> bool:
        """Return whether the raw zone has the delivery, and its bytes are not pruned."""
        name = self.name_of(delivery_id)
        return (
            name is not None
            and self.sidecars.exists(name, RECORD)
            and not self.desired.is_pruned(name)
        )

    def name_of(self, delivery_id: str) -> RawName | None:
        """Return the place for an id, whether it exists or not; None: the id is malformed."""
        key, _, stem = delivery_id.partition("#")
        if not is_partition_key(key) or "/" in stem:
            return None
        return RawName(key, stem.replace("#", "-"))

    def has_duplicate(self, delivery: Delivery) -> bool:
        """Return whether another delivery of its partition has the same digest in its name."""
        own, digest = delivery.raw_name, f"-{delivery.sha256[:16]}"
        return any(
            stem.endswith(digest) and stem != own.stem for stem in self.records.stems(own.key)
        )

    def _names(self, keys: Iterable[str] | None = None) -> Iterator[RawName]:
        """Yield the names of all deliveries of partitions, or of all partitions."""
        for key in self.sidecars.partitions() if keys is None else keys:
            yield from (RawName(key, stem) for stem in self.sidecars.recorded(key))


def _oldest_first(deliveries: Iterable[Delivery]) -> list[Delivery]:
    return sorted(deliveries, key=lambda delivery: delivery.order_key)
