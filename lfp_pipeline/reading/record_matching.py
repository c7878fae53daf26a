"""Finds the records that two files have in common, in whatever order, and compares their bytes.

Samples of the records propose pairs: first records beside each other in both files, then, if these
are few, any records of which each file has one. No pair is returned whose bytes were not compared.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from lfp_pipeline.reading.record_index import RecordIndex
from lfp_pipeline.reading.records import mapped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_ANCHORS = np.uint32(7)
"""One in eight records, by its sample, may be an anchor, from which its neighbours are paired."""

_BLOCK_ANCHORS = 1 << 12

_COMPARED_BYTES = 1 << 20

_FEW = 0.5


def match_records(old: RecordIndex, new: RecordIndex) -> "Array":
    """Return, for each record of `new`, the number of the equal record of `old`, from 0; or -1.

    No record of `old` is returned twice. Not every equal record is found.
    """
    if not (old.records and new.records):
        return np.full(new.records, -1, np.int32)
    i, j = _unique_pairs(*_anchors(old), *_anchors(new))
    partner = _paired_by_neighbours(old.samples, new.samples, i, j)
    if np.count_nonzero(partner >= 0) < _FEW * min(old.records, new.records):
        is_free = np.ones(old.records, bool)
        is_free[partner[partner >= 0]] = False
        free, lone = np.flatnonzero(is_free), np.flatnonzero(partner < 0)
        i, j = _unique_pairs(free, old.samples[free], lone, new.samples[lone])
        partner[j] = i
    partner[_different(old, new, partner)] = -1
    return partner


def _anchors(index: RecordIndex) -> "tuple[Array, Array]":
    numbers = np.flatnonzero((index.samples & _ANCHORS) == 0)
    return numbers, index.samples[numbers]


def _unique_pairs(
    old: "Array", old_samples: "Array", new: "Array", new_samples: "Array"
) -> "tuple[Array, Array]":
    """Return the records with a sample that each file has once, ordered by the new number."""
    samples = np.concatenate([old_samples, new_samples])
    order = np.argsort(samples)
    ordered = samples[order]
    differs = np.ones(len(ordered) + 1, bool)
    differs[1:-1] = ordered[1:] != ordered[:-1]
    is_new = order >= len(old)
    first = np.flatnonzero(differs[:-2] & ~differs[1:-1] & differs[2:] & (is_new[:-1] ^ is_new[1:]))
    one, other = order[first], order[first + 1]
    i, j = old[np.minimum(one, other)], new[np.maximum(one, other) - len(old)]
    by_new = np.argsort(j)
    return i[by_new], j[by_new]


def _paired_by_neighbours(old: "Array", new: "Array", i: "Array", j: "Array") -> "Array":
    """Pair the records that lie as far from an anchor in both files, and have equal samples.

    Return, for each sample of `new`, the number of its pair in `old`, or -1. Each record is tried
    by the anchor before it, and then by the one after it.

    Args:
        i, j: the numbers of the anchors in both files, ordered by `j`.
    """
    shifts = np.concatenate([[0], i - j, [len(old) - len(new)]]).astype(np.int32)
    places = np.concatenate([[0], j, [len(new)]])
    partner, highest, is_ascending = np.empty(len(new), np.int32), -1, True
    # Blocks stay in the cache of the processor.
    for first in range(0, len(places) - 1, _BLOCK_ANCHORS):
        last = min(first + _BLOCK_ANCHORS, len(places) - 1)
        begin, end = places[first], places[last]
        distances, samples = np.diff(places[first : last + 1]), new[begin:end]
        records = np.arange(begin, end, dtype=np.int32)
        proposed = records + np.repeat(shifts[first:last], distances)
        np.clip(proposed, 0, len(old) - 1, out=proposed)
        others = np.flatnonzero(old[proposed] != samples)
        anchor = np.searchsorted(places[first : last + 1], others + begin, "right")
        again = np.clip(records[others] + shifts[first:][anchor], 0, len(old) - 1)
        proposed[others] = np.where(old[again] == samples[others], again, -1)
        partner[begin:end] = proposed
        paired = proposed[proposed >= 0]
        if paired.size:
            is_ascending &= bool(paired[0] > highest and (paired[1:] > paired[:-1]).all())
            highest = paired[-1]
    if not is_ascending:  # Leave one record of `new` to each record of `old`.
        numbers = np.flatnonzero(partner >= 0)
        owners = np.empty(len(old), np.int64)
        owners[partner[numbers]] = numbers
        partner[numbers[owners[partner[numbers]] != numbers]] = -1
    return partner


def _different(old: RecordIndex, new: RecordIndex, partner: "Array") -> "Array":
    """Return the records of `new` that have a partner with other bytes.

    Stretches of records that follow one another in both files are compared as one, up to a size,
    because a comparison copies its bytes.
    """
    is_break = (partner[1:] != partner[:-1] + 1) | (partner[:-1] < 0)
    is_break |= np.diff(new.starts[:-1] // _COMPARED_BYTES) != 0
    breaks = np.flatnonzero(is_break)
    begins, ends = np.append(0, breaks + 1), np.append(breaks, len(partner) - 1)
    is_paired = partner[begins] >= 0
    begins, ends = begins[is_paired], ends[is_paired]
    with mapped(old.path) as old_bytes, mapped(new.path) as new_bytes:

        def unequal(first: "Array", last: "Array") -> "list[int]":
            """Return which stretches differ, of those that begin and end with some records."""
            stretches = zip(
                old.starts[partner[first]].tolist(),
                (old.starts[partner[last] + 1] - old.newline_bytes).tolist(),
                new.starts[first].tolist(),
                (new.starts[last + 1] - new.newline_bytes).tolist(),
                strict=True,
            )
            return [
                number
                for number, (a, b, c, d) in enumerate(stretches)
                if old_bytes[a:b] != new_bytes[c:d]
            ]

        suspects = [np.arange(begins[k], ends[k] + 1) for k in unequal(begins, ends)]
        records = np.concatenate([np.empty(0, np.int64), *suspects])
        return records[unequal(records, records)]
