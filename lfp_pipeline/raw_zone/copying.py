"""Copies a raw zone into another one: from a folder to several hosts, and back."""

import logging
import shutil
from dataclasses import replace

from lfp_pipeline.common.atomic_files import temporary_sibling
from lfp_pipeline.common.text import pluralize
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.raw_zone.sidecars import MARKERS, RECORD


def copy_deliveries(source: RawZone, target: RawZone, log: logging.Logger) -> int:
    """Copy all deliveries with their desired states, and return how many there are.

    Status notes are not copied: they name a database. A delivery that the target has keeps its
    bytes, and gets the desired state of the source. Repeating an interrupted copy completes it.

    Raises:
        LandingError: a record cannot be read.
        RawFileError: the bytes of a delivery are damaged or gone. Deliveries before it are copied.
    """
    deliveries = source.all_deliveries()
    copied = 0
    for number, delivery in enumerate(deliveries, 1):
        copied += _copy(source, target, delivery)
        log.debug("Copied %d of %d: %s", number, len(deliveries), delivery.label)
    others = f"; {len(deliveries) - copied:,} were there before" if copied < len(deliveries) else ""
    log.info("Copied %s%s.", pluralize(copied, "delivery"), others)
    return len(deliveries)


def _copy(source: RawZone, target: RawZone, delivery: Delivery) -> bool:
    """Copy a delivery: bytes, markers, and the record last, because it makes the delivery exist.

    Returns:
        Whether the target lacked it.
    """
    name = delivery.raw_name
    path = target.store.path(name)
    with temporary_sibling(path) as (file, temporary), target.sidecars.changing(name.key):
        if not (source.desired.is_pruned(name) or target.store.size(name) == delivery.size_bytes):
            with source.verified(delivery) as raw, raw.open("rb") as content:
                shutil.copyfileobj(content, file)
            target.store.commit(file, temporary, delivery)
        for suffix in MARKERS:
            if marker := source.sidecars.read(name, suffix):
                target.sidecars.write(name, suffix, marker.content, marker.written_ns)
            else:
                target.sidecars.remove(name, suffix)
        is_new = not target.sidecars.exists(name, RECORD)
        if is_new:
            target.records.write(replace(delivery, path=path))
    target.records.keep_copy(name)
    return is_new
