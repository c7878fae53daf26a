"""Zips with several CSV members: one delivery, in which damage does not spread between members."""

import gzip
import io
import os
import random
import re
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import duckdb
import pytest

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import DeliveryRefusedError, ReadingTimeoutError
from lfp_pipeline.ingest.result import IngestResult
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.reading import multi_file, reject_limit, text_reader, unpacking
from lfp_pipeline.reading.reader import Reading
from lfp_pipeline.warehouse import direct_load
from testing.engine import LOG, engine_at
from testing.reader import csv, delivery_at, read, reading, settings

HEAD = b"name,sku,description\n"


def zipped(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return packed.getvalue()


def test_members_are_concatenated_in_the_order_of_their_names():
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


def test_members_may_differ_in_encoding_and_dialect():
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


def test_damage_at_the_end_of_a_member_does_not_affect_the_next():
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


def ingest(engine: Engine, members: dict[str, bytes]) -> IngestResult:
    """Ingest a zip of these members from the inbox."""
    (engine.settings.inbox_dir / "products.zip").write_bytes(zipped(members))
    (done,) = engine.ingest_all(engine.pending_inbox(LOG).ready, [], LOG)
    assert isinstance(done, IngestResult)
    return done


def test_the_detail_of_a_reject_names_its_member(tmp_path: Path):
    engine = engine_at(tmp_path)
    ingest(engine, {"a.csv": HEAD + b"Lamp,,x\nbad\n", "b c.csv": HEAD + b"Sofa,,\n,x\n"})
    with duckdb.connect(engine.warehouse.path, read_only=True) as connection:
        found = connection.execute(
            "SELECT row_number, reason, detail FROM rejected_rows ORDER BY row_number"
        ).fetchall()
    assert found == [
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
        ("b.csv", b"Read me.\n", "In b.csv: The header has no column name"),
        ("b.txt", gzip.compress(HEAD, mtime=0), "b.txt in the zip is itself an archive .*gzip"),
        ("b.xlsx", b"PK", "b.xlsx in the zip is itself an archive or a workbook"),
        ("../b.png", b"PNG", r"\.\./b.png in the zip leads out of it"),
    ],
)
def test_a_member_named_as_csv_or_as_an_archive_may_refuse_the_whole_zip(
    name: str, data: bytes, message: str
):
    with pytest.raises(DeliveryRefusedError, match=message):
        read(zipped({"a.csv": HEAD + b"Lamp,A-1,\n", name: data}))


def read_zip(members: Mapping[str, bytes], folder: Path, **others: object) -> Reading:
    path = folder / "products.zip"
    path.write_bytes(zipped(dict(members)))
    with reading(delivery_at(path), settings(folder, **others)) as (found, _):
        return found


LAMP = HEAD + b"Lamp,A-1,\n"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("LICENSE.txt", b"You may.\n"),
        ("README", b"Read me: name, sku, description.\n"),
        ("notes.DAT", b""),
        ("list.asc", b"\xff\xfeR\0e\0a\0d\0"),
        ("photo.jpg", HEAD),
        ("page.html", HEAD),
        ("README.md", HEAD),
        (".gitignore", b"*.csv\n"),
        ("manual.pdf", b"%PDF"),
    ],
)
def test_other_files_in_a_zip_are_skipped_and_noted(tmp_path: Path, name: str, data: bytes):
    ignored = {"Thumbs.db": b"\xd0\xcf", "__MACOSX/._a.csv": b"x"}
    found = read_zip({"a.csv": LAMP, f"b/{name}": data} | ignored, tmp_path)
    assert found.rows_read == 1
    assert found.notes == [f"Skipped in the zip: b/{name}."]


