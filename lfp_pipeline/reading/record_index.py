"""The index of a plain CSV file: where each record begins, and a sample of its bytes.

A record ends at a line end outside quotes. Bits of 64-bit words stand for the bytes of the file, so
that a few operations of numpy find the line ends among 64 bytes. Equal records of 8 bytes or more
have equal samples. Records with equal samples may differ: a sample proposes, and only bytes decide.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_CHUNK_BYTES = 1 << 19
_LONGEST_BYTES = 1 << 26
"""A longer record means that the quotes of the file are not as expected."""

SAMPLE_MASK = np.uint32(0xFFFFFFFF)
"""The bits of a sample that count; with fewer, more records have equal samples."""

_WORD_BITS = 64
_QUOTE = ord('"')
_SHIFTS = tuple(np.uint64(1 << power) for power in range(6))
_ONE, _LAST_BIT = np.uint64(1), np.uint64(63)
_FACTORS = tuple(map(np.uint64, (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)))
_HALF = np.uint64(32)


@dataclass(frozen=True)
class RecordIndex:
    """The records of a file.

    Attributes:
        starts: the offset of each record, and of the end of the last one.
        samples: a number of 32 bits for each record, without its line end.
        newline_bytes: size of a line end.
    """

    path: Path
    starts: "Array"
    samples: "Array"
    newline_bytes: int

    @property
    def records(self) -> int:
        """The number of records."""
        return len(self.samples)


def index_records(path: Path, start: int, newline: bytes) -> RecordIndex | None:
    """Return the index of the records of a file from an offset on, where a record begins.

    Return None if an empty line, another line end, a last line without one, or an open quote shows
    that the file needs a closer look.
    """
    starts, samples = [np.array([start])], [np.empty(0, np.uint32)]
    size, chunk = path.stat().st_size, _CHUNK_BYTES
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(chunk + 2 * _WORD_BITS)
        while start < size:
            file.seek(start)
            read = file.readinto(memoryview(buffer)[:chunk])
            is_last = start + read >= size
            buffer[read : read + _WORD_BITS] = bytes(_WORD_BITS)
            ends = _record_ends(buffer, read, newline[-1])
            if not ends.size:
                chunk *= 2
                if is_last or chunk > _LONGEST_BYTES:
                    return None
                buffer = bytearray(chunk + 2 * _WORD_BITS)
                continue
            begins = np.concatenate([[0], ends[:-1]])
            stops = ends - len(newline)
            if (stops <= begins).any():
                return None
            if (np.frombuffer(buffer, np.uint8)[stops] != newline[0]).any():
                return None
            starts.append(ends + start)
            samples.append(_samples(buffer, begins, stops))
            start += int(ends[-1])
            if is_last and ends[-1] < read:
                return None
    return RecordIndex(path, np.concatenate(starts), np.concatenate(samples), len(newline))


def _record_ends(buffer: bytearray, size: int, newline: int) -> "Array":
    """Return the offsets after each line end outside quotes; the buffer begins outside quotes."""
    data = np.frombuffer(buffer, np.uint8, -(-size // _WORD_BITS) * _WORD_BITS)
    quoted = np.packbits(data == _QUOTE, bitorder="little").view("<u8")
    ends = np.packbits(data == newline, bitorder="little").view("<u8")
    for shift in _SHIFTS:  # Each bit becomes the parity of the quotes up to it in its word.
        quoted = quoted ^ (quoted << shift)
    is_open = np.logical_xor.accumulate((quoted >> _LAST_BIT).astype(bool))
    quoted[1:] ^= np.where(is_open[:-1], ~np.uint64(0), np.uint64(0))
    ends &= ~quoted
    places = np.flatnonzero(ends)
    bits, offsets = ends[places], places * _WORD_BITS
    found = []
    while bits.size:
        lowest = bits & (~bits + _ONE)
        found.append(offsets + np.bitwise_count(lowest - _ONE))
        bits ^= lowest
        more = bits != 0
        bits, offsets = bits[more], offsets[more]
    return np.sort(np.concatenate(found)) + 1 if found else np.empty(0, np.int64)


def _samples(buffer: bytearray, begins: "Array", stops: "Array") -> "Array":
    """Return a number for each record, by its length and the 8 bytes at its middle and its end."""
    # The 8 bytes from each offset on, as one number.
    words = np.ndarray((len(buffer) - 7,), "<u8", buffer, 0, (1,))
    lengths = stops - begins
    last = np.maximum(stops - 8, 0)
    mixed = lengths.astype(np.uint64) * _FACTORS[0]
    for factor, place in zip(_FACTORS, (begins + lengths // 2, last), strict=True):
        mixed ^= words[np.minimum(place, last)]
        mixed *= factor
        mixed ^= mixed >> _HALF
    return (mixed >> _HALF).astype(np.uint32) & SAMPLE_MASK
