"""A delivery as files of UTF-8: the raw file itself where it is one already."""

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
from lfp_pipeline.reading.header import header_search
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.text_encoding import TextEncoding, encoding_by_head, other_encoding
from lfp_pipeline.reading.unpacking import Content, TimeLimit, contents, is_packed


@dataclass(frozen=True)
class PlainText:
    """A file that is read as UTF-8.

    Attributes:
        name: if the delivery has several, its name among them; otherwise nothing.
        path: where it is.
        mark_length: of the byte order marks that it begins with.
        certain: whether its encoding is decided: by itself, by the sources file, or by
            `in_its_encoding`.
        encoding: what it was recoded from; Python's name.
        charset: what the server says of its encoding; Python's name.
        delimiter: between its values, if its source says which.
        notes: what people should know of how it is read, a sentence each.
        unpacking_notes: likewise of how the delivery was unpacked; only the first text has them.
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
        """Its first bytes."""
        with self.path.open("rb") as file:
            return file.read(HEAD_BYTES)

    @property
    def is_readable(self) -> bool:
        """Whether it can be read as UTF-8 before all of it was looked at."""
        if self.certain:
            return True
        return extends_ascii(self.charset or "utf-8") and is_utf8(self.head)


def plain_texts(delivery: Delivery, folder: Path, options: ReadOptions) -> list[PlainText]:
    """Unpack and recode the raw file of a delivery, as far as it needs it.

    Args:
        delivery: what is read.
        folder: for the texts, if they are not the raw file itself.
        options: how the texts are read.

    Returns:
        One text; of a zip, one for each member that is read, in the order of their names.

    Raises:
        DeliveryRefusedError: it cannot be unpacked.
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
    """Return a function that says whether a text has the header of a product file.

    It takes the first `HEAD_BYTES` of the text, in any encoding, and raises a ReadingTimeoutError
    when the time for reading an archive is over, counted from now.
    """
    limit = TimeLimit(options.max_archive_seconds)
    search = header_search(text_format.delimiter, options)

    def has_header(head: bytes) -> bool:
        limit.check()
        found = encoding_by_head(head, text_format)
        mark_length = found.mark_length
        if found.codec != "utf-8":
            head, mark_length = b"".join(to_utf8([head[mark_length:]], found.codec)), 0
        try:
            detect_dialect(head[:HEAD_BYTES], mark_length, search)
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
        notes=_notes(found),
        unpacking_notes=tuple(content.notes),
    )


def in_its_encoding(
    text: PlainText, fallback: str | None, folder: Path, log: logging.Logger
) -> PlainText:
    """Return the text with its encoding decided for good, recoded if it is not UTF-8.

    Args:
        text: any text.
        fallback: how to read it if it is in earnest not UTF-8, and its server does not say.
        folder: for the recoded text.
        log: for bytes that are not UTF-8 in a text that is.
    """
    if text.certain or not (text.charset or fallback):
        return text
    counted = characters, others = beyond_ascii(text.path)
    found = other_encoding(text.head, counted, text.charset, fallback)
    if found:
        return transcoded(text, found, folder)
    if others:
        subject = text.name or "The file"
        message = (
            "%s is read as UTF-8: it has %d characters beyond ASCII, and %d bytes that are none"
        )
        log.warning(message, subject, characters, others)
    return replace(text, certain=True)


def transcoded(text: PlainText, found: TextEncoding, folder: Path) -> PlainText:
    """Return the same file, read in another encoding."""
    spool = folder / f"{found.codec}.csv"
    with text.path.open("rb") as file, spool.open("xb") as out:
        out.writelines(to_utf8(iter(lambda: file.read(HEAD_BYTES), b""), found.codec))
    return replace(
        text,
        path=spool,
        mark_length=0,
        certain=True,
        encoding=found.codec,
        notes=(*text.notes, *_notes(found)),
    )


def _notes(found: TextEncoding) -> tuple[str, ...]:
    return (found.note,) if found.note else ()
