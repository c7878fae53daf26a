"""Names of text encodings, as people, servers and settings write them."""

import codecs
import re

_NOT_FOR_FILES = {
    *("idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "charmap"),
    *("mbcs", "oem"),
}
"""Codecs of Python that are no encodings of files, or that depend on the machine."""

_READ_AS = {
    **dict.fromkeys(("iso8859-1", "ascii"), "cp1252"),
    "iso8859-9": "cp1254",
    **dict.fromkeys(("iso8859-11", "tis-620"), "cp874"),
    "shift_jis": "cp932",
    **dict.fromkeys(("gb2312", "gbk"), "gb18030"),
    "big5": "cp950",
    "euc_kr": "cp949",
    "utf-8-sig": "utf-8",
}
"""Encodings that browsers read as another one, which extends them and is what files really use."""

_NAMES_UNKNOWN_TO_PYTHON = {"windows-31j": "cp932"}
_PREFIXES = ((r"^x-", ""), (r"^windows-", "cp"))
"""Prefixes of names that Python does not know: `x-sjis`, `windows-874`."""

_LABELS = {
    "cp874": "windows-874",
    "cp932": "shift_jis",
    "cp949": "euc-kr",
    "cp950": "big5",
    "euc_jp": "euc-jp",
    "iso2022_jp": "iso-2022-jp",
    "mac-roman": "macintosh",
}
_LABEL_PREFIXES = ((r"^cp(?=125\d$)", "windows-"), (r"^iso8859-", "iso-8859-"))


def codec_name(encoding: str) -> str:
    """Return Python's name of the text encoding that browsers use for a name.

    `latin-1` and `ascii` are `cp1252`, `shift_jis` is `cp932`, `gb2312` is `gb18030`.

    Raises:
        ValueError: no text encoding has that name.
    """
    name = encoding.strip().lower()
    codec = next(filter(None, map(_lookup, [name, *_spellings(name)])), None)
    if codec is None or codec.name in _NOT_FOR_FILES or not codec._is_text_encoding:  # noqa: SLF001
        msg = f"no text encoding is called {encoding!r}; write utf-8, windows-1252, shift_jis, ..."
        raise ValueError(msg)
    return _READ_AS.get(codec.name, codec.name)


def encoding_label(codec: str) -> str:
    """Return the name that standards give to a codec of Python: `windows-1252` for `cp1252`.

    `codec_name` turns this name into the codec again.
    """
    if codec in _LABELS:
        return _LABELS[codec]
    for prefix, label in _LABEL_PREFIXES:
        codec = re.sub(prefix, label, codec)
    return codec


def _spellings(name: str) -> list[str]:
    return [
        _NAMES_UNKNOWN_TO_PYTHON.get(name, name),
        *(re.sub(prefix, known, name) for prefix, known in _PREFIXES),
    ]


def _lookup(name: str) -> codecs.CodecInfo | None:
    try:
        return codecs.lookup(name)
    except (LookupError, ValueError):
        return None
