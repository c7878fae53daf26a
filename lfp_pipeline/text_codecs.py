"""Names of text encodings, as people, servers and settings write them."""

import codecs

_NOT_FOR_FILES = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs"}
"""Codecs of Python that are text encodings by name only."""

_WINDOWS_1252 = {"iso8859-1", "ascii", "cp1252"}
"""What is called so is windows-1252 in practice, which extends both; browsers read it so, too."""


def codec_name(encoding: str) -> str:
    """Return Python's name of a text encoding; `latin-1` and `ascii` are `cp1252`, as in browsers.

    Raises:
        ValueError: no text encoding has that name.
    """
    try:
        codec = codecs.lookup(encoding.strip())
    except (LookupError, ValueError):
        codec = None
    if codec is None or codec.name in _NOT_FOR_FILES or not codec._is_text_encoding:  # noqa: SLF001
        msg = f"no text encoding is called {encoding!r}; write utf-8, windows-1252, shift_jis, ..."
        raise ValueError(msg)
    return "cp1252" if codec.name in _WINDOWS_1252 else codec.name
