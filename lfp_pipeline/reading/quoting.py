"""Check of the quotes of a file, in a thread beside the reading of the file.

If every quote stands where RFC 4180 allows one, or no quote does, then the bytes that a CSV reader
drops are known without parsing: the quotes around values, and one of the two of an escaped quote.
So the bytes of the file must equal those of the values, the delimiters and the line ends. That
proves that no record is lost, cut, read twice, or has a wrong number of cells.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lfp_pipeline.reading.dialect import Dialect

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[Any]

_CHUNK_BYTES = 1 << 18
_AROUND = 2
"""Number of bytes before and after a quote that decide its meaning."""

_QUOTE, _SPACE = b'" '


@dataclass(frozen=True)
class Quoting:
    """The quotes of a file.

    Attributes:
        dropped_bytes: number of bytes that belong to no value: quotes around values, second quotes
            of escaped ones, and single spaces around quoted values.
        bare: whether no value is quoted, and all quotes are characters of values.
        quotes: number of all quotes.
    """

    dropped_bytes: int
    bare: bool
    quotes: int = field(default=0, compare=False)


@contextmanager
def quoting_checked(path: Path, dialect: Dialect) -> Iterator[Future[Quoting | None]]:
    """Check the quotes of a file in a thread while the block reads it; yield the future result.

    The result None means that the quotes prove nothing.
    """
    stopped = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(_check, path, dialect, stopped)
        finally:
            stopped.set()


def _check(path: Path, dialect: Dialect, stopped: threading.Event) -> Quoting | None:
    check = _Check(dialect.delimiter.encode())
    with path.open("rb", buffering=0) as file:
        file.seek(dialect.body_start)
        buffer = bytearray(b"\n" * _AROUND)  # A line end precedes the first record.
        while not stopped.is_set() and (check.regular or check.bare):
            piece = file.read(_CHUNK_BYTES)
            buffer += piece or b"\n" * _AROUND
            check.look(buffer)
            del buffer[: max(0, len(buffer) - 2 * _AROUND)]
            if not piece:
                return check.quoting
    return None


class _Check:
    """The test of two hypotheses over all chunks: quotes as in RFC 4180, or only bare quotes."""

    def __init__(self, delimiter: bytes) -> None:
        import numpy as np  # noqa: PLC0415 (the import takes a tenth of a second)

        self._np = np
        self._ends_value = np.zeros(256, bool)
        self._ends_value[[*delimiter, *b"\r\n"]] = True
        self._quotes = 0
        self._dropped = 0
        self.regular = self.bare = True

    @property
    def quoting(self) -> Quoting | None:
        """The result after all chunks; None: no hypothesis holds."""
        if self.bare:
            return Quoting(0, bare=True, quotes=self._quotes)
        closed = self._quotes % 2 == 0
        if not (self.regular and closed):
            return None
        return Quoting(self._dropped, bare=False, quotes=self._quotes)

    def look(self, buffer: bytearray) -> None:
        """Check the quotes of a chunk that has `_AROUND` known bytes before it and after it."""
        data = self._np.frombuffer(bytes(buffer), self._np.uint8)
        places = self._np.flatnonzero(data[_AROUND:-_AROUND] == _QUOTE) + _AROUND
        if not places.size:
            return
        before = data[places - 1]
        if self.bare:
            self.bare = not (self._ends_value[before] | (before == _SPACE)).any()
        if self.regular:
            # Without slips, every other quote opens a value, or is the second of an escaped one.
            first = self._quotes % 2
            self._look_outwards(data, places[first::2], -1)
            self._look_outwards(data, places[1 - first :: 2], 1)
        self._quotes += places.size

    def _look_outwards(self, data: "Bytes", places: "Bytes", step: int) -> None:
        """Check opening quotes (step -1) or closing ones (step 1) by the bytes beyond them."""
        beside, further = data[places + step], data[places + 2 * step]
        spaced = (beside == _SPACE) & self._ends_value[further]
        escaped = beside == _QUOTE
        self.regular &= bool((self._ends_value[beside] | spaced | escaped).all())
        self._dropped += int(places.size + spaced.sum())
        if step > 0:  # Of an escaped quote, the first one stays.
            self._dropped -= int(escaped.sum())
