"""Encodings, from the raw zone into the tables and out again as rejects."""

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from lfp_pipeline.engine import Engine
from lfp_pipeline.ingest import batch_merge
from lfp_pipeline.ingest.result import IngestResult
from lfp_pipeline.model.delivery import Delivery, TextFormat
from lfp_pipeline.operations.export_rejects import export_rejects
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.sources.base import Fetched, OnProgress, Sink
from lfp_pipeline.sources.local_file import LocalFile
from lfp_pipeline.warehouse import direct_load
from testing.engine import LOG, engine_at

HEAD = "name,sku,description\n"
GERMAN = HEAD + "Müller,s1,\nSchröder,s2,\n"
JAPANESE = "商品,番号,説明\n椅子,,ランプ\n机,B-2,\n"
ALIASES = {"name": ["商品"], "sku": ["番号"], "description": ["説明"]}
UNKNOWN = TextFormat()


@dataclass(frozen=True)
class FileWithFormat(LocalFile):
    """A file whose source declares its text format."""

    text_format: TextFormat

    def fetch(self, sink: Sink, on_progress: OnProgress) -> Fetched:
        return replace(super().fetch(sink, on_progress), text_format=self.text_format)


def ingest(engine: Engine, data: bytes, text_format: TextFormat = UNKNOWN) -> IngestResult:
    path = engine.settings.inbox_dir / "a.csv"
    path.write_bytes(data)
    return engine.ingest(engine.land(FileWithFormat(path, text_format), "a.csv", LOG), LOG)


def refusal(engine: Engine, data: bytes, text_format: TextFormat = UNKNOWN) -> str:
    return ingest(engine, data, text_format).account.error or ""


def test_a_broken_sources_file_does_not_hide_the_refusal(tmp_path: Path):
    sources = tmp_path / "sources.yaml"
    sources.write_text("sources: 1")
    engine = engine_at(tmp_path, max_reject_share=0.1, sources_file=sources)
    assert "LFP_FALLBACK_ENCODING=windows-1252" in refusal(engine, GERMAN.encode("cp1252"))


def test_a_refusal_names_the_first_member_that_is_not_utf8(tmp_path: Path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.csv", (HEAD + "Müller,s0,\n").encode())
        archive.writestr("b.csv", GERMAN.encode("cp1252"))
    error = refusal(engine_at(tmp_path, max_reject_share=0.1), file.getvalue())
    assert "b.csv is not UTF-8; it is probably windows-1252: for all" in error


def test_a_refusal_for_other_reasons_does_not_mention_encodings(tmp_path: Path):
    engine = engine_at(tmp_path, max_reject_share=0.1)
    data = (HEAD + "Ann,,\n" * 3).encode() + "Müller,s1,\n".encode("cp1252")
    assert "UTF-8" not in refusal(engine, data)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Collect for each file whether it was loaded directly."""
    done: list[bool] = []
    load = direct_load.load_directly

    def noting(*arguments: object) -> object:
        reading = load(*arguments)  # type: ignore[arg-type]
        done.append(reading is not None)
        return reading

    monkeypatch.setattr(direct_load, "LEAST_BYTES", 0)
    monkeypatch.setattr(direct_load, "should_load_directly", lambda *_: True)
    monkeypatch.setattr(direct_load, "load_directly", noting)
    monkeypatch.setattr(batch_merge, "size_in_bytes", lambda _: 0)
    return done


def test_a_file_with_a_declared_encoding_is_loaded_directly_with_a_note(
    tmp_path: Path, loaded: list[bool]
):
    done = ingest(engine_at(tmp_path), GERMAN.encode("cp1252"), TextFormat("cp1252"))
    assert loaded == [True]
    assert done.reading is not None
    assert list(done.reading.notes) == ["Read as windows-1252 (sources file)."]


@pytest.mark.parametrize("fallback", ["shift_jis", None])
def test_a_header_that_depends_on_the_setting_is_not_read_without_it(
    tmp_path: Path, loaded: list[bool], fallback: str | None
):
    engine = engine_at(tmp_path, fallback_encoding=fallback, column_aliases=ALIASES)
    done = ingest(engine, JAPANESE.encode("cp932"))
    assert loaded == [False]
    assert (done.products, done.account.rows.rejected) == ((1, 1) if fallback else (0, 0))


def test_the_charset_of_the_server_is_used_before_the_header_is_read(
    tmp_path: Path, loaded: list[bool]
):
    done = ingest(engine_at(tmp_path), GERMAN.encode("cp037"), TextFormat(charset="cp037"))
    assert loaded == [False]
    assert done.products == 2


@pytest.mark.parametrize(
    ("encoding", "text_format", "fallback"),
    [
        ("cp932", TextFormat(), "shift_jis"),
        ("cp932", TextFormat(charset="cp932"), None),
        ("cp932", TextFormat(encoding="cp932"), None),
        ("iso2022_jp", TextFormat(charset="iso2022_jp"), None),
        ("utf-8", TextFormat(charset="cp932"), "shift_jis"),
    ],
)
def test_rejects_are_exported_with_the_columns_that_were_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    encoding: str,
    text_format: TextFormat,
    fallback: str | None,
):
    def deliveries(raw_zone: RawZone, key: str) -> list[Delivery]:
        found = deliveries_of(raw_zone, key)
        return [replace(delivery, text_format=text_format) for delivery in found]

    deliveries_of = RawZone.deliveries
    monkeypatch.setattr(RawZone, "deliveries", deliveries)
    engine = engine_at(tmp_path, fallback_encoding=fallback, column_aliases=ALIASES)
    assert ingest(engine, JAPANESE.encode(encoding), text_format).account.rows.rejected == 1
    (found,) = export_rejects(engine, LOG)
    row = found.path.read_text(encoding="utf-8-sig").splitlines()[1]
    assert row.startswith(",椅子,ランプ,no sku,")
