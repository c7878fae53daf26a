"""Guesses of the encoding of a file that is not UTF-8, as advice for people.

A guess decides nothing: it only names the setting that a person may need.
"""

import re
from collections.abc import Iterator
from mmap import mmap
from pathlib import Path

from lfp_pipeline.common.text_codecs import codec_name, encoding_label
from lfp_pipeline.reading.encoding import beyond_ascii, invalid_utf8_offsets
from lfp_pipeline.reading.plain_text import PlainText
from lfp_pipeline.reading.records import mapped

_SETTING = "LFP_FALLBACK_ENCODING"

_SAMPLE_BYTES = 100_000
_LINE_BYTES = 10_000
_LINE_END = re.compile(rb"[\r\n]")
_NOT_IN_CHARACTERS = re.compile(rb"[\0-/]")
"""Bytes that belong to no multi-byte character in any of the candidates."""

_WINDOWS_1252 = "cp1252"
_CANDIDATES = (
    *(_WINDOWS_1252, "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257"),
    *("cp850", "cp437", "cp852", "cp866", "koi8-r", "mac-roman"),
    *("cp932", "euc_jp", "gb18030", "big5", "cp949"),
)
"""Common encodings of product files. If two give the same text, the first is named."""

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
"""Letters beyond ASCII of each language of windows-1252."""

_SIGNS_AMONG_LETTERS = set("ªºµ")
_ODD = re.compile(
    # A sign within a word, except apostrophes, dashes and the like.
    r"(?<=[^\W\d_])(?:[^\w\0-\x7f\xa0\xad·®\u2013\u2014\u2019™]|[ªºµ¹²³¼½¾])(?=[^\W\d_])"
    r"|[¤¦¬¯\xb8\u02c6\u02dc]"  # Signs that no product text has.
    r"|[a-zß-ÿœšž][À-ÞŒŠŽŸ]"  # An accented capital within a word.
    r"|[À-ÖØ-öø-ÿ]{3}"  # As in Cyrillic and Greek, whose letters are all beyond ASCII.
)
_TYPICAL_SHARE = 0.9


def likely_encoding(path: Path) -> str | None:
    """Return Python's name of the probable encoding of a file that is not UTF-8 throughout.

    None: no guess is good enough.
    """
    sample = b"\n".join(_lines(path))
    if not sample:
        return None
    lines = sample.split(b"\n")
    if sum(map(_is_typical, lines)) >= _TYPICAL_SHARE * len(lines):
        return _WINDOWS_1252
    # Imported late: only refusals need it, and the import takes a tenth of a second.
    from charset_normalizer import from_bytes  # noqa: PLC0415

    best = from_bytes(sample, cp_isolation=list(_CANDIDATES), enable_fallback=False).best()
    if best is None:
        return None
    same = (codec for codec in _CANDIDATES if _decoded(sample, codec) == str(best))
    return codec_name(next(same, best.encoding))


def encoding_hint(
    text: PlainText, *, in_sources_file: bool = False, fallback: str | None = None
) -> str:
    """Return a sentence of advice for a text that has another encoding than it was read in.

    The sentence is empty if the encoding is right, or there is no advice. `text` is the one before
    the setting `fallback` was applied. The advice names the sources file if the source has an entry
    in it.
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
    # The charset of a server overrides the setting; the sources file overrides both.
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
    """Yield the first lines of a file that are not UTF-8; of a long line, a part."""
    size, done = 0, 0
    with mapped(path) as buffer:
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
    """Return the start of the line around an offset, or of a part of it after `first`."""
    line_end = max(buffer.rfind(b"\n", first, offset), buffer.rfind(b"\r", first, offset))
    if line_end >= 0:
        return line_end + 1
    found = _NOT_IN_CHARACTERS.search(buffer, first, offset) if first else None
    return found.end() if found else first


def _line_end(buffer: mmap, offset: int) -> int:
    """Return the end of the line around an offset, or of a part of it that is short enough."""
    last = min(offset + _LINE_BYTES, len(buffer))
    if found := _LINE_END.search(buffer, offset, last):
        return found.start()
    if last == len(buffer):
        return last
    ends = (found.start() for found in _NOT_IN_CHARACTERS.finditer(buffer, offset, last))
    return max(ends, default=last)


def _is_typical(line: bytes) -> bool:
    """Return whether a line looks like text in one language of windows-1252."""
    text = _decoded(line, _WINDOWS_1252)
    if text is None or _ODD.search(text):
        return False
    beyond = {letter.lower() for letter in text if letter.isalpha() and not letter.isascii()}
    return any(beyond - _SIGNS_AMONG_LETTERS <= letters for letters in _LETTERS)


def _decoded(sample: bytes, codec: str) -> str | None:
    try:
        return sample.decode(codec)
    except UnicodeDecodeError:
        return None
