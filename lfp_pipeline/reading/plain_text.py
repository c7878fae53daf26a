"""The texts of a delivery as files in UTF-8; a plain raw file in UTF-8 is used directly."""

import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.model.delivery import Delivery, TextFormat
from lfp_pipeline.reading.compression import peek
from lfp_pipeline.reading.dialect import HEAD_BYTES, detect_dialect
from lfp_pipeline.reading.encoding import beyond_ascii, extends_ascii, is_utf8, to_utf8
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.text_encoding import encoding_by_head, other_encoding
from lfp_pipeline.reading.unpacking import Content, TimeLimit, contents, is_packed


@dataclass(frozen=True)
class PlainText:
    """A file that is read as UTF-8.

    Attributes:
        name: in a delivery of several texts, the name of this one; otherwise empty.
        mark_length: length of the byte order marks at its beginning, in bytes.
        certain: whether its encoding is decided: by its bytes, by the sources file, or by
            `in_its_encoding`.
        encoding: from which it was recoded; Python's name.
        charset: that the server states; Python's name.
        delimiter: between its values, if its source states one.
        notes: sentences for people about the reading.
        unpacking_notes: sentences for people about the unpacking; only the first text has them.
    """

    name: str
    path: Path
    mark_length: int
    certain: bool
    encoding: str = "utf-8"
    charset: str | None = None
    delimiter: str | None = None
    notes: tuple[str, ...] = ()
    unpacking_notes: tuple[str, ...] = ()

    @property
    def head(self) -> bytes:
        """The first bytes of the file."""
        with self.path.open("rb") as file:
            return file.read(HEAD_BYTES)

    @property
    def is_readable(self) -> bool:
        """Whether the file can be read as UTF-8, judged by its first bytes."""
        if self.certain:
            return True
        return extends_ascii(self.charset or "utf-8") and is_utf8(self.head)


def plain_texts(delivery: Delivery, folder: Path, options: ReadOptions) -> list[PlainText]:
    """Unpack and recode the raw file of a delivery into a folder, as far as necessary.

    Return one text; for a zip, one for each member that is read, in the order of their names.

    Raises:
        DeliveryRefusedError: the raw file cannot be unpacked.
        ReadingTimeoutError: choosing the members of a zip takes too long.
    """
    raw, text_format = delivery.path, delivery.text_format
    packed = is_packed(raw)
    has_header = header_check(text_format, options)
    with closing(contents(raw, options.max_unpacked_bytes, has_header)) as several:
        return [
            _plain_text(content, raw, folder / f"plain-{number}.csv", packed, text_format)
            for number, content in enumerate(several)
        ]


def header_check(text_format: TextFormat, options: ReadOptions) -> Callable[[bytes], bool]:
    """Return a function that decides whether a text has the header of a product file.

    The function takes the first `HEAD_BYTES` of the text, in any encoding. It raises a
    ReadingTimeoutError after the longest time for an archive, counted from now.
    """
    limit = TimeLimit(options.max_archive_seconds)

    def has_header(head: bytes) -> bool:
        limit.check()
        found = encoding_by_head(head, text_format)
        mark_length = found.mark_length
        if found.codec != "utf-8":
            head, mark_length = b"".join(to_utf8([head[mark_length:]], found.codec)), 0
        try:
            detect_dialect(head[:HEAD_BYTES], mark_length, text_format.delimiter, options)
        except DeliveryRefusedError:
            return False
        return True

    return has_header


def _plain_text(
    content: Content, raw: Path, spool: Path, packed: bool, text_format: TextFormat
) -> PlainText:
    head, pieces = peek(content.pieces, HEAD_BYTES)
    found = encoding_by_head(head, text_format)
    path, mark_length = spool, found.mark_length
    if found.codec != "utf-8":
        with spool.open("xb") as out:
            out.writelines(to_utf8(chain([head[mark_length:]], content.pieces), found.codec))
        mark_length = 0
    elif packed:
        with spool.open("xb") as out:
            out.writelines(pieces)
    else:
        path = raw
    return PlainText(
        content.name,
        path,
        mark_length,
        found.certain,
        found.codec,
        text_format.charset,
        text_format.delimiter,
        notes=found.notes,
        unpacking_notes=tuple(content.notes),
    )


def in_its_encoding(
    text: PlainText, fallback: str | None, folder: Path, log: logging.Logger
) -> PlainText:
    """Return the text with its final encoding, recoded into the folder if that is not UTF-8.

    A text that is not UTF-8 has the encoding `fallback`, if its server states none.
    """
    if text.certain or not (text.charset or fallback):
        return text
    counted = characters, others = beyond_ascii(text.path)
    found = other_encoding(text.head, counted, text.charset, fallback)
    if found is None:
        if others:
            subject = text.name or "The file"
            message = "%s is read as UTF-8: it has %d characters beyond ASCII, and %d invalid bytes"
            log.warning(message, subject, characters, others)
        return replace(text, certain=True)
    spool = folder / f"{found.codec}.csv"
    with text.path.open("rb") as file, spool.open("xb") as out:
        out.writelines(to_utf8(iter(lambda: file.read(HEAD_BYTES), b""), found.codec))
    return replace(
        text,
        path=spool,
        mark_length=0,
        certain=True,
        encoding=found.codec,
        notes=(*text.notes, *found.notes),
    )
