"""The raw zone: an immutable store of deliveries, exactly as they came.

    raw/<partition key>/<delivered_at>-<sha256, 16 digits>.raw         the bytes
    raw/<partition key>/<delivered_at>-<sha256, 16 digits>.json        the record
    raw/<partition key>/<delivered_at>-<sha256, 16 digits>.outcome     merged, refused or reverted

What people want of a delivery is noted there, too (see `intents`). The record is written after the
bytes: a delivery exists once its record does. The outcome is a copy of the ledger's word for those
who may not open the warehouse, such as sensors, and is written after the commit. Where it is lost,
the delivery is offered again, and found to be in.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from stat import S_IMODE
from typing import BinaryIO

from lfp_pipeline.errors import LandingError, RawFileError
from lfp_pipeline.landing.delivery import Delivery, Kind, TextFormat, parse_stamp, stamp
from lfp_pipeline.landing.delivery_time import Version, time_of_fetched, time_of_file
from lfp_pipeline.landing.durable import leftovers, publish, temporary_beside, turn_in
from lfp_pipeline.landing.inbox import InboxFile
from lfp_pipeline.landing.intact import TOUCHED_AT, check_intact
from lfp_pipeline.landing.intents import is_pruned, keep_again
from lfp_pipeline.landing.outcomes import (
    MERGED,
    REVERTED,
    forget_outcome,
    last_noted,
)
from lfp_pipeline.landing.partition_key import PURGES, is_partition_key, key_hint
from lfp_pipeline.landing.raw_index import Landed, RawIndex
from lfp_pipeline.landing.raw_records import is_record_name, read_record
from lfp_pipeline.landing.sources import Fetched, Source, utc_now
from lfp_pipeline.landing.unfinished import PrefixDigest, ends_in_a_record
from lfp_pipeline.progress import TransferProgress
from lfp_pipeline.remedies import remedy

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
        for leftover in leftovers(folder):
            log.info("Removing %s, left by a landing that was killed", leftover)
        progress = TransferProgress(log, f"Landing {source.name}")
        before = None if kind is Kind.DELETION else self._last_version(key)
        with temporary_beside(folder / "raw", _OWNER_ONLY) as (file, temporary):
            sink = _HashingSink(file, self.root, before.size_bytes if before else 0)
            fetched = source.fetch(sink, progress)
            group = os.fstat(file.fileno()).st_gid
            os.fchmod(file.fileno(), fetched.readers.mode_in(folder, group))
            sha256, landed_at = sink.digest.hexdigest(), utc_now()
            with turn_in(folder):
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
        if stated_at is None or polled or not fetched.is_file_time:
            newest = self._newest_version(key)
            return time_of_fetched(fetched, sha256, landed_at, newest, polled=polled)
        versions = list(map(_version, _record_names(self.root / key)))
        newest = max(versions, default=None)
        newest_is_ahead = newest is not None and newest.delivered_at > landed_at
        same_time = self.index.deliveries(key, stated_at)
        for one in same_time:
            version = _version(one.stem)
            is_last = one is same_time[-1] and (version == newest or not newest_is_ahead)
            is_its_file = fetched.ctime_ns is None or one.is_read_from(fetched.ctime_ns)
            if version.digest == sha256[:16] and (is_last or is_its_file):
                return version.delivered_at
        return time_of_file(
            stated_at,
            landed_at,
            newest=newest,
            same_time=_version(same_time[-1].stem) if same_time else None,
            taken={one.delivered_at for one in versions if one.digest != sha256[:16]},
        )

    def _last_version(self, key: str) -> Delivery | None:
        """Return the newest delivery of a partition, if its record can be read."""
        with suppress(LandingError):
            return self.newest(key)
        return None

    def _newest_version(self, key: str) -> Version | None:
        """Return the newest version in a partition, as the name of its record tells it."""
        return max(map(_version, _record_names(self.root / key)), default=None)

    def _newest_record(self, key: str) -> Path | None:
        newest = max(_record_names(self.root / key), default=None)  # Names sort as time does.
        return None if newest is None else self.root / key / newest

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
        is_kept = recorded is not None and _is_intact(recorded)
        if recorded is not None:
            delivery = _landed_again(recorded, delivery, is_kept=is_kept, log=log)
        is_recorded = is_kept and delivery == recorded
        was_pruned = is_pruned(delivery.path)
        if was_pruned or not (is_kept and recorded and _ends_alike(delivery, recorded)):
            forget_outcome(delivery.path)
        is_touched = not is_kept or _take_readers(delivery.path, file)
        if not is_kept:
            publish(file, temporary, delivery.path)
        if was_pruned:
            keep_again(delivery.path)
        if is_touched or not is_recorded:
            self._record(delivery)
        return delivery

    def newest(self, key: str) -> Delivery | None:
        """The newest delivery of a partition; None: there is none.

        Raises:
            LandingError: its record cannot be read.
        """
        newest = self._newest_record(key)
        return None if newest is None else read_record(newest)

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
        return sorted(map(read_record, records), key=lambda one: one.age)

    def all_deliveries(self) -> list[Delivery]:
        """All deliveries of all partitions, oldest first.

        Raises:
            LandingError: a record cannot be read.
        """
        return sorted(map(read_record, self.root.glob("*/[!.]*.json")), key=lambda one: one.age)

    def survey(self) -> tuple[list[Delivery], list[str]]:
        """All deliveries whose records can be read, oldest first, and what is wrong with others."""
        deliveries, problems = [], []
        for record in sorted(self.root.glob("*/[!.]*.json")):
            try:
                deliveries.append(read_record(record))
            except LandingError as error:
                problems.append(str(error))
        return sorted(deliveries, key=lambda one: one.age), problems

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

    def forget_outcome(self, delivery_id: str) -> None:
        """Have a delivery be offered again, as far as it can be had."""
        if path := self._path_of(delivery_id):
            forget_outcome(path)

    def _record_of(self, delivery_id: str) -> Path | None:
        path = self._path_of(delivery_id)
        return path if path and path.exists() else None

    def _path_of(self, delivery_id: str) -> Path | None:
        """Where the record of such an id is, or would be; None: it is no id."""
        key, _, name = delivery_id.partition("#")
        path = self.root / key / f"{name.replace('#', '-')}.json"
        return path if is_partition_key(key) and "/" not in name else None

    def unended(self, database_id: str | None, log: logging.Logger) -> list[Delivery]:
        """All deliveries of which no end in that database is noted, as far as one can be reached.

        Of a pruned delivery nothing can be taken in; it can be taken out.

        Returns:
            The oldest first.
        """
        return _readable(self.index.unended(database_id), log)

    def unended_wishes(self, database_id: str | None, log: logging.Logger) -> list[Delivery]:
        """Of all deliveries that came to no end there, the purges, and what is to be taken out.

        Returns:
            The oldest first.
        """
        return _readable(self.index.unended_wishes(database_id), log)

    def is_unended(self, key: str, database_id: str | None) -> bool:
        """Whether of a delivery of a partition no end in that database is noted."""
        return self.index.has_unended(key, database_id)

    def ended(self, files: Sequence[InboxFile], database_id: str | None) -> list[Landed | None]:
        """Return for each version of a file its delivery, if that came to an end in that database.

        None, too, if the file is to land again: it was dropped anew, or brings lost bytes.
        """
        landed = self.index.landed(files)
        return [one if one and one.has_ended(database_id) else None for one in landed]

    def has_twin(self, delivery: Delivery) -> bool:
        """Whether another delivery of its partition has the same digest, as far as names tell."""
        end = f"-{delivery.sha256[:16]}.json"
        own = delivery.path.with_suffix(".json").name
        names = _record_names(delivery.path.parent)
        return any(name.endswith(end) and name != own for name in names)

    def _recorded(self, delivery: Delivery) -> Delivery | None:
        """The same delivery, if it has landed before; None, too, if its record cannot be read."""
        record = delivery.path.with_suffix(".json")
        if record.exists():
            with suppress(LandingError):
                return read_record(record)
        return None

    def _record(self, delivery: Delivery) -> None:
        content: dict[str, object] = {"delivery_id": delivery.delivery_id} | {
            name: value.isoformat(timespec="microseconds") if isinstance(value, datetime) else value
            for name, value in asdict(delivery).items()
            if name != "path"
        }
        if delivery.text_format == TextFormat():
            del content["text_format"]
        for name in ("stated_at", "source_ctime_ns", "completes"):
            if content[name] is None:
                del content[name]
        content[TOUCHED_AT] = delivery.path.stat().st_ctime_ns
        record = delivery.path.with_suffix(".json")
        with temporary_beside(record) as (file, temporary):
            file.write(json.dumps(content, indent=2).encode() + b"\n")
            publish(file, temporary, record)


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
        msg = f"The raw zone {root} cannot be written: {error.strerror or error}. {remedy(error)}"
        raise LandingError(msg.rstrip(), permanent=True) from error


def _text_format_to_keep(recorded: Delivery, given: TextFormat, log: logging.Logger) -> TextFormat:
    """Return the text format for the record of a delivery that lands again.

    A merged delivery keeps its recorded format: a rebuild must read the file in the same way.
    Nobody is warned of another charset: the server says it again with each read of a feed.
    """
    if given == recorded.text_format or last_noted(recorded.path) != MERGED:
        return given
    declared = replace(given, charset=recorded.text_format.charset)
    level = logging.DEBUG if declared == recorded.text_format else logging.WARNING
    log.log(
        level,
        "%s was merged with the text format (%s) and keeps it, although its source now gives (%s). "
        "To have it read with the new one: run revert_delivery for it, land it again from the same "
        "source (ingest_products), then run revert_delivery with reinstate: true.",
        recorded.delivery_id,
        recorded.text_format,
        given,
    )
    return recorded.text_format


def _take_readers(raw: Path, file: BinaryIO) -> bool:
    """Take a raw file away from those who may not read the file that has landed again.

    Returns:
        Whether there were any.
    """
    mode = S_IMODE(raw.stat().st_mode)
    left = mode & os.fstat(file.fileno()).st_mode
    if left == mode:
        return False
    raw.chmod(left)
    return True


def _is_intact(delivery: Delivery) -> bool:
    try:
        check_intact(delivery, thorough=True)  # Disks do lose bytes, and here are the right ones.
    except RawFileError:
        return False
    return True


def _landed_again(
    recorded: Delivery, landed: Delivery, *, is_kept: bool, log: logging.Logger
) -> Delivery:
    """Return what the record of a delivery is to tell, now that its bytes have landed again.

    Args:
        recorded: what it tells.
        landed: what it would tell, had they landed for the first time.
        is_kept: whether the raw file is intact.
        log: for what is left as it was.
    """
    is_file = landed.source_ctime_ns is not None
    return replace(
        recorded if is_kept else landed,
        kind=recorded.kind,
        text_format=_text_format_to_keep(recorded, landed.text_format, log),
        # By these two, the inbox is compared with what has landed.
        stated_at=landed.stated_at if is_file else recorded.stated_at,
        source_ctime_ns=landed.source_ctime_ns if is_file else recorded.source_ctime_ns,
        completes=recorded.completes,
    )


def _ends_alike(delivery: Delivery, recorded: Delivery) -> bool:
    """Whether what became of a delivery holds, now that its bytes have landed again.

    What was refused and is dropped anew is tried again.
    """
    is_dropped_anew = delivery.source_ctime_ns != recorded.source_ctime_ns
    if is_dropped_anew and last_noted(delivery.path) not in {MERGED, REVERTED}:
        return False
    return delivery.text_format == recorded.text_format


def _version(record_name: str) -> Version:
    time, _, digest = record_name.removesuffix(".json").partition("-")
    return Version(parse_stamp(time), digest)


def _record_names(folder: Path) -> Iterator[str]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if is_record_name(entry.name):
                yield entry.name


def _readable(records: Iterable[Path], log: logging.Logger) -> list[Delivery]:
    """The deliveries whose records can be read, oldest first."""
    deliveries = []
    for record in records:
        try:
            deliveries.append(read_record(record))
        except LandingError as error:
            log.warning("Left out: %s", error)
    return sorted(deliveries, key=lambda one: one.age)


def as_recorded(delivery: Delivery) -> Delivery:
    """Return a delivery with the text format that its record has now, if that can be read."""
    with suppress(LandingError):
        recorded = read_record(delivery.path.with_suffix(".json"))
        return replace(delivery, text_format=recorded.text_format)
    return delivery
