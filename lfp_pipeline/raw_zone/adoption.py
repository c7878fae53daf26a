"""Adopts deliveries whose record was lost, as by an older copy of the catalog that was restored.

The records of several hosts are apart from the bytes. So each landing keeps a copy of the record
beside the bytes, once the record is committed. The record alone counts; a copy is read only here.
Bytes with neither are those of a landing that was killed: they do not count.
"""

import logging
from collections.abc import Iterator
from itertools import groupby

from lfp_pipeline.model.delivery import Kind, RawName
from lfp_pipeline.model.partition_key import PURGES, is_partition_key
from lfp_pipeline.raw_zone.raw_reader import RawReader
from lfp_pipeline.raw_zone.raw_records import UNREADABLE, is_raw_stem, parse_record
from lfp_pipeline.raw_zone.sidecars import RECORD

_NO_RECORD = (
    "%s/%s.raw has no record, and the copy of the record cannot be used: %s. Deliver the file "
    "again. If it lands under another time, these bytes are not needed."
)


def adopt_unrecorded(zone: RawReader, log: logging.Logger) -> tuple[int, list[str]]:
    """Give bytes that have lost their record that of the copy, and copies to records without one.

    Returns:
        The number of adopted deliveries, and a message for each that could not be adopted.

    Raises:
        BucketUnreachableError: the object store does not answer. Repeating it completes it.
        CatalogUnreachableError: the database does not answer.
    """
    adopted, problems = 0, []
    for key, stems, copied in _listed(zone):
        recorded = set(zone.sidecars.recorded(key))
        for stem in sorted(stems & copied - recorded):
            try:
                adopted += _adopt(zone, RawName(key, stem), log)
            except UNREADABLE as error:
                problems.append(_NO_RECORD % (key, stem, f"{error} ({type(error).__name__})"))
        for stem in sorted(stems & recorded - copied):
            zone.records.keep_copy(RawName(key, stem))
    return adopted, problems


def unrecorded(zone: RawReader) -> list[str]:
    """Return the ids of all deliveries that have bytes, and have lost their record."""
    if not zone.sidecars.are_apart:
        return []
    return [
        RawName(key, stem).delivery_id
        for key, stems, copied in _listed(zone)
        for stem in sorted(stems & copied - set(zone.sidecars.recorded(key)))
    ]


def _listed(zone: RawReader) -> Iterator[tuple[str, set[str], set[str]]]:
    """Yield each partition of the store, and the stems of its bytes and of copies of records."""
    for key, names in groupby(zone.store.names(), lambda found: found[0].key):
        stems: dict[str, set[str]] = {"raw": set(), RECORD: set()}
        for (_, stem), suffix in names:
            if suffix in stems and is_raw_stem(stem) and is_partition_key(key):
                stems[suffix].add(stem)
        yield key, stems["raw"], stems[RECORD]


def _adopt(zone: RawReader, name: RawName, log: logging.Logger) -> bool:
    """Write the record of a delivery from its copy; return False if it has one by now.

    Raises:
        One of `UNREADABLE`: the copy is missing, damaged, or that of other bytes.
    """
    kept = zone.store.kept_beside(name)
    if RECORD not in kept:
        msg = "it is missing"
        raise FileNotFoundError(msg)
    delivery = parse_record(kept[RECORD], zone.store.path(name))
    if (
        delivery.delivery_id != name.delivery_id
        or (delivery.kind is Kind.DELETION) != (name.key == PURGES)
        or zone.store.size(name) != delivery.size_bytes
        or not zone.store.is_intact(delivery)
    ):
        msg = "it does not describe these bytes, or they cannot be read"
        raise ValueError(msg)
    with zone.sidecars.changing(name.key):
        if zone.sidecars.exists(name, RECORD):
            return False
        for suffix, sidecar in kept.items():
            zone.sidecars.write(name, suffix, sidecar.content, sidecar.written_ns)
    log.info("Adopted %s, whose record was lost", delivery.label)
    return True
