"""A data folder whose path has characters that are special in SQL, globs, shells and URLs."""

import gzip
import io
import zipfile
from pathlib import Path

import duckdb
import pytest

from lfp_pipeline.cli.sample_file import sample_in, write_sample
from lfp_pipeline.operations.export_rejects import export_rejects
from lfp_pipeline.operations.purge import Selection, purge_products
from lfp_pipeline.operations.status import collect_status
from lfp_pipeline.operations.status_text import render_status
from lfp_pipeline.warehouse import direct_load
from testing.dagster_project import HEADER, drop, project_in
from testing.engine import LOG

ODD = "**/[!a]{b,c}*/~\u00e4\u4e2d\U0001f600'b\"c\nd;e$HOME`f`%20#g=h&i:j "
"""Nested folders with special characters in their names."""


def zipped(**members: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in members.items():
            archive.writestr(f"{name}.csv", text)
    return out.getvalue()


def rows(prefix: str, number: int) -> str:
    return HEADER + "".join(f"{prefix}{n},Ann,x y {n}\n" for n in range(number))


def test_everything_works_in_folders_with_any_names(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct_load, "LEAST_BYTES", 5_000)
    with project_in(tmp_path / ODD, home) as project:
        engine = project.engine
        for file, content in {
            "large.csv": rows("l", 2000),
            "small.csv": rows("s", 3),
            "bad.csv": rows("b", 30) + ",Bob,\n",
            "packed.csv.gz": gzip.compress(rows("p", 3).encode()),
            "several.zip": zipped(a=rows("a", 3), b=rows("c", 3)),
            "utf16.csv": rows("u", 3).encode("utf-16"),
            f"{ODD.strip()}.csv": rows("o", 3),
        }.items():
            drop(project.inbox, file, content)
        assert project.run("ingest_inbox").success
        assert len(project.products) == 2000 + 3 + 30 + 3 + 6 + 3 + 3
        assert "Problems" not in render_status(collect_status(engine))
        for job in ("status", "publish_tables", "export_tables", "prune_raw", "verify"):
            assert project.run(job).success, job
        (exported,) = engine.settings.exports_dir.glob("products.parquet")
        with duckdb.connect() as connection:
            assert connection.from_parquet(io.BytesIO(exported.read_bytes())) is not None
        assert [one.rows for one in export_rejects(engine, LOG)] == [1]
        report = purge_products(engine, Selection(skus=["s1"]), LOG)
        assert len(project.products) == 2047
        revert = {"ops": {"revert": {"config": {"delivery_id": report.figures["delivery_id"]}}}}
        assert project.run("revert_delivery", config=revert).success
        assert len(project.products) == 2048
        assert project.run("rebuild_products").success
        full = {"ops": {"check_invariants": {"config": {"full": True}}}}
        assert project.run("verify", config=full).success
        sample = sample_in(project.inbox, 100, 1)
        assert write_sample(sample, 100, 1).rows == 100
        assert project.run("ingest_inbox").success
        assert project.tick().run_requests == []
        source = tmp_path / ODD / "source.csv"
        source.write_text(rows("r", 2))
        assert project.ingest("mine", source=str(source).replace("$", "$$")).success
