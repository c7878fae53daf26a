"""A delivery as a UTF-8 file: the raw file itself where it is one already."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lfp_pipeline.reading.dialect import HEAD_BYTES
from lfp_pipeline.reading.encoding import detect_encoding, to_utf8
from lfp_pipeline.reading.unpacking import chunks, is_packed, open_unpacked


@dataclass(frozen=True)
class PlainText:
    """A file that is read as UTF-8.

    Attributes:
        path: where it is.
        mark_length: of the byte order mark that it begins with.
        head: its first bytes.
        certain: whether it says itself how it is encoded, or was recoded.
    """

    path: Path
    mark_length: int
    head: bytes
    certain: bool


def plain_text(raw: Path, folder: Path, max_unpacked_bytes: int) -> PlainText:
    """Unpack and recode a raw file, as far as it needs it.

    Raises:
        DeliveryRefusedError: it cannot be unpacked.
    """
    with _open(raw) as file:
        encoding, mark_length = detect_encoding(file.read(HEAD_BYTES))
    certain = encoding != "utf-8" or mark_length > 0
    if encoding == "utf-8" and not is_packed(raw):
        return PlainText(raw, mark_length, _head(raw), certain)
    spool = folder / "plain.csv"
    with _open(raw) as file, spool.open("wb") as out:
        pieces: Iterator[bytes] = chunks(file, max_unpacked_bytes)
        if encoding != "utf-8":
            file.read(mark_length)
            pieces, mark_length = to_utf8(pieces, encoding), 0
        out.writelines(pieces)
    return PlainText(spool, mark_length, _head(spool), certain)


def recoded(text: PlainText, encoding: str, folder: Path) -> PlainText:
    """The same file, read as another encoding."""
    spool = folder / f"{encoding}.csv"
    with text.path.open("rb") as file, spool.open("xb") as out:
        out.writelines(to_utf8(iter(lambda: file.read(HEAD_BYTES), b""), encoding))
    return PlainText(spool, 0, _head(spool), certain=True)


@contextmanager
def _open(raw: Path) -> Iterator[IO[bytes]]:
    opened = open_unpacked(raw) if is_packed(raw) else raw.open("rb")
    with opened as file:
        yield file


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)
