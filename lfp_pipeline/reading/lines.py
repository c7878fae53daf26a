"""The lines of a file, counted beside the reading of it: every row must be found among them."""

import re
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lfp_pipeline.reading.dialect import Dialect

_CHUNK_BYTES = 1 << 20
_SIDE_BY_SIDE = re.compile(rb'" +"')


@dataclass(frozen=True)
class Lines:
    """What follows the header of a file.

    Attributes:
        count: of lines.
        side_by_side: whether two quotes stand side by side somewhere, with only spaces between
            them: DuckDB takes `"a" "b"` for one value.
    """

    count: int
    side_by_side: bool


@contextmanager
def lines_counted(path: Path, dialect: Dialect) -> Iterator[Future[Lines]]:
    """Count the lines of a file in a thread of its own, while the block reads the file."""
    ended = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(_count, path, dialect, ended)
        finally:
            ended.set()


def _count(path: Path, dialect: Dialect, ended: threading.Event) -> Lines:
    line_break = dialect.newline[-1:]
    count, side_by_side, tail = 0, False, line_break
    buffer = bytearray(_CHUNK_BYTES)
    with path.open("rb", buffering=0) as file:
        file.seek(dialect.body_start)
        while not ended.is_set() and (size := file.readinto(buffer)):
            chunk = buffer if size == _CHUNK_BYTES else buffer[:size]
            count += chunk.count(line_break)
            if tail.startswith(b'"') or b'" ' in chunk:
                side_by_side |= _SIDE_BY_SIDE.search(tail + chunk) is not None
            tail = _last_of(tail, chunk)
    return Lines(count + (not tail.endswith(line_break)), side_by_side)


def _last_of(tail: bytes, chunk: bytes | bytearray) -> bytes:
    """The last byte that is not a space, and a space if there were any after it."""
    text = chunk.rstrip(b" ")
    last = bytes(text[-1:]) or tail[:1]
    return last + b" " * (len(text) < len(chunk))
