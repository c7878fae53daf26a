"""Rejected rows are exported, fixed and ingested again."""

import csv
import gzip
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LfpError
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.table_spec import PRODUCT_COLUMNS
from lfp_pipeline.operations.export_rejects import OTHER_COLUMNS, export_rejects
from lfp_pipeline.sources.local_file import LocalFile
from testing.engine import LOG, database_file, engine_at

Row = dict[str, str]
Take = Callable[..., Delivery]


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return engine_at(tmp_path / "data")


@pytest.fixture
def take(engine: Engine) -> Take:
    """Ingest bytes as a file of a given name; each file is a second newer than the last one."""
    times = iter(range(1, 100))

    def taken(content: bytes, key: str = "a.csv") -> Delivery:
        path = engine.settings.inbox_dir / key
        path.write_bytes(content)
        source = LocalFile(path)
        os.utime(path, (next(times),) * 2)
        delivery = engine.land(source, key, LOG)
        engine.ingest(delivery, LOG)
        return delivery

    return taken


def exported(engine: Engine, **which: str) -> list[Row]:
    """Return the rows of the only file that is written."""
    (found,) = export_rejects(engine, LOG, **which)
    rows = rows_of(found.path)
    assert found.rows == len(rows)
    return rows


def rows_of(path: Path) -> list[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def as_csv(rows: Sequence[Row]) -> bytes:
    """Return rows as a spreadsheet saves them."""
    columns = PRODUCT_COLUMNS + OTHER_COLUMNS
    lines = [columns, *([row[column] for column in columns] for row in rows)]
    return "".join(
        ";".join('"' + cell.replace('"', '""') + '"' for cell in line) + "\r\n" for line in lines
    ).encode("utf-8-sig")


def products(engine: Engine) -> list[tuple[str, str, str]]:
    with engine.warehouse.read_session() as connection:
        sql = "SELECT sku, name, description FROM products ORDER BY sku"
        return connection.execute(sql).fetchall()


def test_fixed_rejects_are_accepted_and_unchanged_ones_are_rejected_again(
    engine: Engine, take: Take
):
    take(
        b"name;x;sku;description\n"
        b'Lamp;1;A-1;It shines.\n"Big; chair";2;;" soft\n""red"""\n'
        b"Desk;3\n;4;D-4;x\nSofa;5;E-5;\xff\nBed;6;F-6;a;b\n"
    )
    chair, desk, unnamed, sofa, bed = rows = exported(engine)
    assert [chair[column] for column in PRODUCT_COLUMNS] == ["", "Big; chair", ' soft\n"red"']
    assert [desk[column] for column in PRODUCT_COLUMNS] == ["", "", ""]
    assert (desk["reason"], desk["raw"]) == ("missing columns", "Desk;3\n")
    assert (unnamed["sku"], unnamed["name"]) == ("D-4", "")
    assert (sofa["sku"], sofa["name"], sofa["description"]) == ("", "Sofa", "\ufffd")
    assert (bed["reason"], bed["sku"]) == ("too many columns", "")

    take(as_csv(rows), "unchanged.csv")
    assert products(engine) == [("A-1", "Lamp", "It shines.")]
    chair["sku"], sofa["sku"], sofa["description"] = "B-2", "E-5", "red"
    desk |= {"sku": "C-3", "name": "Desk"}
    take(as_csv(rows), "fixed.csv")
    assert products(engine) == [
        ("A-1", "Lamp", "It shines."),
        ("B-2", "Big; chair", ' soft\n"red"'),
        ("C-3", "Desk", ""),
        ("E-5", "Sofa", "red"),
    ]


def test_the_other_columns_locate_the_bytes_of_a_reject(engine: Engine, take: Take):
    content = b"sku,name,description\nA-1,Lamp,x\n,Chair,\xfe\xff\n"
    delivery = take(content)
    (row,) = exported(engine)
    start, end = int(row["byte_start"]), int(row["byte_end"])
    assert content[start:end] == b",Chair,\xfe\xff\n"
    assert row["raw"] == ",Chair,\ufffd\ufffd\n"
    assert (row["row_number"], row["delivery_id"]) == ("2", delivery.delivery_id)
    assert (row["partition_key"], row["reason"]) == ("a.csv", "invalid encoding")


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_taken_for_a_formula(engine: Engine, take: Take, begin: str):
    formula = f'"{begin}HYPERLINK(1)"'
    take(f"sku,name,description\n,{formula},{formula}\nA-1,,{formula}\n{formula},,\n".encode())
    take(f"sku,name,description\n{begin}cmd\n".encode(), "b.csv")
    files = export_rejects(engine, LOG)
    cells = [cell for file in files for row in rows_of(file.path) for cell in row.values()]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert f"'{begin}HYPERLINK(1)" in cells
    assert any(file.escaped for file in files)


def test_odd_bytes_are_exported_and_rejected_again(engine: Engine, take: Take):
    odd = bytes(range(1, 256)).replace(b"\n", b"").replace(b"\r", b"").replace(b'"', b"")
    take(b"sku,name,description\n" + b"A-1,L\0amp,x\n,\t,x\n" + odd + b"\n\xed\xa0\x80,x\n")
    rows = exported(engine)
    assert len(rows) == 4
    take(as_csv(rows), "again.csv")
    assert products(engine) == []


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        pytest.param("A-1,Lamp,x,", ",Chair,y,", id="delimiters at the ends"),
        pytest.param('A-1,"19\\" Rack","x"', ',"Chair","y"', id="backslashes"),
        pytest.param("A-1,Lamp", ",Chair", id="short rows"),
    ],
)
def test_rejects_are_split_by_the_habits_of_their_file(
    engine: Engine, take: Take, good: str, bad: str
):
    rows = [good.replace("A-1", f"A-{number}") for number in range(20)]
    take("\n".join(["a title", "sku,name,description", *rows, bad, ""]).encode())
    (row,) = exported(engine)
    assert (row["reason"], row["row_number"]) == ("no sku", "21")
    assert (row["sku"], row["name"]) == ("", "Chair")
    assert row["description"] == ("y" if "y" in bad else "")


