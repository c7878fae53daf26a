"""The sources file: valid entries, and the errors of invalid ones."""

from pathlib import Path

import pytest

from lfp_pipeline.errors import SettingsError
from lfp_pipeline.model.delivery import TextFormat
from lfp_pipeline.sources.sources_file import read_sources

DIGEST = "0a" * 32


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sources.yaml"


def test_a_missing_or_empty_file_has_no_sources(file: Path):
    assert read_sources(file) == {}
    for empty in ("", "# sources: [{name: a}]\n", "sources: []"):
        file.write_text(empty)
        assert read_sources(file) == {}


def test_entries_are_found_by_name(file: Path):
    file.write_text(
        f"""
        sources:
          - {{name: shop, location: 'https://example.com/p.csv', interval: 60, sha256: {DIGEST}}}
          - {{name: store.csv, location: 'https://example.com/feed', kind: sense}}
        """
    )
    found = read_sources(file)
    assert list(found) == ["shop", "store.csv"]
    assert (found["shop"].kind, found["shop"].interval, found["shop"].sha256) == (
        "file",
        60,
        DIGEST,
    )
    assert (found["store.csv"].kind, found["store.csv"].interval) == ("sense", None)


@pytest.mark.parametrize(
    ("written", "encoding", "delimiter"),
    [
        ("", None, None),
        ("encoding: Windows-1251", "cp1251", None),
        ("encoding: latin-1", "cp1252", None),
        ("encoding: UTF_16", "utf-16", None),
        ("delimiter: ';'", None, ";"),
        ("delimiter: ;", None, ";"),
        ("delimiter: Tab", None, "\t"),
        ('delimiter: "\\t"', None, "\t"),
        ('delimiter: "\\x01"', None, "\x01"),
        ("encoding: utf-8, delimiter: '#'", "utf-8", "#"),
    ],
)
def test_an_entry_can_declare_the_text_format(
    file: Path, written: str, encoding: str | None, delimiter: str | None
):
    file.write_text("sources: [{name: a, location: x, " + written + "}]")
    declared = TextFormat(encoding=encoding, delimiter=delimiter)
    assert read_sources(file)["a"].text_format == declared


@pytest.mark.parametrize(
    "delimiter",
    [
        *("", "~", "[]", "''", "x", "7", "'7'", "' '", "'::'", "'\xa7'", "tabs"),
        *("'\"'", '"\'"', '"\\\\"', '"\\n"', '"\\r"', '"\\0"'),
    ],
)
def test_an_invalid_delimiter_is_refused(file: Path, delimiter: str):
    file.write_text("sources:\n  - name: a\n    location: x\n    delimiter: " + delimiter)
    with pytest.raises(SettingsError, match="entry 1: delimiter: use the word tab, or one ASCII"):
        read_sources(file)


def test_secrets_come_from_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SHOP_PASSWORD", "pa$$w,ord")
    file.write_text(
        "sources: [{name: shop, location: 'https://u:${SHOP_PASSWORD}@example.com/$$'}]"
    )
    assert read_sources(file)["shop"].location == "https://u:pa$$w,ord@example.com/$"


@pytest.mark.parametrize("password", ["p@ss", "a/b", "a?b", "a#b", "a b", "a\\b", "[a]"])
def test_a_secret_that_would_change_the_host_is_refused_without_showing_it(
    file: Path, monkeypatch: pytest.MonkeyPatch, password: str
):
    monkeypatch.setenv("SHOP_PASSWORD", password)
    file.write_text("sources: [{name: shop, location: 'https://u:${SHOP_PASSWORD}@example.com/'}]")
    with pytest.raises(SettingsError, match="the value of SHOP_PASSWORD has") as caught:
        read_sources(file)
    assert password not in str(caught.value).replace(str(file), "")
    file.write_text("sources: [{name: shop, location: 'https://example.com/?key=$SHOP_PASSWORD'}]")
    assert read_sources(file)["shop"].location.endswith(password)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "must have one key, `sources:`, with a list of entries"),
        ("sources: 1", "with a list of entries"),
        ("sources: []\nsource: []", "must have one key"),
        ("sources: [", "line 1"),
        ("sources: [1]", "entry 1: the entry: Input should be"),
        ("sources: [{name: a}]", "entry 1: location: Field required"),
        ("sources: [{name: a/b, location: x}]", "entry 1: name: use letters, digits"),
        (
            "sources: [{name: a, location: x, intervall: 1}]",
            "entry 1: intervall: no such key; there are name, location, kind",
        ),
        ("sources: [{name: a, location: x, interval: 0}]", "entry 1: interval: Input should be"),
        ("sources: [{name: a, location: ./x, kind: sense}]", "must be an http or https URL"),
        ("sources: [{name: a, location: x, kind: s3}]", "entry 1: kind: Input should be 'file'"),
        ("sources: [{name: a, location: x, sha256: abc}]", "entry 1: sha256: String should match"),
        (
            "sources: [{name: a, location: x, encoding: klingon}]",
            "entry 1: encoding: no text encoding is called 'klingon'; write utf-8,",
        ),
        ("sources: [{name: a, location: x, encoding: 1252}]", "entry 1: encoding: Input should"),
        ("sources: [{name: a, location: '${NOT_SET}'}]", "has no variable NOT_SET"),
        ("sources: [{name: a, location: '${'}]", "entry 1: location: a $ that begins no"),
        (
            "sources: [{name: a, location: x}, {name: a, location: y}]",
            "entry 2: the name a is there",
        ),
        ("sources: !!python/object:os.system {}", "could not determine a constructor"),
    ],
)
def test_a_wrong_entry_is_named_with_the_reason(file: Path, text: str, message: str):
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_sources(file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"sources: [{name: a, location: \xe9}]"])
def test_a_file_that_is_no_text_is_refused(file: Path, content: bytes):
    file.write_bytes(content)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_sources(file)


def test_locations_are_not_quoted(file: Path):
    file.write_text("sources: [{name: a, location: 'https://u:secret@$', interval: secret}]")
    with pytest.raises(SettingsError) as caught:
        read_sources(file)
    assert "secret" not in str(caught.value)
