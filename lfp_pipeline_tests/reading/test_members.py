"""Zips with several CSV members: one delivery, and what is wrong in one stays in it."""

import gzip
import io
import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.ingested import Ingested
from lfp_pipeline.reading import reject_limit, unpacking
from lfp_pipeline.warehouse import direct_load
from lfp_pipeline_tests.oracle import LOG, engine_at
from lfp_pipeline_tests.reading.support import csv, read

HEAD = b"name,sku,description\n"


def zipped(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return packed.getvalue()


def test_members_are_read_one_after_the_other_in_the_order_of_their_names():
    found = read(
        zipped(
            {
                "b/1.csv": HEAD + b"Lamp,A-1,third\n",
                "a.csv": HEAD + b"Lamp,A-1,second\nDesk,D-4,\n",
                "B.csv": HEAD + b"Lamp,A-1,first\nChair,B-2,\n",
            }
        )
    )
    assert found.rows_read == 5
    assert found.superseded == 2
    assert found.winners == [
        (2, "B-2", "Chair", ""),
        (4, "D-4", "Desk", ""),
        (5, "A-1", "Lamp", "third"),
    ]


def test_members_may_differ_in_all_that_files_may_differ_in():
    found = read(
        zipped(
            {
                "1.csv": HEAD + b"Lamp,A-1,\n",
                "2.txt": "\ufeffsku;price;name;description\r\nB-2;9;Stühle;x".encode(),
                "3.tsv": "description\tsku\tname\tcolour\nx\tC-3\tTür\tred\n".encode("utf-16"),
                "4": "name,sku,description,price\nÖse,D-4,x,1\n".encode("latin-1"),
                "5.csv": b'name,"sku",description\r"So\rfa",E-5,"a ""b"""\r',
                "6.csv": b"sep=|\nname|sku|description\nHut|F-6|",
                "7.csv": HEAD,
            }
        ),
        fallback_encoding="latin-1",
    )
    assert found.products == [
        ("A-1", "Lamp", ""),
        ("B-2", "Stühle", "x"),
        ("C-3", "Tür", "x"),
        ("D-4", "Öse", "x"),
        ("E-5", "So\rfa", 'a "b"'),
        ("F-6", "Hut", ""),
    ]
    assert found.ignored == ["price", "colour"]


def test_an_unclosed_quote_or_a_missing_line_end_swallows_nothing_of_the_next_member():
    members = {
        "a.csv": HEAD + b'Lamp,A-1,\nSofa,C-3,"never closed',
        "b.csv": HEAD + b'Chair,B-2,"x"',
        "c.csv": HEAD + b"Desk,D-4,\nHut",
        "d.csv": HEAD + b'"Cap",E-5,\n',
    }
    found = read(zipped(members))
    assert [row[1] for row in found.winners] == ["A-1", "B-2", "D-4", "E-5"]
    text = b"".join(members.values())
    assert found.rejects == [
        (2, 31, 53, "unclosed quote", b'Sofa,C-3,"never closed'),
        (5, 118, 121, "missing columns", b"Hut"),
    ]
    assert [text[start:end] for _, start, end, _, _ in found.rejects] == [
        raw for *_, raw in found.rejects
    ]


def test_the_detail_of_a_reject_names_its_member(tmp_path: Path):
    engine = engine_at(tmp_path)
    path = engine.settings.inbox_dir / "products.zip"
    path.write_bytes(zipped({"a.csv": HEAD + b"Lamp,,x\nbad\n", "b c.csv": HEAD + b"Sofa,,\n,x\n"}))
    (done,) = engine.ingest_all(engine.pending_inbox_files(LOG), [], LOG)
    assert isinstance(done, Ingested)
    with duckdb.connect(engine.warehouse.path, read_only=True) as connection:
        told = connection.execute(
            "SELECT row_number, reason, detail FROM rejected_rows ORDER BY row_number"
        ).fetchall()
    assert told == [
        (1, "no sku", "in a.csv"),
        (2, "missing columns", "in a.csv: 1 columns instead of 3"),
        (3, "no sku", "in b c.csv"),
        (4, "missing columns", "in b c.csv: 2 columns instead of 3"),
    ]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("b.csv", b"", "In b.csv: The file is empty"),
        ("b.csv", b"name,sku\nx,y\n", "In b.csv: The header has no column description"),
        ("b.csv", b"PK\5\6" + bytes(18), "b.csv in the zip is itself an archive .*zip"),
        ("b.csv", gzip.compress(HEAD, mtime=0), "b.csv in the zip is itself an archive .*gzip"),
        ("b.csv.gz", gzip.compress(HEAD, mtime=0), "b.csv.gz in the zip is itself an archive"),
        ("b.ZIP", zipped({"c.csv": HEAD}), "b.ZIP in the zip is itself an archive"),
        ("b.pdf", b"%PDF", "b.pdf in the zip is not CSV by its name"),
        ("README.md", b"Read me.", "README.md in the zip is not CSV by its name"),
    ],
)
def test_a_member_that_is_not_csv_refuses_the_whole_zip(name: str, data: bytes, message: str):
    with pytest.raises(DeliveryRefusedError, match=message):
        read(zipped({"a.csv": HEAD + b"Lamp,A-1,\n", name: data}))