def test_skipped_rows_are_no_rejects(engine: Engine, take: Take):
    take(b"sku,name,description\n,,\n \nSKU,Name,Description\nA-1,Lamp,x\n,Chair,x\n")
    (row,) = exported(engine)
    assert (row["row_number"], row["name"]) == ("5", "Chair")


def test_packed_and_recoded_files_are_split_into_fields_too(engine: Engine, take: Take):
    text = "name|sku|description\nLamp|A-1|x\nStuhl||schön\n"
    take(gzip.compress(text.encode("utf-16")), "a.csv.gz")
    (row,) = exported(engine)
    assert (row["sku"], row["name"], row["description"]) == ("", "Stuhl", "schön")


def test_without_the_raw_file_only_the_text_is_exported(engine: Engine, take: Take):
    delivery = take(b"sku,name,description\n,Lamp,x\n")
    delivery.path.unlink()
    (row,) = exported(engine)
    assert [row[column] for column in PRODUCT_COLUMNS] == ["", "", ""]
    assert row["raw"] == ",Lamp,x\n"


def test_only_the_newest_delivery_is_exported_unless_another_is_named(engine: Engine, take: Take):
    old = take(b"sku,name,description\n,old,x\n")
    take(b"sku,name,description\n,new,x\n")
    take(b"sku,name,description\n,other,x\n", "b.csv")
    take(b"sku,name,description\n,once,x\n", "c.csv")
    take(b"sku,name,description\nC-3,now,x\n", "c.csv")
    assert [file.partition_key for file in export_rejects(engine, LOG)] == ["a.csv", "b.csv"]
    assert [row["name"] for row in exported(engine, partition_key="a.csv")] == ["new"]
    assert [row["name"] for row in exported(engine, delivery_id=old.delivery_id)] == ["old"]
    assert export_rejects(engine, LOG, partition_key="c.csv") == []


@pytest.mark.parametrize("which", [{"delivery_id": "a.csv#1#2"}, {"partition_key": "z.csv"}])
def test_an_unknown_delivery_or_partition_is_refused(
    engine: Engine, take: Take, which: dict[str, str]
):
    take(b"sku,name,description\n,Lamp,x\n")
    with pytest.raises(LfpError, match=r"There is no (delivery a\.csv#1#2|partition z\.csv)"):
        export_rejects(engine, LOG, **which)


def test_exporting_rejects_without_a_database_is_refused(engine: Engine):
    with pytest.raises(LfpError, match="There is no database"):
        export_rejects(engine, LOG)
    assert not database_file(engine).exists()


def test_an_edited_rejects_file_is_not_overwritten(engine: Engine, take: Take):
    take(b"name,sku,description\nAnn,s1,\nBob,,x\n")
    (first,) = export_rejects(engine, LOG)
    (again,) = export_rejects(engine, LOG)
    assert not first.kept
    assert not again.kept
    edited = first.path.read_bytes() + b"s3,Cid,\r\n"
    first.path.write_bytes(edited)
    (third,) = export_rejects(engine, LOG)
    assert third.kept
    assert first.path.read_bytes() == edited


def test_a_file_that_was_refused_whole_is_reported_as_such(tmp_path: Path):
    engine = engine_at(tmp_path / "refusing", max_reject_share=0.1)
    path = tmp_path / "a.csv"
    path.write_bytes(b"name,sku,description\nAnn,s1,\nM\xfcller,s2,x\n")
    error = engine.ingest(engine.land(LocalFile(path), "a.csv", LOG), LOG).account.error
    assert "for all files that are not UTF-8, set LFP_FALLBACK_ENCODING=windows-1252" in (
        error or ""
    )
    (found,) = export_rejects(engine, LOG)
    assert found.refused


def test_an_unknown_partition_is_explained_by_its_file_name(engine: Engine, take: Take):
    take(b"name,sku,description\nAnn,s1,\n")
    with pytest.raises(LfpError, match=r"A file of that name has the partition my_bad\.csv-"):
        export_rejects(engine, LOG, partition_key="my bad.csv")


def test_temporary_files_of_a_killed_export_of_rejects_are_removed(engine: Engine, take: Take):
    take(b"sku,name,description\n,Lamp,x\n")
    engine.settings.rejects_dir.mkdir()
    (engine.settings.rejects_dir / ".0123.part").touch()
    (found,) = export_rejects(engine, LOG)
    assert list(engine.settings.rejects_dir.iterdir()) == [found.path]


def test_thousands_of_rejects_are_exported_in_pages(engine: Engine, take: Take):
    take(b"sku,name,description\n" + b"".join(b",Lamp %d,x\n" % n for n in range(5_000)))
    rows = exported(engine)
    assert [row["name"] for row in rows] == [f"Lamp {n}" for n in range(5_000)]
