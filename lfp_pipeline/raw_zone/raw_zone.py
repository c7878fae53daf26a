"""The raw zone: an immutable store of deliveries, exactly as they came.

    raw/<partition key>/<delivered_at>-<sha256, 16 digits>.raw         the bytes
    raw/<partition key>/<delivered_at>-<sha256, 16 digits>.json        the record
    raw/<partition key>/<delivered_at>-<sha256, 16 digits>.outcome     merged, refused or reverted

What people want of a delivery is noted there, too (see `desired_state`). The record is written after the
bytes: a delivery exists once its record does. The outcome is a copy of the ledger's word for those
who may not open the warehouse, such as sensors, and is written after the commit. Where it is lost,
the delivery is offered again, and found to be in.
"""

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from lfp_pipeline.common.atomic_files import (
    commit_file,
    folder_lock,
    stale_temporaries,
    temporary_sibling,
)
from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.common.progress import TransferProgress
from lfp_pipeline.errors import LandingError, hint_for
from lfp_pipeline.model.delivery import Delivery, Kind, stamp
from lfp_pipeline.model.partition_key import PURGES, is_partition_key, key_hint
from lfp_pipeline.raw_zone.delivery_time import time_of_fetched, time_of_file, version_of
from lfp_pipeline.raw_zone.desired_state import clear_pruned, is_pruned
from lfp_pipeline.raw_zone.landing_again import ends_alike, is_intact, landed_again, take_readers
from lfp_pipeline.raw_zone.raw_index import RawIndex
from lfp_pipeline.raw_zone.raw_records import read_record, record_names, write_record
from lfp_pipeline.raw_zone.status_notes import delete_status_note
from lfp_pipeline.raw_zone.unfinished_upload import PrefixDigest, ends_in_a_record
from lfp_pipeline.sources.base import Fetched, Source

_OWNER_ONLY = 0o600


