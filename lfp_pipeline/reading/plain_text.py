"""A delivery as a UTF-8 file: the raw file itself where it is one already."""

from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from lfp_pipeline.reading.dialect import HEAD_BYTES
from lfp_pipeline.reading.encoding import detect_encoding, to_utf8
from lfp_pipeline.reading.unpacking import is_packed, plain_bytes


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
    with closing(plain_bytes(raw, max_unpacked_bytes)) as pieces:
        head = b""
        while len(head) < HEAD_BYTES and (piece := next(pieces, b"")):
            head += piece
        encoding, mark_length = detect_encoding(head)
        certain = encoding != "utf-8" or mark_length > 0
        path = raw
        if encoding != "utf-8" or is_packed(raw):
            path = folder / "plain.csv"
            with path.open("wb") as out:
                if encoding == "utf-8":
                    out.writelines(chain([head], pieces))
                else:
                    out.writelines(to_utf8(chain([head[mark_length:]], pieces), encoding))
                    mark_length = 0
    return PlainText(path, mark_length, _head(path), certain)


def recoded(text: PlainText, encoding: str, folder: Path) -> PlainText:
    """The same file, read as another encoding."""
    spool = folder / f"{encoding}.csv"
    with text.path.open("rb") as file, spool.open("xb") as out:
        out.writelines(to_utf8(iter(lambda: file.read(HEAD_BYTES), b""), encoding))
    return PlainText(spool, 0, _head(spool), certain=True)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)
