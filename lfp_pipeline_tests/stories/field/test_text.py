"""Values: escaped quotes, wrapped values, null tokens, invisible characters."""

from pathlib import Path

import pytest

from lfp_pipeline_tests.stories.field.support import SOME_WAYS, WAYS, take

HEADER = "sku,name,description\n"


@pytest.mark.parametrize("way", WAYS)
def test_quotes_escaped_by_backslashes_throughout_are_read(tmp_path: Path, way: str):
    data = HEADER + "".join(
        f'b-{number},"Shelf 30\\" no. {number}","Oak, 2\\" thick \\\\ solid\nsecond \\"line\\""\n'
        for number in range(20)
    )
    found = take(tmp_path, data, way)
    assert (len(found.products), found.rejects) == (20, [])
    assert found.products["b-4"] == ('Shelf 30" no. 4', 'Oak, 2" thick \\ solid\nsecond "line"')
    assert "escaped by backslashes" in found.notes


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_one_backslash_before_a_quote_is_a_character(tmp_path: Path, delimiter: str):
    lines = [["sku", "name", "description"]]
    lines += [[f"b-{number}", '"Shelf ""30"""', '"Oak"'] for number in range(20)]
    lines.append(["b-20", '"Path C:\\"', '"Oak"'])
    found = take(tmp_path, "".join(delimiter.join(line) + "\n" for line in lines))
    assert found.rejects == []
    assert found.products["b-20"] == ("Path C:\\", "Oak")


@pytest.mark.parametrize(
    ("wrapped", "way"), [('"=""00{}"""', "plain"), *(('="00{}"', way) for way in SOME_WAYS)]
)
def test_values_wrapped_for_a_spreadsheet_are_unwrapped(tmp_path: Path, wrapped: str, way: str):
    lines = [f'{wrapped.format(number)},="Shelf",="1,5"\n' for number in range(10, 30)]
    found = take(tmp_path, HEADER.replace(",", ";") + "".join(lines).replace(",=", ";="), way)
    assert set(found.products) == {f"00{number}" for number in range(10, 30)}
    assert found.products["0012"] == ("Shelf", "1,5")


@pytest.mark.parametrize("way", SOME_WAYS)
def test_null_tokens_are_empty_where_the_setting_names_them(tmp_path: Path, way: str):
    data = HEADER + 'n-1,Bench,\\N\nn-2,Bench,"NULL"\nn-3,Bench,NULLABLE\nn-4,NULL,x\n\\N,a,b\n'
    options = {"null_tokens": ("\\N", "NULL"), "max_reject_share": 1}
    found = take(tmp_path, data, way, **options)
    assert found.products == {
        "n-1": ("Bench", ""),
        "n-2": ("Bench", ""),
        "n-3": ("Bench", "NULLABLE"),
    }
    assert found.rejects == ["no name", "no sku"]


def test_null_tokens_are_text_without_the_setting(tmp_path: Path):
    found = take(tmp_path, HEADER + "NULL,\\N,NULL\n")
    assert found.products == {"NULL": ("\\N", "NULL")}


@pytest.mark.parametrize("unseen", ["\u200b", "\ufeff", "\u00a0"])
def test_invisible_characters_around_skus_and_names_are_trimmed(tmp_path: Path, unseen: str):
    lines = [f"{unseen}z-1,Stool,first\n", f"z-1{unseen},{unseen}Stool,last\n"]
    found = take(tmp_path, HEADER + "".join(lines))
    assert found.products == {"z-1": ("Stool", "last")}
    assert found.rows_read == 2