class RawZone:
    """A folder of deliveries. Any number of processes may land into it at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.index = RawIndex(root)

    def land(
        self,
        source: Source,
        key: str,
        log: logging.Logger,
        *,
        polled: bool = False,
        kind: Kind = Kind.PRODUCTS,
    ) -> Delivery:
        """Fetch a source into the raw zone; the same bytes of the same time land once.

        Args:
            source: what is fetched.
            key: the partition.
            log: for progress.
            polled: whether it is fetched again and again. Then the bytes of the newest delivery are
                no other one.
            kind: what it holds. What has landed before stays what it was.

        Raises:
            LandingError: the source could not be fetched or stored, or is not what that partition
                holds. The raw zone is as it was.
        """
        if not is_partition_key(key):
            msg = f"{key!r} is not a partition key: letters, digits, `.`, `_` and `-`, please."
            raise LandingError(msg, permanent=True)
        with _write_errors_told(self.root):
            return self._land(source, key, log, polled, kind)

    def _land(
        self, source: Source, key: str, log: logging.Logger, polled: bool, kind: Kind
    ) -> Delivery:
        folder = self.root / key
        for leftover in stale_temporaries(folder):
            log.info("Removing %s, left by a landing that was killed", leftover)
        progress = TransferProgress(log, f"Landing {source.name}")
        before = None
        if kind is not Kind.DELETION:
            with suppress(LandingError):  # Its record cannot be read.
                before = self.newest(key)
        with temporary_sibling(folder / "raw", _OWNER_ONLY) as (file, temporary):
            sink = _HashingSink(file, self.root, before.size_bytes if before else 0)
            fetched = source.fetch(sink, progress)
            group = os.fstat(file.fileno()).st_gid
            os.fchmod(file.fileno(), fetched.readers.mode_in(folder, group))
            sha256, landed_at = sink.digest.hexdigest(), utc_now()
            with folder_lock(folder):
                if kind is Kind.DELETION:  # Its time is chosen: it is after what it deletes.
                    delivered_at = fetched.modified or landed_at
                else:
                    delivered_at = self._time(key, fetched, sha256, landed_at, polled=polled)
                delivery = Delivery(
                    partition_key=key,
                    delivered_at=delivered_at,
                    sha256=sha256,
                    source=source.name,
                    size_bytes=file.tell(),
                    landed_at=landed_at,
                    path=folder / f"{stamp(delivered_at)}-{sha256[:16]}.raw",
                    kind=kind,
                    text_format=fetched.text_format,
                    stated_at=None if fetched.modified == delivered_at else fetched.modified,
                    source_ctime_ns=None if polled else fetched.ctime_ns,
                    completes=_unfinished(before, sink, file, temporary),
                )
                return self._keep(delivery, file, temporary, log)

    def _time(
        self, key: str, fetched: Fetched, sha256: str, landed_at: datetime, *, polled: bool
    ) -> datetime:
        """Return the time of a version: if it has landed before, that of its record.

        A file that went back to the bytes of an earlier version of the same time is a new version;
        the file of that version itself is not.
        """
        stated_at = fetched.modified
        versions = [version_of(name) for name in record_names(self.root / key)]
        newest = max(versions, default=None)
        if stated_at is None or polled or not fetched.is_file_time:
            return time_of_fetched(fetched, sha256, landed_at, newest, polled=polled)
        newest_is_ahead = newest is not None and newest.delivered_at > landed_at
        same_time = self.index.deliveries(key, stated_at)
        for one in same_time:
            version = version_of(one.stem)
            is_last = one is same_time[-1] and (version == newest or not newest_is_ahead)
            is_its_file = fetched.ctime_ns is None or one.is_read_from(fetched.ctime_ns)
            if version.digest == sha256[:16] and (is_last or is_its_file):
                return version.delivered_at
        return time_of_file(
            stated_at,
            landed_at,
            newest=newest,
            same_time=version_of(same_time[-1].stem) if same_time else None,
            taken={one.delivered_at for one in versions if one.digest != sha256[:16]},
        )

    def _keep(
        self, delivery: Delivery, file: BinaryIO, temporary: Path, log: logging.Logger
    ) -> Delivery:
        """Give what was fetched its place, unless it is there; nobody prunes it meanwhile."""
        recorded = self._recorded(delivery)
        is_purge = delivery.kind is Kind.DELETION
        if recorded is None and is_purge != (delivery.partition_key == PURGES):
            msg = (
                f"The partition {PURGES} is for what purge_products deletes. Rename the file, or "
                "choose another name."
            )
            raise LandingError(msg, permanent=True)
        is_kept = recorded is not None and is_intact(recorded)
        if recorded is not None:
            delivery = landed_again(recorded, delivery, is_kept=is_kept, log=log)
        is_recorded = is_kept and delivery == recorded
        was_pruned = is_pruned(delivery.path)
        if was_pruned or not (is_kept and recorded and ends_alike(delivery, recorded)):
            delete_status_note(delivery.path)
        is_touched = not is_kept or take_readers(delivery.path, file)
        if not is_kept:
            commit_file(file, temporary, delivery.path)
        if was_pruned:
            clear_pruned(delivery.path)
        if is_touched or not is_recorded:
            write_record(delivery)
        return delivery

    def newest(self, key: str) -> Delivery | None:
        """The newest delivery of a partition; None: there is none.

        Raises:
            LandingError: its record cannot be read.
        """
        newest = max(record_names(self.root / key), default=None)  # Names sort as time does.
        return None if newest is None else read_record(self.root / key / newest)

    def newer_than(self, delivery: Delivery) -> Delivery | None:
        """Return the newest delivery of its partition that counts, if it is a newer one.

        What is not in yet may still count. What is reverted or was refused does not. None, too, if
        its record cannot be read: whoever needs it says so.
        """
        newer = self.index.newer_in_force(delivery.partition_key, delivery.path.stem)
        if newer is not None:
            with suppress(LandingError):
                return read_record(delivery.path.with_name(f"{newer}.json"))
        return None

    def deliveries(self, key: str) -> list[Delivery]:
        """All deliveries of a partition, oldest first.

        Raises:
            LandingError: a record cannot be read.
        """
        records = (self.root / key).glob("[!.]*.json")
        return sorted(map(read_record, records), key=lambda one: one.order_key)

    def all_deliveries(self) -> list[Delivery]:
        """All deliveries of all partitions, oldest first.

        Raises:
            LandingError: a record cannot be read.
        """
        return sorted(
            map(read_record, self.root.glob("*/[!.]*.json")), key=lambda one: one.order_key
        )

    def survey(self) -> tuple[list[Delivery], list[str]]:
        """All deliveries whose records can be read, oldest first, and what is wrong with others."""
        deliveries, problems = [], []
        for record in sorted(self.root.glob("*/[!.]*.json")):
            try:
                deliveries.append(read_record(record))
            except LandingError as error:
                problems.append(str(error))
        return sorted(deliveries, key=lambda one: one.order_key), problems

    def find(self, delivery_id: str) -> Delivery:
        """The delivery of that id.

        Raises:
            LandingError: there is none, or its record cannot be read.
        """
        record = self._record_of(delivery_id)
        if record is None:
            key, _, _ = delivery_id.partition("#")
            msg = (
                f"There is no delivery {delivery_id!r} in the raw zone {self.root}. Give the "
                f"delivery_id as it is in the table deliveries.{key_hint(key)}"
            )
            raise LandingError(msg, permanent=True)
        return read_record(record)

    def keeps(self, delivery_id: str) -> bool:
        """Whether it has a delivery of that id that is not pruned."""
        record = self._record_of(delivery_id)
        return record is not None and not is_pruned(record)

    def delete_status_note(self, delivery_id: str) -> None:
        """Have a delivery be offered again, as far as it can be had."""
        if path := self._path_of(delivery_id):
            delete_status_note(path)

    def _record_of(self, delivery_id: str) -> Path | None:
        path = self._path_of(delivery_id)
        return path if path and path.exists() else None

    def _path_of(self, delivery_id: str) -> Path | None:
        """Where the record of such an id is, or would be; None: it is no id."""
        key, _, name = delivery_id.partition("#")
        path = self.root / key / f"{name.replace('#', '-')}.json"
        return path if is_partition_key(key) and "/" not in name else None

    def has_duplicate(self, delivery: Delivery) -> bool:
        """Whether another delivery of its partition has the same digest, as far as names tell."""
        end = f"-{delivery.sha256[:16]}.json"
        own = delivery.path.with_suffix(".json").name
        names = record_names(delivery.path.parent)
        return any(name.endswith(end) and name != own for name in names)

    def _recorded(self, delivery: Delivery) -> Delivery | None:
        """The same delivery, if it has landed before; None, too, if its record cannot be read."""
        record = delivery.path.with_suffix(".json")
        if record.exists():
            with suppress(LandingError):
                return read_record(record)
        return None


class _HashingSink:
    """Writes to a file and hashes on the way: all of it, and its first bytes."""

    def __init__(self, file: BinaryIO, root: Path, first_bytes: int) -> None:
        self.file = file
        self.root = root
        self.first_bytes = first_bytes
        self.restart()

    def write(self, chunk: bytes) -> None:
        self.digest.update(chunk)
        self.prefix.update(chunk)
        with _write_errors_told(self.root):
            self.file.write(chunk)

    def restart(self) -> None:
        self.digest = hashlib.sha256()
        self.prefix = PrefixDigest(self.first_bytes)
        with _write_errors_told(self.root):
            self.file.seek(0)
            self.file.truncate()


def _unfinished(
    before: Delivery | None, sink: _HashingSink, file: BinaryIO, temporary: Path
) -> str | None:
    """Return the id of the version before, if what was fetched completes it."""
    if before is None or not 0 < before.size_bytes < file.tell():
        return None
    file.flush()
    is_begin = sink.prefix.hexdigest() == before.sha256
    return (
        before.delivery_id if is_begin and ends_in_a_record(before.size_bytes, temporary) else None
    )


@contextmanager
def _write_errors_told(root: Path) -> Iterator[None]:
    """Tell a full disk from a source that cannot be read, and from one that is worth a retry."""
    try:
        yield
    except OSError as error:
        msg = f"The raw zone {root} cannot be written: {error.strerror or error}. {hint_for(error)}"
        raise LandingError(msg.rstrip(), permanent=True) from error
