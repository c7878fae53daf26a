"""Names of text encodings: from those that people write to codecs, and back."""

import encodings.aliases

import pytest

from lfp_pipeline.common.text_codecs import codec_name, encoding_label


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("UTF8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        (" Latin-1 ", "cp1252"),
        ("us-ascii", "cp1252"),
        ("iso-8859-9", "cp1254"),
        ("tis-620", "cp874"),
        ("windows-874", "cp874"),
        ("shift_jis", "cp932"),
        ("x-sjis", "cp932"),
        ("Windows-31J", "cp932"),
        ("gb2312", "gb18030"),
        ("gbk", "gb18030"),
        ("big5", "cp950"),
        ("euc-kr", "cp949"),
        ("windows-949", "cp949"),
        ("koi8-r", "koi8-r"),
        ("cp037", "cp037"),
    ],
)
def test_a_name_has_the_codec_that_browsers_use(name: str, codec: str):
    assert codec_name(name) == codec


@pytest.mark.parametrize(
    "name",
    [
        *("klingon", "", "x-", "a\0b", "rot13", "base64", "zlib"),
        *("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "charmap"),
    ],
)
def test_a_codec_that_is_no_text_encoding_is_refused(name: str):
    with pytest.raises(ValueError, match="no text encoding is called"):
        codec_name(name)


@pytest.mark.parametrize(
    ("codec", "label"),
    [
        ("cp1252", "windows-1252"),
        ("cp1250", "windows-1250"),
        ("cp932", "shift_jis"),
        ("gb18030", "gb18030"),
        ("koi8-r", "koi8-r"),
        ("iso8859-2", "iso-8859-2"),
        ("euc_jp", "euc-jp"),
        ("cp037", "cp037"),
    ],
)
def test_a_codec_has_its_standard_name(codec: str, label: str):
    assert encoding_label(codec) == label


def test_every_label_maps_back_to_its_codec():
    checked = 0
    for alias in set(encodings.aliases.aliases.values()):
        try:
            codec = codec_name(alias)
        except ValueError:
            continue
        assert codec_name(encoding_label(codec)) == codec
        checked += 1
    assert checked > 70
