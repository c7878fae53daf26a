"""A sample has the promised shape, and its facts are those that another reader finds."""

import gzip
import hashlib
import json
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from lfp_pipeline.cli import sample_file, sample_text
from lfp_pipeline.cli.sample_file import SampleFacts, write_sample
from testing.command_line import CommandLine
from testing.dagster_project import NAME_COUNTS, NO_SKU, PRODUCTS, drop, query


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False, dtype=str)


def facts_by_pandas(path: Path) -> SampleFacts:
    products = read(path)
    names = products.drop_duplicates("sku", keep="last")["name"].value_counts()
    ranked = sorted(((str(name), int(n)) for name, n in names.items()), key=lambda x: (-x[1], x[0]))
    return SampleFacts(len(products), products["sku"].nunique(), len(names), ranked[:3])


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sample") / "large.csv"
    write_sample(path, rows=20_000, seed=7)
    return path


@pytest.mark.parametrize(
    ("rows", "seed"),
    [(0, 0), (1, 0), (2, 0), (2, 1), (100, 5), (2_000, 0), (2_000, 2**40), (20_000, 7)],
)
def test_the_facts_are_those_that_pandas_finds(tmp_path: Path, rows: int, seed: int) -> None:
    path = tmp_path / "products.csv"
    facts = write_sample(path, rows, seed)
    assert facts.rows == rows
    assert facts == facts_by_pandas(path)


def test_the_facts_hold_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_file, "CHUNK_ROWS", 300)
    path = tmp_path / "products.csv"
    assert write_sample(path, rows=5_000, seed=3) == facts_by_pandas(path)


def test_a_seed_gives_the_same_bytes_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "products.csv"
    write_sample(path, rows=2_000, seed=7)
    assert (
        hashlib.sha256(path.read_bytes()).hexdigest()
        == "22f031dc1acdc1a15f43a9ac54b98d4aaebe90acaa859d7319b1fd35fd542f48"
    )


def test_another_seed_delivers_the_same_products_again(tmp_path: Path) -> None:
    one, two = tmp_path / "1.csv", tmp_path / "2.csv"
    write_sample(one, rows=2_000, seed=1)
    write_sample(two, rows=2_000, seed=2)
    first, second = read(one), read(two)
    assert len(set(first["sku"]) ^ set(second["sku"])) < 100
    assert (first["description"] != second["description"]).all()


def test_records_end_in_crlf_and_hold_bare_lf(large: Path) -> None:
    text = large.read_bytes()
    assert text.startswith(b"name,sku,description\r\n")
    assert text.count(b"\r\n") == text.count(b"\r") == 20_001
    assert text.count(b"\n") > 30_000
    assert text.endswith(b"\r\n")


def test_only_values_that_need_quotes_have_them(large: Path) -> None:
    products = read(large)
    needed = sum(products[column].str.contains('[,"\n]').sum() for column in products)
    doubled = 2 * products["description"].str.count('"').sum()
    assert large.read_bytes().count(b'"') == 2 * needed + doubled


def test_the_shares_of_odd_rows_are_lifelike(large: Path) -> None:
    products = read(large)
    assert products["sku"].duplicated().mean() == pytest.approx(0.067, abs=0.006)
    assert products["description"].str.contains("\n").mean() == pytest.approx(0.615, abs=0.015)
    assert large.stat().st_size / len(products) == pytest.approx(178, abs=6)
    for column, mark in [("name", ","), ("name", "[^\x00-\x7f]"), ("description", '[,"]')]:
        assert 0 < products[column].str.contains(mark).mean() < 0.05


def test_the_lengths_of_values_are_lifelike(large: Path) -> None:
    products = read(large)
    assert products["name"].str.len().between(5, 30).all()
    assert products["sku"].str.fullmatch(r"[a-z]+(-[a-z]+){1,3}").all()
    assert products["sku"].str.len().max() <= 23
    assert products["description"].str.len().between(5, 199).all()


def test_repeats_may_change_the_product(large: Path) -> None:
    repeats = read(large).drop_duplicates(["name", "sku"])
    assert repeats["sku"].duplicated().sum() > 1_000


@pytest.mark.parametrize("words", ["FIRST_NAMES", "LAST_NAMES", "WORDS", "AFFIXES"])
def test_no_word_of_a_sample_is_listed_twice(words: str) -> None:
    texts = getattr(sample_text, words)
    assert len(set(texts)) == len(texts)