def test_a_lone_member_may_have_any_name_but_that_of_an_archive():
    assert read(zipped({"export.dat": HEAD + b"Lamp,A-1,\n"})).rows_read == 1
    with pytest.raises(DeliveryRefusedError, match="itself an archive"):
        read(zipped({"export.rar": HEAD}))


def test_a_damaged_member_refuses_the_whole_zip_by_its_name():
    rows = csv(*[(f"Lamp {n * n}", f"S-{n}", "") for n in range(1_000)])
    packed = bytearray(zipped({"a.csv": rows, "b.csv": rows}))
    packed[packed.rindex(b"PK\3\4") + 3_000] ^= 64
    with pytest.raises(DeliveryRefusedError, match=r"b\.csv in the zip is damaged"):
        read(bytes(packed))


def test_the_largest_size_is_that_of_all_members_together():
    members = {"a.csv": HEAD + b"Lamp,A-1,\n", "b.csv": HEAD + b"Chair,B-2,\n"}
    total = sum(map(len, members.values()))
    assert read(zipped(members), max_unpacked_bytes=total).rows_read == 2
    with pytest.raises(DeliveryRefusedError, match="LFP_MAX_UNPACKED_BYTES"):
        read(zipped(members), max_unpacked_bytes=total - 1)


def test_rejects_are_counted_over_all_members(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reject_limit, "MAX_REJECTS", 3)
    bad, worse = HEAD + b"Lamp,,\nbad\n", HEAD + b"Lamp,,\nLamp,,\n"
    assert len(read(zipped({"a.csv": bad, "b.csv": HEAD + b"bad\n"})).rejects) == 3
    for members in ({"a.csv": bad, "b.csv": bad}, {"a.csv": bad, "b.csv": worse}):
        with pytest.raises(DeliveryRefusedError, match=r"In b.csv: More than 3 records"):
            read(zipped(members))


def test_a_small_bad_member_is_no_reason_to_give_up_a_large_good_one(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(reject_limit, "KEPT_AS_EVIDENCE", 0)
    good = csv(*[(f"Lamp {n}", f"S-{n}", "") for n in range(1_000)])
    found = read(zipped({"a.csv": HEAD + b"bad\n" * 20, "b.csv": good}), max_reject_share=0.02)
    assert (found.rows_read, len(found.rejects)) == (1_020, 20)


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: zipped({"a.csv": data})])
def test_a_file_that_unpacks_to_very_many_times_its_size_is_refused(
    monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
):
    data = HEAD + b"Lamp,A-1,\n" * 500_000
    packed = pack(data)
    assert read(packed).rows_read == 500_000
    monkeypatch.setattr(unpacking, "FREE_BYTES", 1 << 20)
    monkeypatch.setattr(unpacking, "MOST_TIMES", len(data) // len(packed))
    with pytest.raises(DeliveryRefusedError, match="times its size"):
        read(packed)


def test_many_members_with_dirt_give_what_they_give_alone(tmp_path: Path):
    """Rows are numbered on in one table, whatever sizes its parts have, and in a batch, too."""
    rng = random.Random(3)
    members, fates = {}, []
    for number, size in enumerate([3, 70_000, 1, 0, 20_000, 5]):
        rows = [b"Lamp %d,S-%d-%d,x\n" % (n, number, n) for n in range(size)]
        bad = sorted(rng.sample(range(size), min(size, 2)))
        for place in bad:
            rows[place] = b"Lamp,S,x,y\n"
        fates += [place in bad for place in range(size)]
        members[f"{number}.csv"] = HEAD + b"".join(rows)
    engine = engine_at(tmp_path, parallel_files=1)
    for name in ("one.zip", "two.zip"):
        path = engine.settings.inbox_dir / name
        path.write_bytes(zipped(members if name == "one.zip" else {"a.csv": HEAD, "b.csv": HEAD}))
        os.utime(path, (1, 1))
    done = engine.ingest_all(engine.pending_inbox_files(LOG), [], LOG)
    assert [one.batch for one in done if isinstance(one, Ingested)] == [2, 2]
    with duckdb.connect(engine.warehouse.path, read_only=True) as connection:
        assert connection.execute(
            "SELECT row_number, name, sku FROM products ORDER BY row_number"
        ).fetchall() == [
            (place + 1, f"Lamp {n}", f"S-{number}-{n}")
            for place, (number, n) in enumerate(
                (number, n)
                for number, data in enumerate(members.values())
                for n in range(data.count(b"\n") - 1)
            )
            if not fates[place]
        ]
        text = b"".join(members.values())
        assert [
            text[start:end]
            for start, end in connection.execute(
                "SELECT byte_start, byte_end FROM rejected_rows ORDER BY row_number"
            ).fetchall()
        ] == [b"Lamp,S,x,y\n"] * sum(fates)


def test_a_zip_of_several_goes_into_an_empty_warehouse_like_any_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(direct_load, "LEAST_BYTES", 0)
    engine = engine_at(tmp_path)
    path = engine.settings.inbox_dir / "products.zip"
    path.write_bytes(zipped({"a.csv": HEAD + b"Lamp,A-1,\n", "b.csv": HEAD + b"Chair,B-2,\n"}))
    (done,) = engine.ingest_all(engine.pending_inbox_files(LOG), [], LOG)
    assert isinstance(done, Ingested)
    assert done.products == 2
