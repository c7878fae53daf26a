"""Ingests a file with the real engine, in one of several ways, and reads the database."""

import gzip
import io
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from lfp_pipeline.engine import Engine
from lfp_pipeline.model.partition_key import partition_key
from lfp_pipeline.warehouse import direct_load
from testing.dagster_project import drop, query
from testing.engine import LOG, engine_at
from testing.http_server import content_of, serving

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

WAYS = ("plain", "gz", "zst", "zip", "zip of two", "url", "batch", "direct")
"""The ways in which a file can be delivered."""

SOME_WAYS = ("plain", "zip of two", "batch", "direct")
"""The ways that differ in how rows reach the tables."""

OTHER = b"sku,name,description\nother-1,Chair,Oak\n"
"""A file that is delivered beside another, in a zip or in a batch."""


@dataclass(frozen=True)
class Taken:
    """The result of one file.

    Attributes:
        status: merged or refused.
        error: why it is refused.
        rows_read: records, rejects included.
        products: name and description by sku.
        rejects: reason of each.
        raw: the bytes of each reject.
        blank: blank lines.
        headers: repeated headers.
        above: lines above the header.
        notes: what people should know of how it was read.
    """

    status: str
    error: str
    rows_read: int
    products: Mapping[str, tuple[str, str]]
    rejects: list[str]
    raw: list[bytes]
    blank: int
    headers: int
    above: int
    notes: str


def zipped(members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def engine_of(folder: Path, **settings: Any) -> Engine:  # noqa: ANN401
    """Return an engine that refuses files of many rejects and may fetch from this machine."""
    defaults: dict[str, Any] = {"max_reject_share": 0.1, "allowed_hosts": ("127.0.0.1",)}
    return engine_at(folder, **defaults | settings)


def take(folder: Path, data: bytes | str, way: str = "plain", **settings: Any) -> Taken:  # noqa: ANN401
    """Land and ingest a file in an empty data folder."""
    content = data.encode() if isinstance(data, str) else data
    engine = engine_of(folder, **settings)
    if way == "url":
        with serving(content_of(content)) as server:
            delivery = engine.land(engine.catalog.source_at(server.url()), "a.csv", LOG)
        engine.ingest(delivery, LOG)
        return taken(engine, "a.csv")
    packed = {
        "gz": ("a.csv.gz", gzip.compress(content)),
        "zst": ("a.csv.zst", zstd.compress(content)),
        "zip": ("a.zip", zipped({"a.csv": content})),
        "zip of two": ("a.zip", zipped({"a.csv": content, "b.csv": OTHER})),
    }
    name, raw = packed.get(way, ("a.csv", content))
    if way == "batch":
        for number in range(3):
            drop(engine.settings.inbox_dir, f"b{number}.csv", OTHER, number)
    with _loading_directly(way == "direct"):
        drop(engine.settings.inbox_dir, name, raw)
        list(engine.ingest_all(engine.pending_inbox(LOG).ready, [], LOG))
    return taken(engine, name)


def take_named(folder: Path, data: bytes, entry: str, **settings: Any) -> Taken:  # noqa: ANN401
    """Ingest a file that a sources file names, with more fields in its entry."""
    file, sources = folder / "named.csv", folder / "sources.yaml"
    folder.mkdir(exist_ok=True)
    file.write_bytes(data)
    sources.write_text(f"sources:\n  - {{name: shop, location: {file}, {entry}}}\n")
    engine = engine_of(folder / "data", sources_file=sources, **settings)
    (source,) = engine.catalog.named_sources(["shop"]).values()
    engine.ingest(engine.land(source, "shop", LOG), LOG)
    return taken(engine, "shop")


@contextmanager
def _loading_directly(applies: bool) -> Iterator[None]:
    if not applies:
        yield
        return
    with (
        mock.patch.object(direct_load, "LEAST_BYTES", 0),
        mock.patch.object(direct_load, "should_load_directly", return_value=True),
    ):
        yield


def taken(engine: Engine, name: str) -> Taken:
    """Return the result of the newest version of a file."""

    def rows(sql: str) -> list[tuple[Any, ...]]:
        return query(engine.settings.data_dir, sql)

    key = partition_key(name)
    ((id_, status, error, rows_read, rejected, *skipped, notes),) = rows(
        "SELECT delivery_id, status, error, rows_read, rows_rejected, "
        "blank_lines, repeated_headers, lines_above_header, notes "
        f"FROM deliveries WHERE partition_key = '{key}' ORDER BY delivery_id DESC LIMIT 1"
    )
    of_it = f"WHERE delivery_id = '{id_}'"
    products = rows(f"SELECT sku, name, description FROM products {of_it}")
    rejects = rows(f"SELECT reason, raw FROM rejected_rows {of_it} ORDER BY row_number")
    ((unaccounted,),) = rows(
        "SELECT rows_read - rows_inserted - rows_updated - rows_unchanged - rows_superseded "
        f"- rows_stale - rows_rejected FROM deliveries {of_it}"
    )
    assert unaccounted == 0
    assert status != "merged" or rejected == len(rejects)
    return Taken(
        status=status,
        error=error or "",
        rows_read=rows_read,
        products={sku: (name, text) for sku, name, text in products if sku != "other-1"},
        rejects=[reason for reason, _ in rejects],
        raw=[raw for _, raw in rejects],
        blank=skipped[0],
        headers=skipped[1],
        above=skipped[2],
        notes=notes or "",
    )
