"""A delivery as files of UTF-8: the raw file itself where it is one already."""

from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from lfp_pipeline.reading.dialect import HEAD_BYTES
from lfp_pipeline.reading.encoding import detect_encoding, to_utf8
from lfp_pipeline.reading.unpacking import Content, contents, is_packed


@dataclass(frozen=True)
class PlainText:
    """A file that is read as UTF-8.

    Attributes:
        name: if the delivery has several, its name among them; otherwise nothing.
        path: where it is.
        mark_length: of the byte order mark that it begins with.
        certain: whether it says itself how it is encoded, or was recoded.
    """

    name: str
    path: Path
    mark_length: int
    certain: bool

    @property
    def head(self) -> bytes:
        """Its first bytes."""
        with self.path.open("rb") as file:
            return file.read(HEAD_BYTES)


def plain_texts(raw: Path, folder: Path, max_unpacked_bytes: int) -> list[PlainText]:
    """Unpack and recode a raw file, as far as it needs it.

    Returns:
        One text; of a zip, one for each member, in the order of their names.

    Raises:
        DeliveryRefusedError: it cannot be unpacked.
    """
    packed = is_packed(raw)
    with closing(contents(raw, max_unpacked_bytes)) as several:
        return [
            _plain_text(content, raw, folder / f"plain-{number}.csv", packed)
            for number, content in enumerate(several)
        ]


def _plain_text(content: Content, raw: Path, spool: Path, packed: bool) -> PlainText:
    pieces, head = content.pieces, b""
    while len(head) < HEAD_BYTES and (piece := next(pieces, b"")):
        head += piece
    encoding, mark_length = detect_encoding(head)
    certain = encoding != "utf-8" or mark_length > 0
    if encoding == "utf-8" and not packed:
        return PlainText(content.name, raw, mark_length, certain)
    with spool.open("xb") as out:
        if encoding == "utf-8":
            out.writelines(chain([head], pieces))
        else:
            out.writelines(to_utf8(chain([head[mark_length:]], pieces), encoding))
            mark_length = 0
    return PlainText(content.name, spool, mark_length, certain)


def recoded(text: PlainText, encoding: str, folder: Path) -> PlainText:
    """The same file, read as another encoding."""
    spool = folder / f"{encoding}.csv"
    with text.path.open("rb") as file, spool.open("xb") as out:
        out.writelines(to_utf8(iter(lambda: file.read(HEAD_BYTES), b""), encoding))
    return PlainText(text.name, spool, 0, certain=True)
