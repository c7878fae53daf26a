"""Guesses how a file that is not UTF-8 is encoded, for the people who can say so.

A guess decides nothing: it names the setting that a person may want.
"""

import re
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path

from lfp_pipeline.common.text_codecs import codec_name, encoding_label
from lfp_pipeline.reading.encoding import beyond_ascii, invalid_utf8_offsets
from lfp_pipeline.reading.plain_text import PlainText

_SETTING = "LFP_FALLBACK_ENCODING"

_SAMPLE_BYTES = 100_000
_LINE_BYTES = 10_000
_LINE_END = re.compile(rb"[\r\n]")
_NOT_IN_CHARACTERS = re.compile(rb"[\0-/]")
"""Bytes that are no part of a longer character, in no encoding that is a candidate."""

_WINDOWS_1252 = "cp1252"
_CANDIDATES = (
    *(_WINDOWS_1252, "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257"),
    *("cp850", "cp437", "cp852", "cp866", "koi8-r", "mac-roman"),
    *("cp932", "euc_jp", "gb18030", "big5", "cp949"),
)
"""What product files are written in. Of two that give the same text, the first is named."""

_LETTERS = [
    set(letters)
    for letters in (
        "äöüßåéà",  # German, Swedish, Finnish
        "àâæçéèêëîïôœùûüÿ",  # French
        "áéíóúüñàçèòï",  # Spanish, Catalan
        "àáãâçéêíóôõúü",  # Portuguese
        "àèéìíîòóùú",  # Italian
        "æøåäöéèêóôü",  # Danish, Norwegian
        "éèëïöüóáí",  # Dutch
    )
]
"""What the languages of windows-1252 write beyond ASCII."""

_SIGNS_AMONG_LETTERS = set("ªºµ")
_ODD = re.compile(
    # A sign within a word, unless it is an apostrophe, a dash or the like.
    r"(?<=[^\W\d_])(?:[^\w\0-\x7f\xa0\xad·®\u2013\u2014\u2019™]|[ªºµ¹²³¼½¾])(?=[^\W\d_])"
    r"|[¤¦¬¯\xb8\u02c6\u02dc]"  # What no product text has.
    r"|[a-zß-ÿœšž][À-ÞŒŠŽŸ]"  # An accented capital within a word.
    r"|[À-ÖØ-öø-ÿ]{3}"  # As in Cyrillic and Greek, whose letters are all beyond ASCII.
)
_TYPICAL_SHARE = 0.9


def likely_encoding(path: Path) -> str | None:
    """Return the encoding that a file is probably written in.

    Args:
        path: a file, of which some lines are not UTF-8.

    Returns:
        Python's name of it; None: no guess is good enough.
    """
    sample = b"\n".join(_lines(path))
    if not sample:
        return None
    lines = sample.split(b"\n")
    if sum(map(_is_typical, lines)) >= _TYPICAL_SHARE * len(lines):
        return _WINDOWS_1252
    # Only refusals need it, and it takes a tenth of a second.
    from charset_normalizer import from_bytes  # noqa: PLC0415

    best = from_bytes(sample, cp_isolation=list(_CANDIDATES), enable_fallback=False).best()
    if best is None:
        return None
    same = (codec for codec in _CANDIDATES if _decoded(sample, codec) == str(best))
    return codec_name(next(same, best.encoding))


def encoding_hint(
    text: PlainText, *, in_sources_file: bool = False, fallback: str | None = None
) -> str:
    """Return what a person can do about a text that is not in the encoding it was read in.

    Args:
        text: as it is before the setting is applied.
        in_sources_file: whether its source is an entry of the sources file.
        fallback: what the setting says at present.

    Returns:
        A sentence; empty if the text is as it was read, or no advice is to be had.
    """
    subject = text.name or "The file"
    characters, others = beyond_ascii(text.path)
    if not others:
        return ""
    if text.encoding != "utf-8":
        remedy = ", or correct its `encoding` in the sources file" if in_sources_file else ""
        label = encoding_label(text.encoding)
        return f"{subject} is not {label} throughout: correct it where it is made{remedy}."
    if others <= characters or text.mark_length:
        return f"{subject} is UTF-8 in part only: correct it where it is made."
    codec = likely_encoding(text.path)
    # A server's word comes before the setting, and the sources file before both.
    in_sources_file = in_sources_file or text.certain or text.charset not in {None, "utf-8"}
    if codec is None:
        name = "`encoding` of its source in the sources file" if in_sources_file else _SETTING
        return f"{subject} is not UTF-8: set {name} to the encoding that it is written in."
    label = encoding_label(codec)
    found = f"{subject} is not UTF-8; it is probably {label}"
    if in_sources_file:
        return f"{found}: write `encoding: {label}` for its source in the sources file."
    hint = f"{found}: for all files that are not UTF-8, set {_SETTING}={label}"
    return "" if codec == fallback else hint


def _lines(path: Path) -> Iterator[bytes]:
    """Yield lines that are not UTF-8, the first ones of a file, and of long ones a part."""
    size, done = 0, 0
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as buffer:
        for offset in invalid_utf8_offsets(path):
            if offset < done:
                continue
            start = _line_start(buffer, max(done, offset - _LINE_BYTES), offset)
            done = _line_end(buffer, offset)
            yield buffer[start:done]
            size += done - start
            if size >= _SAMPLE_BYTES:
                return


def _line_start(buffer: mmap, first: int, offset: int) -> int:
    """Return where the line of an offset begins, or a part of it that begins after `first`."""
    line_end = max(buffer.rfind(b"\n", first, offset), buffer.rfind(b"\r", first, offset))
    if line_end >= 0:
        return line_end + 1
    found = _NOT_IN_CHARACTERS.search(buffer, first, offset) if first else None
    return found.end() if found else first


def _line_end(buffer: mmap, offset: int) -> int:
    """Return where the line of an offset ends, or a part of it that is not too long."""
    last = min(offset + _LINE_BYTES, len(buffer))
    if found := _LINE_END.search(buffer, offset, last):
        return found.start()
    if last == len(buffer):
        return last
    return max(
        (one.start() for one in _NOT_IN_CHARACTERS.finditer(buffer, offset, last)), default=last
    )


def _is_typical(line: bytes) -> bool:
    """Return whether a line reads as one language of windows-1252 would."""
    text = _decoded(line, _WINDOWS_1252)
    if text is None or _ODD.search(text):
        return False
    beyond = {one.lower() for one in text if one.isalpha() and not one.isascii()}
    return any(beyond - _SIGNS_AMONG_LETTERS <= letters for letters in _LETTERS)


def _decoded(sample: bytes, codec: str) -> str | None:
    try:
        return sample.decode(codec)
    except UnicodeDecodeError:
        return None
