"""Files that are not UTF-8, and the advice in their refusals."""

import re
from pathlib import Path

import pytest

from lfp_pipeline_tests.stories.field.support import take, take_named

TEXT = "name;sku;description\r\n" + "".join(
    f"Leuchte „Größe {number}“;w-{number};{number} € \u2013 für draußen\r\n" for number in range(30)
)
RUSSIAN = "sku,name,description\n" + "".join(
    f"k-{number},Лампа настольная {number},Для дома и офиса\n" for number in range(30)
)


@pytest.mark.parametrize("way", ["plain", "gz", "zip", "url", "batch", "direct"])
def test_a_windows_1252_file_is_refused_by_name_and_its_remedy_works(tmp_path: Path, way: str):
    refused = take(tmp_path / "a", TEXT.encode("cp1252"), way)
    assert refused.status == "refused"
    assert "windows-1252" in refused.error
    advised = re.search(r"set LFP_FALLBACK_ENCODING=(\S+)", refused.error)
    assert advised
    found = take(tmp_path / "b", TEXT.encode("cp1252"), way, fallback_encoding=advised[1])
    assert found.rejects == []
    assert found.products["w-7"] == ("Leuchte „Größe 7“", "7 € \u2013 für draußen")
    assert "windows-1252" in found.notes


@pytest.mark.parametrize("encoding", ["windows-1251", "koi8-r"])
def test_any_encoding_can_be_named_for_a_source(tmp_path: Path, encoding: str):
    found = take_named(tmp_path, RUSSIAN.encode(encoding), f"encoding: {encoding}")
    assert found.products["k-3"] == ("Лампа настольная 3", "Для дома и офиса")


def test_the_refusal_of_a_named_source_names_its_entry(tmp_path: Path):
    refused = take_named(tmp_path / "a", TEXT.encode("cp1252"), "interval: 600")
    advised = re.search(r"write `(encoding: \S+)`", refused.error)
    assert advised
    found = take_named(tmp_path / "b", TEXT.encode("cp1252"), f"interval: 600, {advised[1]}")
    assert len(found.products) == 30