@pytest.mark.parametrize("name", ["b.TSV", "b.tab", "b.txt", "b.DAT", "b.asc", "b"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_texts_with_a_header_are_read_beside_csv(tmp_path: Path, name: str, encoding: str):
    text = "sku;name;description\nB-2;Stühle;\n".encode(encoding)
    found = read_zip({"a.csv": LAMP, name: text, "c.txt": b"Read me.\n"}, tmp_path)
    assert found.rows_read == 2
    assert found.notes == ["Skipped in the zip: c.txt."]


def test_a_text_with_a_header_is_read_if_no_member_is_named_as_csv(tmp_path: Path):
    members = {"LICENSE": b"You may.\n", "products.txt": LAMP, "photo.jpg": b"\xff\xd8"}
    found = read_zip(members, tmp_path)
    assert found.rows_read == 1
    assert found.notes == ["Skipped in the zip: LICENSE, photo.jpg."]


def test_aliases_decide_which_texts_have_a_header(tmp_path: Path):
    members = {"a.csv": LAMP, "b.txt": b"name,article,description\nChair,B-2,\n"}
    assert read_zip(members, tmp_path).rows_read == 1
    assert read_zip(members, tmp_path, column_aliases={"sku": ["article"]}).rows_read == 2


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.pdf": b"%PDF", "b.jpg": LAMP}, "^The zip holds no CSV file, but a.pdf, b.jpg. Add a"),
        ({"a.txt": b"name,sku\n", "b.jpg": b""}, "^In a.txt: The header has no column desc"),
        ({"a.txt": b"name,sku\n", "b.txt": b""}, "^In a.txt: The header has no column desc"),
        ({"a.txt": b"", "b.txt": b"name,sku\n"}, "^In a.txt: The file is empty"),
    ],
)
def test_the_refusal_of_a_zip_without_product_files_names_its_members(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: dict[str, bytes], message: str
):
    with pytest.raises(DeliveryRefusedError, match=message):
        read_zip(members, tmp_path)
    monkeypatch.setattr(direct_load, "LEAST_BYTES", 0)
    monkeypatch.setattr(direct_load, "should_load_directly", lambda *_: True)
    assert re.search(message, ingest(engine_at(tmp_path), members).account.error or "")


def test_the_note_on_many_skipped_members_counts_them(tmp_path: Path):
    names = [f"{number:02}{'x' * 1_000}\x1b.png" for number in range(20)]
    found = read_zip({"a.csv": LAMP} | dict.fromkeys(names, b""), tmp_path)
    (note,) = found.notes
    assert note.startswith("Skipped in the zip: 00xxx")
    assert note.endswith(" and 15 more.")
    assert len(note) < 1_500
    assert note.isprintable()


def test_a_skipped_member_need_not_be_readable():
    packed = bytearray(zipped({"a.csv": LAMP, "b.jpg": b"x" * 100}))
    entry = packed.rindex(b"PK\1\2")
    packed[entry + 8] |= 1  # Encrypted,
    packed[entry + 10] = 99  # by AES,
    packed[entry + 16 : entry + 20] = b"\0\0\0\0"  # with a wrong checksum,
    packed[entry + 24 : entry + 28] = b"\xff\xff\xff\x7f"  # and of 2 GB.
    found = read(bytes(packed), max_unpacked_bytes=len(LAMP))
    assert found.rows_read == 1


def test_a_text_that_cannot_be_unpacked_refuses_the_whole_zip():
    packed = bytearray(zipped({"a.csv": LAMP, "b.txt": b"x" * 100}))
    packed[packed.rindex(b"PK\1\2") + 8] |= 1
    with pytest.raises(DeliveryRefusedError, match=r"b\.txt in the zip is encrypted"):
        read(bytes(packed))


def test_offsets_of_rejects_count_from_the_only_product_file(tmp_path: Path):
    members = {"README.txt": b"Read me.\n", "a.csv": HEAD + b"Lamp,,\n", "photo.jpg": b""}
    path = tmp_path / "products.zip"
    path.write_bytes(zipped(members))
    assert [reject[:4] for reject in read(path.read_bytes()).rejects] == [(1, 21, 28, "no sku")]


def test_very_many_columns_in_all_members_are_refused_before_any_row_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(multi_file, "MAX_COLUMNS_OF_MEMBERS", 10)
    wide = b"name,sku,description,x\nLamp,A-1,,\n"
    assert read_zip({"a.csv": wide, "b.csv": LAMP, "c.csv": LAMP}, tmp_path).rows_read == 3
    monkeypatch.setattr(text_reader, "load_rows", None)
    with pytest.raises(DeliveryRefusedError, match="more than 10 columns in all"):
        read_zip({"a.csv": wide, "b.csv": wide, "c.csv": LAMP}, tmp_path)


def test_members_of_two_thousand_columns_are_refused_at_once():
    others = ",".join(f"x{number}" for number in range(1_997))
    wide = f"name,sku,description,{others}\nLamp,A-1,,{',' * 1_996}\n".encode()
    packed = zipped({f"{number}.csv": wide for number in range(500)})
    started = time.monotonic()
    with pytest.raises(DeliveryRefusedError, match="columns in all"):
        read(packed)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("name", ["b.csv", "b.txt"])
