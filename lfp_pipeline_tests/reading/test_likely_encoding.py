"""A refusal names the probable encoding of a file, if the file shows it."""

from pathlib import Path

import pytest

from lfp_pipeline.common.text_codecs import codec_name, encoding_label
from lfp_pipeline.reading.encoding import to_utf8
from lfp_pipeline.reading.likely_encoding import encoding_hint, likely_encoding
from lfp_pipeline.reading.plain_text import PlainText

HEAD = "name,sku,description\n"

GERMAN = (
    "Müller,s1,Schöne Stühle\nBänke,s2,größer, für draußen\nLämpchen,s3,Übergröße\n",
    "Lampe,s4,Preis 12,50 €\nTisch,s5,„rund“ – 1½ Meter\n",
)
CYRILLIC = (
    "Стул,s1,Удобный стул для кухни\nСтол письменный,s2,Большой стол из дуба\n"
    "Лампа,s3,Настольная лампа с абажуром\n"
)
KANJI = (
    "椅子,s1,座り心地の良いキッチンチェアです。\n"
    "テーブル,s2,オーク材の大きなテーブル\n"
    "ランプ,s3,卓上ランプ\n"
)

RECOGNISED = {
    "German": ("windows-1252", "".join(GERMAN)),
    "one German word": ("windows-1252", "Müller,s1,\n"),
    "a euro sign": ("windows-1252", "Tisch,s1,50 €\n"),
    "French": (
        "windows-1252",
        "Chaise d’été,s1,Légère et pliable\nThéière,s2,Cœur brisé, naïf, garçon\nà,s3,où\n",
    ),
    "Spanish": (
        "windows-1252",
        "Sillón,s1,Cómodo para niños\nCafetera española,s2,¿Qué más quieres?\nLámpara,s3,pequeña\n",
    ),
    "Danish": ("windows-1252", "Køkkenbord,s1,Stærkt bord på hjul\nLænestol,s2,Blå lænestol\n"),
    "Portuguese": ("windows-1252", "Cadeira,s1,Confortável, não dobrável\nMesa,s2,Coração\n"),
    "German and French": ("windows-1252", "Stühle,s1,schön\nThéière,s2,Ça va à tous\n" * 5),
    "Polish": (
        "windows-1250",
        "Krzesło,s1,Wygodne krzesło dla każdego\nŁóżko,s2,Śliczne łóżko z dębu\n",
    ),
    "Czech": (
        "windows-1250",
        "Židle,s1,Dřevěná židle s područkami\nStůl,s2,Jídelní stůl, který se vejde všude\n",
    ),
    "Russian": ("windows-1251", CYRILLIC),
    "Russian of Unix": ("koi8-r", CYRILLIC),
    "Greek": (
        "windows-1253",
        "Καρέκλα,s1,Άνετη καρέκλα για την κουζίνα\nΤραπέζι,s2,Μεγάλο τραπέζι από ξύλο\n",
    ),
    "Turkish": (
        "windows-1254",
        "Masa,s2,Geniş ahşap masa, ışıklı\nAğaç lamba,s3,Şık ve kullanışlı bir lamba, çok güzel\n",
    ),
    "Japanese": ("shift_jis", KANJI),
    "Japanese of Unix": ("euc-jp", KANJI),
    "Chinese": (
        "gb18030",
        "椅子,s1,舒适的厨房椅子，适合每个家庭\n桌子,s2,用橡木制成的大桌子\n台灯,s3,带灯罩的台灯\n",
    ),
    "Chinese of Taiwan": (
        "big5",
        "椅子,s1,舒適的廚房椅子，適合每個家庭\n桌子,s2,用橡木製成的大桌子\n檯燈,s3,帶燈罩的檯燈\n",
    ),
    "Korean": (
        "euc-kr",
        "의자,s1,편안한 주방 의자입니다\n테이블,s2,참나무로 만든 큰 테이블\n램프,s3,탁상용 램프\n",
    ),
    "German of DOS": ("cp850", GERMAN[0]),
}

MISTAKEN = {
    "German of DOS, code page 437": ("cp437", GERMAN[0], "cp850"),  # Both give the same text.
    "German of old Macs": ("macintosh", GERMAN[0], "windows-1250"),
    "one Russian line of Unix": ("koi8-r", "Стул,s1,Удобный стул для кухни\n", "windows-1256"),
    "one short Slovene word": ("windows-1250", "Noč,s1,\n", "windows-1252"),
}


