"""The raw zone: an immutable store of deliveries, exactly as they came.

    raw/<partition key>/<delivered_at>-<sha256, 16 digits>.raw         the bytes
    raw/<partition key>/<delivered_at>-<sha256, 16 digits>.json        the record
    raw/<partition key>/<delivered_at>-<sha256, 16 digits>.outcome     the status note

The record is written after the bytes: a delivery exists once its record does. Markers of the
desired state lie beside them (see `sidecars`).
"""

import logging
import os
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from lfp_pipeline.common.atomic_files import commit_file, stale_temporaries, temporary_sibling
from lfp_pipeline.common.progress import TransferProgress
from lfp_pipeline.errors import CatalogUnreachableError, LandingError
from lfp_pipeline.model.delivery import Delivery, Kind, RawName, stamp
from lfp_pipeline.model.partition_key import PURGES, is_partition_key
from lfp_pipeline.raw_zone.delivery_time import time_of_fetched, time_of_file, version_of
from lfp_pipeline.raw_zone.hashing_sink import (
    HashingSink,
    reporting_write_errors,
    unfinished_upload,
)
from lfp_pipeline.raw_zone.landing_again import keeps_status, landed_again
from lfp_pipeline.raw_zone.raw_reader import RawReader
from lfp_pipeline.sources.base import Fetched, Source

_OWNER_ONLY = 0o600

_RESERVED = (
    f"The partition {PURGES} is reserved for purges. Rename the file, or choose another name."
)


class RawZone(RawReader):
    """A store of deliveries. Any number of processes may land into it at once."""

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
                partition. The raw zone is unchanged; or it has the delivery, and lacks the copy of
                its record, which landing it again completes.
        """
        if not is_partition_key(key):
            msg = f"{key!r} is not a partition key: letters, digits, `.`, `_` and `-`, please."
            raise LandingError(msg, permanent=True)
        try:
            with reporting_write_errors(self.root):
                return self._land(source, key, log, polled, kind)
        except CatalogUnreachableError as error:
            raise LandingError(str(error), permanent=False) from error

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
            sink = HashingSink(file, self.root, before.size_bytes if before else 0)
            fetched = source.fetch(sink, progress)
            group = os.fstat(file.fileno()).st_gid
            os.fchmod(file.fileno(), fetched.readers.mode_in(folder, group))
            with self.sidecars.changing(key):
                described = self._described(source, key, fetched, sink, polled=polled, kind=kind)
                described = replace(
                    described, completes=unfinished_upload(before, sink, file, temporary)
                )
                delivery = self._keep(described, file, temporary, log)
            self.records.keep_copy(delivery.raw_name)
            return delivery

    def preview(self, source: Source, key: str, log: logging.Logger, folder: Path) -> Delivery:
        """Fetch a source into a folder, and return the delivery that its landing would give.

        Nothing lands. The path of the delivery is that of the fetched bytes.

        Raises:
            LandingError: the source could not be fetched, or the partition is that of purges.
        """
        if key == PURGES:
            raise LandingError(_RESERVED, permanent=True)
        with temporary_sibling(folder / "raw", _OWNER_ONLY) as (file, temporary):
            sink = HashingSink(file, folder, 0)
            fetched = source.fetch(sink, TransferProgress(log, f"Reading {source.name}", key))
            delivery = self._described(source, key, fetched, sink)
            commit_file(file, temporary, folder / delivery.path.name)
        with suppress(LandingError):  # The delivery is new.
            recorded = self.records.read(delivery.raw_name)
            delivery = landed_again(recorded, delivery, self.notes, log, is_kept=True)
        return replace(delivery, path=folder / delivery.path.name)

    def _described(
        self,
        source: Source,
        key: str,
        fetched: Fetched,
        sink: HashingSink,
        *,
        polled: bool = False,
        kind: Kind = Kind.PRODUCTS,
    ) -> Delivery:
        """Return the delivery of fetched bytes."""
        sha256, landed_at = sink.hexdigest(), self.now()
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
            path=self.store.path(RawName(key, f"{stamp(delivered_at)}-{sha256[:16]}")),
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
        versions = list(map(version_of, self.records.stems(key)))
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

        Requires that no other process changes the partition, so that none prunes the delivery.
        """
        name, recorded = delivery.raw_name, None
        with suppress(LandingError):  # The delivery is new, or its record cannot be read.
            recorded = self.records.read(name)
        is_purge = delivery.kind is Kind.DELETION
        if recorded is None and is_purge != (delivery.partition_key == PURGES):
            raise LandingError(_RESERVED, permanent=True)
        is_kept = recorded is not None and self.store.is_intact(recorded)
        if recorded is not None:
            delivery = landed_again(recorded, delivery, self.notes, log, is_kept=is_kept)
        is_recorded = is_kept and delivery == recorded
        was_pruned = self.desired.is_pruned(name)
        keeps_note = is_kept and recorded and keeps_status(delivery, recorded, self.notes)
        if was_pruned or not keeps_note:
            self.notes.delete(name)
        is_touched = not is_kept or self.store.restrict(name, os.fstat(file.fileno()).st_mode)
        if not is_kept:
            self.store.commit(file, temporary, delivery)
        if was_pruned:
            self.desired.clear_pruned(name)
        if is_touched or not is_recorded:
            self.records.write(delivery)
        return delivery