def test_reading_a_zip_for_too_long_fails_and_is_no_refusal(tmp_path: Path, name: str):
    members = {"a.csv": LAMP, name: LAMP}
    assert read_zip(members, tmp_path).rows_read == 2
    with pytest.raises(ReadingTimeoutError, match=r"LFP_MAX_ARCHIVE_SECONDS.*Raise the setting"):
        read_zip(members, tmp_path, max_archive_seconds=1e-9)
    assert not issubclass(ReadingTimeoutError, DeliveryRefusedError)
    alone = {"a.csv": LAMP, "b.jpg": b""}
    assert read_zip(alone, tmp_path, max_archive_seconds=1e-9).rows_read == 1


def test_a_zip_that_took_too_long_is_retried(tmp_path: Path):
    engine = engine_at(tmp_path, max_archive_seconds=1e-9)
    done = ingest(engine, {"a.csv": LAMP, "b.csv": LAMP})
    assert done.account.status is Status.FAILED
    assert "LFP_MAX_ARCHIVE_SECONDS" in (done.account.error or "")
    patient = engine_at(tmp_path)
    (again,) = patient.ingest_all([], patient.pending_deliveries(LOG), LOG)
    assert isinstance(again, IngestResult)
    assert again.account.status is Status.MERGED


def test_a_lone_member_may_have_any_name_except_that_of_an_archive():
    assert read(zipped({"export.dat": HEAD + b"Lamp,A-1,\n"})).rows_read == 1
    with pytest.raises(DeliveryRefusedError, match="itself an archive"):
        read(zipped({"export.rar": HEAD}))


def test_the_refusal_of_a_zip_names_the_damaged_member():
    rows = csv(*[(f"Lamp {n * n}", f"S-{n}", "") for n in range(1_000)])
    packed = bytearray(zipped({"a.csv": rows, "b.csv": rows}))
    packed[packed.rindex(b"PK\3\4") + 3_000] ^= 64
    with pytest.raises(DeliveryRefusedError, match=r"b\.csv in the zip is damaged"):
        read(bytes(packed))


def test_the_size_limit_applies_to_all_members_together():
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


def test_a_small_bad_member_does_not_refuse_a_large_good_one(monkeypatch: pytest.MonkeyPatch):
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
    monkeypatch.setattr(unpacking, "MAX_RATIO", len(data) // len(packed))
    with pytest.raises(DeliveryRefusedError, match="times its size"):
        read(packed)


def test_many_damaged_members_give_the_same_rows_as_single_files(tmp_path: Path):
    """Row numbers continue through members of any size, also in a batch."""
    rng = random.Random(3)
    members, fates = {}, []
    for number, size in enumerate([3, 70_000, 1, 0, 20_000, 5]):
        rows = [b"Lamp %d,S-%d-%d,x\n" % (n, number, n) for n in range(size)]
        bad = sorted(rng.sample(range(size), min(size, 2)))
        for index in bad:
            rows[index] = b"Lamp,S,x,y\n"
        fates += [index in bad for index in range(size)]
        members[f"{number}.csv"] = HEAD + b"".join(rows)
    engine = engine_at(tmp_path, parallel_files=1)
    for name in ("one.zip", "two.zip"):
        path = engine.settings.inbox_dir / name
        path.write_bytes(zipped(members if name == "one.zip" else {"a.csv": HEAD, "b.csv": HEAD}))
        os.utime(path, (1, 1))
    done = engine.ingest_all(engine.pending_inbox(LOG).ready, [], LOG)
    assert [result.batch for result in done if isinstance(result, IngestResult)] == [2, 2]
    with duckdb.connect(engine.warehouse.path, read_only=True) as connection:
        assert connection.execute(
            "SELECT row_number, name, sku FROM products ORDER BY row_number"
        ).fetchall() == [
            (index + 1, f"Lamp {n}", f"S-{number}-{n}")
            for index, (number, n) in enumerate(
                (number, n)
                for number, data in enumerate(members.values())
                for n in range(data.count(b"\n") - 1)
            )
            if not fates[index]
        ]
        text = b"".join(members.values())
        assert [
            text[start:end]
            for start, end in connection.execute(
                "SELECT byte_start, byte_end FROM rejected_rows ORDER BY row_number"
            ).fetchall()
        ] == [b"Lamp,S,x,y\n"] * sum(fates)


def test_a_zip_of_several_members_loads_into_an_empty_warehouse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(direct_load, "LEAST_BYTES", 0)
    members = {"a.csv": HEAD + b"Lamp,A-1,\n", "b.csv": HEAD + b"Chair,B-2,\n"}
    assert ingest(engine_at(tmp_path), members).products == 2
