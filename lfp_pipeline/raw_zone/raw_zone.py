"""The raw zone: an immutable store of deliveries, exactly as they came.

    raw/<partition key>/<delivered_at>-<sha256, 16 digits>.raw         the bytes
    raw/<partition key>/<delivered_at>-<sha256, 16 digits>.json        the record
    raw/<partition key>/<delivered_at>-<sha256, 16 digits>.outcome     the status note

The record is written after the bytes: a delivery exists once its record does. Markers of the
desired state lie beside them (see `desired_state` and `status_notes`).
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
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
from lfp_pipeline.raw_zone.landing_again import is_intact, keeps_status, landed_again, take_readers
from lfp_pipeline.raw_zone.raw_index import RawIndex
from lfp_pipeline.raw_zone.raw_records import read_record, record_names, write_record
from lfp_pipeline.raw_zone.status_notes import delete_status_note
from lfp_pipeline.raw_zone.unfinished_upload import PrefixDigest, ends_inside_a_record
from lfp_pipeline.sources.base import Fetched, Source

_OWNER_ONLY = 0o600

_RESERVED = (
    f"The partition {PURGES} is reserved for purges. Rename the file, or choose another name."
)


class RawZone:
    """A folder of deliveries. Any number of processes may land into it at once."""

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        """Use the raw zone in a folder; with `read_only`, not even its index is written."""
        self.root = root
        self.index = RawIndex(root, read_only=read_only)

    def land(
        self,
        source: Source,
        key: str,
        log: logging.Logger,
        *,
        polled: bool = False,
        kind: Kind = Kind.PRODUCTS,
    ) -> Delivery:
        """Fetch a source into the raw zone. The same bytes of the same time land once.

        Args:
            polled: whether the source is fetched repeatedly. Then the bytes of the newest delivery
                are the same delivery, whatever their time.
            kind: the content of the source. A delivery that landed before keeps its kind.

        Raises:
            LandingError: the source could not be fetched or stored, or has the wrong kind for the
                partition. The raw zone is unchanged.
        """
        if not is_partition_key(key):
            msg = f"{key!r} is not a partition key: letters, digits, `.`, `_` and `-`, please."
            raise LandingError(msg, permanent=True)
        with _reporting_write_errors(self.root):
            return self._land(source, key, log, polled, kind)

    def _land(
        self, source: Source, key: str, log: logging.Logger, polled: bool, kind: Kind
    ) -> Delivery:
        folder = self.root / key
        for leftover in stale_temporaries(folder):
            log.info("Removing %s, left by a landing that was killed", leftover)
        progress = TransferProgress(log, f"Landing {source.name}", key)
        before = None
        if kind is not Kind.DELETION:
            with suppress(LandingError):  # The record cannot be read.
                before = self.newest(key)
        with temporary_sibling(folder / "raw", _OWNER_ONLY) as (file, temporary):
            sink = _HashingSink(file, self.root, before.size_bytes if before else 0)
            fetched = source.fetch(sink, progress)
            group = os.fstat(file.fileno()).st_gid
            os.fchmod(file.fileno(), fetched.readers.mode_in(folder, group))
            with folder_lock(folder):
                described = self._described(source, key, fetched, sink, polled=polled, kind=kind)
                completes = _unfinished(before, sink, file, temporary)
                return self._keep(replace(described, completes=completes), file, temporary, log)

    def preview(self, source: Source, key: str, log: logging.Logger, folder: Path) -> Delivery:
        """Fetch a source into a folder, and return the delivery that its landing would give.

        Nothing lands. The path of the delivery is that of the fetched bytes.

        Raises:
            LandingError: the source could not be fetched, or the partition is that of purges.
        """
        if key == PURGES:
            raise LandingError(_RESERVED, permanent=True)
        with temporary_sibling(folder / "raw", _OWNER_ONLY) as (file, temporary):
            sink = _HashingSink(file, folder, 0)
            fetched = source.fetch(sink, TransferProgress(log, f"Reading {source.name}", key))
            delivery = self._described(source, key, fetched, sink)
            commit_file(file, temporary, folder / delivery.path.name)
        with suppress(LandingError):  # The delivery is new.
            recorded = read_record(delivery.path.with_suffix(".json"))
            delivery = landed_again(recorded, delivery, is_kept=True, log=log)
        return replace(delivery, path=folder / delivery.path.name)

    def _described(
        self,
        source: Source,
        key: str,
        fetched: Fetched,
        sink: "_HashingSink",
        *,
        polled: bool = False,
        kind: Kind = Kind.PRODUCTS,
    ) -> Delivery:
        """Return the delivery of fetched bytes."""
        sha256, landed_at = sink.hexdigest(), utc_now()
        if kind is Kind.DELETION:  # Its time is chosen to follow the deleted products.
            delivered_at = fetched.modified or landed_at
        else:
            delivered_at = self._time(key, fetched, sha256, landed_at, polled=polled)
        return Delivery(
            partition_key=key,
            delivered_at=delivered_at,
            sha256=sha256,
            source=source.name,
            size_bytes=sink.file.tell(),
            landed_at=landed_at,
            path=self.root / key / f"{stamp(delivered_at)}-{sha256[:16]}.raw",
            kind=kind,
            text_format=fetched.text_format,
            stated_at=None if fetched.modified == delivered_at else fetched.modified,
            source_ctime_ns=None if polled else fetched.ctime_ns,
        )

    def _time(
        self, key: str, fetched: Fetched, sha256: str, landed_at: datetime, *, polled: bool
    ) -> datetime:
        """Return the time of a version: the recorded time, if the version has landed before.

        A file that returns to the bytes of an earlier version of the same time is a new version,
        unless it is the very file of that version.
        """
        stated_at = fetched.modified
        versions = [version_of(name) for name in record_names(self.root / key)]
        newest = max(versions, default=None)
        if stated_at is None or polled or not fetched.is_file_time:
            return time_of_fetched(fetched, sha256, landed_at, newest, polled=polled)
        newest_is_ahead = newest is not None and newest.delivered_at > landed_at
        same_time = self.index.deliveries(key, stated_at)
        for landed in same_time:
            version = version_of(landed.stem)
            is_last = landed is same_time[-1] and (version == newest or not newest_is_ahead)
            is_its_file = fetched.ctime_ns is None or landed.is_read_from(fetched.ctime_ns)
            if version.digest == sha256[:16] and (is_last or is_its_file):
                return version.delivered_at
        return time_of_file(
            stated_at,
            landed_at,
            newest=newest,
            same_time=version_of(same_time[-1].stem) if same_time else None,
            taken={other.delivered_at for other in versions if other.digest != sha256[:16]},
        )

    def _keep(
        self, delivery: Delivery, file: BinaryIO, temporary: Path, log: logging.Logger
    ) -> Delivery:
        """Store fetched bytes and their record, unless they are stored already.

        Requires the folder lock, so that no process prunes the delivery meanwhile.
        """
        recorded = None
        with suppress(LandingError):  # The delivery is new, or its record cannot be read.
            recorded = read_record(delivery.path.with_suffix(".json"))
        is_purge = delivery.kind is Kind.DELETION
        if recorded is None and is_purge != (delivery.partition_key == PURGES):
            raise LandingError(_RESERVED, permanent=True)
        is_kept = recorded is not None and is_intact(recorded)
        if recorded is not None:
            delivery = landed_again(recorded, delivery, is_kept=is_kept, log=log)
        is_recorded = is_kept and delivery == recorded
        was_pruned = is_pruned(delivery.path)
        if was_pruned or not (is_kept and recorded and keeps_status(delivery, recorded)):
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
        """Return the newest delivery of a partition, reverted or not; None: there is none.

        Raises:
            LandingError: the record cannot be read.
        """
        newest = max(record_names(self.root / key), default=None)  # Names sort by time.
        return None if newest is None else read_record(self.root / key / newest)

    def newer_than(self, delivery: Delivery) -> Delivery | None:
        """Return the newest delivery of its partition that counts, if that is a newer one.

        A pending delivery may still count; a reverted or refused one does not. Returns None also if
        the record of the newer delivery cannot be read.
        """
        newer = self.index.newer_in_force(delivery.partition_key, delivery.path.stem)
        if newer is not None:
            with suppress(LandingError):
                return read_record(delivery.path.with_name(f"{newer}.json"))
        return None

    def deliveries(self, key: str) -> list[Delivery]:
        """Return all deliveries of a partition, oldest first.

        Raises:
            LandingError: a record cannot be read.
        """
        return _oldest_first(map(read_record, (self.root / key).glob("[!.]*.json")))

    def all_deliveries(self) -> list[Delivery]:
        """Return all deliveries of all partitions, oldest first; raise as `deliveries` does."""
        return _oldest_first(map(read_record, self.root.glob("*/[!.]*.json")))

    def survey(self) -> tuple[list[Delivery], list[str]]:
        """Return all deliveries with readable records, oldest first, and the errors of others."""
        deliveries, problems = [], []
        for record in sorted(self.root.glob("*/[!.]*.json")):
            try:
                deliveries.append(read_record(record))
            except LandingError as error:
                problems.append(str(error))
        return _oldest_first(deliveries), problems

    def find(self, delivery_id: str) -> Delivery:
        """Return the delivery with an id.

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
        """Return whether the raw zone has the delivery, and its bytes are not pruned."""
        record = self._record_of(delivery_id)
        return record is not None and not is_pruned(record)

    def delete_status_note(self, delivery_id: str) -> None:
        """Delete the status note of a delivery, if there is one."""
        if path := self.path_of(delivery_id):
            delete_status_note(path)

    def _record_of(self, delivery_id: str) -> Path | None:
        path = self.path_of(delivery_id)
        return path if path and path.exists() else None

    def path_of(self, delivery_id: str) -> Path | None:
        """Return the path of the record for an id, existing or not; None: the id is malformed."""
        key, _, name = delivery_id.partition("#")
        path = self.root / key / f"{name.replace('#', '-')}.json"
        return path if is_partition_key(key) and "/" not in name else None

    def has_duplicate(self, delivery: Delivery) -> bool:
        """Return whether another delivery of its partition has the same digest in its name."""
        end = f"-{delivery.sha256[:16]}.json"
        own = delivery.path.with_suffix(".json").name
        names = record_names(delivery.path.parent)
        return any(name.endswith(end) and name != own for name in names)


def _oldest_first(deliveries: Iterable[Delivery]) -> list[Delivery]:
    return sorted(deliveries, key=lambda delivery: delivery.order_key)


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
        with _reporting_write_errors(self.root):
            self.file.write(chunk)

    def restart(self) -> None:
        self.digest = hashlib.sha256()
        self.prefix = PrefixDigest(self.first_bytes)
        with _reporting_write_errors(self.root):
            self.file.seek(0)
            self.file.truncate()

    def hexdigest(self) -> str:
        return self.digest.hexdigest()


def _unfinished(
    before: Delivery | None, sink: _HashingSink, file: BinaryIO, temporary: Path
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
def _reporting_write_errors(root: Path) -> Iterator[None]:
    """Raise write errors as permanent landing errors, apart from errors of the source."""
    try:
        yield
    except OSError as error:
        msg = f"The raw zone {root} cannot be written: {error.strerror or error}. {hint_for(error)}"
        raise LandingError(msg.rstrip(), permanent=True) from error