def test_zip_and_gzip_hold_the_plain_bytes(tmp_path: Path) -> None:
    plain, packed, zipped = (tmp_path / f"products.{end}" for end in ("csv", "csv.gz", "zip"))
    facts = {str(write_sample(path, rows=2_000, seed=4)) for path in (plain, packed, zipped)}
    with zipfile.ZipFile(zipped) as archive:
        (member,) = archive.namelist()
        assert archive.read(member) == plain.read_bytes()
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    assert len(facts) == 1


def test_only_a_whole_file_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        seen.extend(path.name for path in tmp_path.iterdir())
        raise OSError("disk full")

    seen: list[str] = []
    monkeypatch.setattr(sample_file, "_join", fail)
    with pytest.raises(OSError, match="disk full"):
        write_sample(tmp_path / "products.zip", rows=10, seed=0)
    assert [name[0] for name in seen] == ["."]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("rows", "seed", "message"),
    [
        (-1, 0, "rows must be from 0 to"),
        (sample_file.MOST_SKUS + 1, 0, "rows must be from 0 to"),
        (1, -1, "the seed must be 0 or more, not -1"),
    ],
)
def test_impossible_arguments_are_refused(
    tmp_path: Path, rows: int, seed: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_sample(tmp_path / "products.csv", rows, seed)


def test_a_sample_is_written_to_the_given_path(lfp: CommandLine) -> None:
    path = lfp.folder / "sample.csv.gz"
    ended = lfp.done("sample", "--rows", "2000", "--out", str(path))
    assert path.exists()
    assert ended.out == f"{path}\n"
    assert "2,000 rows" in ended.err


def test_the_command_writes_a_sample_into_the_inbox_and_its_facts(lfp: CommandLine) -> None:
    ended = lfp.done("sample", "--rows", "2000", "--seed", "3", "--facts", "facts.json", "--json")
    path = lfp.data / "inbox" / "products-2000-3.csv.zip"
    expected = facts_by_pandas(path)
    facts = json.loads(Path("facts.json").read_text(encoding="utf-8"))
    assert ended.json == {"path": str(path), **facts}
    facts["top_names"] = [tuple(top) for top in facts["top_names"]]
    assert SampleFacts(**facts) == expected


def test_too_many_rows_are_refused_in_a_line(lfp: CommandLine) -> None:
    ended = lfp("sample", "--rows", str(sample_file.MOST_SKUS + 1))
    assert ended.code == 2
    assert ended.err.splitlines()[0].startswith("Error: rows must be from 0 to")


def test_the_demo_shows_exact_tables_and_repeats_without_work(lfp: CommandLine) -> None:
    drop(lfp.data / "inbox", "nosku.csv", NO_SKU)  # The demo leaves other files alone.
    first = lfp.done("demo", "--rows", "2000")
    assert "2,000 rows read" in first.out
    assert "Rows, products and names are exactly those that the generator made." in first.err
    assert first.err.splitlines()[-1].startswith("Next: lfp dev")
    tables = query(lfp.data, PRODUCTS), query(lfp.data, NAME_COUNTS)
    second = lfp.done("demo", "--rows", "2000")
    assert second.out == first.out
    assert (query(lfp.data, PRODUCTS), query(lfp.data, NAME_COUNTS)) == tables
    assert len(lfp.runs()) == 1


def test_the_demo_fails_where_its_file_is_refused(lfp: CommandLine) -> None:
    lfp.done("sample", "--rows", "2000", "--facts", "data/demo/products-2000-7.csv.zip.json")
    (lfp.data / "inbox" / "products-2000-7.csv.zip").write_text("no header\n")
    ended = lfp("demo", "--rows", "2000")
    assert ended.code == 3
    assert ended.out == ""


def test_a_sample_is_not_written_beside_an_inbox_in_a_bucket(
    lfp: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LFP_CATALOG", "postgresql://lfp@127.0.0.1/lfp")
    monkeypatch.setenv("LFP_INBOX", "s3://bucket/inbox")
    refused = lfp("sample", "--rows", "1")
    assert refused.code == 2
    assert "The inbox is in a bucket: add --out FILE" in refused.err