def text_at(path: Path, data: bytes, **others: object) -> PlainText:
    path.write_bytes(data)
    return PlainText("", path, 0, certain=False, **others)  # type: ignore[arg-type]


def likely(path: Path, text: str, label: str) -> str | None:
    path.write_bytes((HEAD + text).encode(codec_name(label)))
    codec = likely_encoding(path)
    return codec and encoding_label(codec)


@pytest.mark.parametrize("name", RECOGNISED)
def test_common_encodings_are_recognized(tmp_path: Path, name: str):
    label, text = RECOGNISED[name]
    assert likely(tmp_path / "x", text, label) == label
    assert likely(tmp_path / "x", text * 100, label) == label


@pytest.mark.parametrize("name", MISTAKEN)
def test_some_short_texts_are_taken_for_another_encoding(tmp_path: Path, name: str):
    label, text, other = MISTAKEN[name]
    assert likely(tmp_path / "x", text, label) == other


def test_the_whole_file_is_searched_for_lines_that_are_not_utf8(tmp_path: Path):
    far = "".join(f"Chair {number},S-{number},\n" for number in range(50_000))
    assert likely(tmp_path / "x", far + CYRILLIC, "windows-1251") == "windows-1251"


def test_a_text_without_line_ends_is_sampled_in_parts(tmp_path: Path):
    text = KANJI.replace("\n", " ") * 5000
    assert likely(tmp_path / "x", text, "shift_jis") == "shift_jis"


def test_there_is_no_guess_if_no_encoding_fits(tmp_path: Path):
    path = tmp_path / "x"
    path.write_bytes(bytes(range(0x80, 0x100)) * 50)
    assert likely_encoding(path) is None
    hint = "The file is not UTF-8: set LFP_FALLBACK_ENCODING to the encoding that it is written in."
    assert encoding_hint(text_at(path, path.read_bytes())) == hint


def test_a_hint_names_the_setting_to_paste(tmp_path: Path):
    data = (HEAD + GERMAN[0]).encode("cp1252")
    found = "The file is not UTF-8; it is probably windows-1252: "
    setting = found + "for all files that are not UTF-8, set LFP_FALLBACK_ENCODING=windows-1252"
    declared = found + "write `encoding: windows-1252` for its source in the sources file."
    text = text_at(tmp_path / "x", data)
    assert encoding_hint(text) == setting
    assert encoding_hint(text, in_sources_file=True) == declared
    assert encoding_hint(text, fallback="cp932") == setting
    assert not encoding_hint(text, fallback="cp1252")
    assert encoding_hint(text_at(tmp_path / "y", data, charset="koi8-r")) == declared


def test_there_is_no_hint_for_utf8(tmp_path: Path):
    assert not encoding_hint(text_at(tmp_path / "x", (HEAD + GERMAN[0]).encode()))
    assert not encoding_hint(text_at(tmp_path / "y", b""))


def test_a_file_that_is_utf8_in_part_needs_no_setting(tmp_path: Path):
    data = (HEAD + GERMAN[0]).encode() + "Bänke,s9,\n".encode("cp1252")
    hint = "The file is UTF-8 in part only: correct it where it is made."
    assert encoding_hint(text_at(tmp_path / "x", data)) == hint
    (tmp_path / "y").write_bytes(b"\xef\xbb\xbf" + (HEAD + GERMAN[0]).encode("cp1252"))
    assert encoding_hint(PlainText("", tmp_path / "y", 3, certain=True)) == hint


def test_a_hint_names_the_place_of_a_wrong_declaration(tmp_path: Path):
    data = b"".join(to_utf8([(HEAD + GERMAN[0]).encode("cp1252")], "cp932"))
    text = text_at(tmp_path / "x", data, encoding="cp932")
    hint = "The file is not shift_jis throughout: correct it where it is made"
    assert encoding_hint(text) == f"{hint}."
    remedy = ", or correct its `encoding` in the sources file."
    assert encoding_hint(text, in_sources_file=True) == hint + remedy
    assert not encoding_hint(text_at(tmp_path / "y", (HEAD + KANJI).encode(), encoding="cp932"))
