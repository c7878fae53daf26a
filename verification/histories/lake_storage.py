"""A lake of a history: looked at with DuckDB, PostgreSQL and S3, without the pipeline."""

import shutil
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import urlsplit

import duckdb

from lfp_pipeline.engine import Engine
from lfp_pipeline.hosts.bucket import Bucket
from lfp_pipeline.model.partition_key import PURGES
from lfp_pipeline.settings import Settings
from testing.lakes import create_catalog
from testing.raw_folder import ids_with
from verification.histories.folder_state import Marks
from verification.histories.kill_points import StepLimit
from verification.histories.observed import TableReader, stated_in
from verification.histories.storage import DATABASE, NOTHING, Storage
from verification.hosts.plain_reader import load_extensions

if TYPE_CHECKING:
    import psycopg

_SIDECARS = """
SELECT partition_key, stem, suffix, content FROM lfp.sidecars WHERE content IS NOT NULL
"""
_SCHEMAS = """
SELECT count(*) FROM lfp_lake.ducklake_schema WHERE end_snapshot IS NULL AND schema_name <> 'main'
"""
_NEWEST = "SELECT max(snapshot_id) FROM lfp_lake.ducklake_snapshot"
_KNOWN_FILES = """
SELECT path FROM lfp_lake.ducklake_data_file
UNION ALL SELECT path FROM lfp_lake.ducklake_delete_file
"""


class LakeTableReader(TableReader):
    """Reads lakes, over one connection of its own."""

    def _connect(self) -> duckdb.DuckDBPyConnection:
        config = {"threads": 1, "allow_unsigned_extensions": True}
        connection = duckdb.connect(config=config)
        load_extensions(connection)
        return connection

    def _place(self, engine: Engine) -> str:
        url = urlsplit(_url(engine))
        return (
            f"ducklake:postgres:host={url.hostname} port={url.port} user={url.username} "
            f"dbname={url.path.strip('/')}"
        )

    def tables(self, engine: Engine, *options: str) -> dict[str, list[tuple[Any, ...]]]:
        return super().tables(engine, "META_SCHEMA 'lfp_lake'", *options)


class LakeStorage(Storage):
    """A lake in a folder, with records in its catalog, and bytes in a folder or a bucket."""

    losses = (NOTHING, DATABASE)
    has_snapshots = True
    steps_factor = 2.4  # Of a rebuild; others take 1.6 times as many.

    def reader(self) -> TableReader:
        return LakeTableReader()

    def marks(self, engine: Engine) -> Marks:
        found = defaultdict[str, dict[str, bytes]](dict)
        for key, stem, suffix, content in rows_of(engine, _SIDECARS):
            found[suffix][f"{key}#{stem.replace('-', '#')}"] = content
        landed, reverted, pruned = (set(found[name]) for name in ("json", "reverted", "pruned"))
        assert landed <= _ids_with_bytes(engine.settings) | pruned
        return Marks(landed, reverted, pruned, stated_in(found["json"].values()))

    def purges(self, engine: Engine) -> list[Path]:
        settings = engine.settings
        folder = settings.raw_dir / PURGES
        stems = sorted(
            stem
            for key, stem, suffix, _ in rows_of(engine, _SIDECARS)
            if key == PURGES and suffix == "json"
        )
        paths = [folder / f"{stem}.raw" for stem in stems]
        if settings.raw is not None:
            folder.mkdir(parents=True, exist_ok=True)
            for path in paths:
                client, bucket, prefix = _bucket(settings.raw)
                client.download_file(bucket, f"{prefix}/{PURGES}/{path.name}", str(path))
        return paths

    def lose(self, what: str, engine: Engine) -> None:
        assert what == DATABASE
        with _connection(engine) as connection:
            connection.execute("DROP SCHEMA lfp_lake CASCADE")
        shutil.rmtree(engine.settings.lake_place, ignore_errors=True)
        create_catalog(engine.settings)

    def check_swapped(self, engine: Engine, *, is_last: bool) -> None:
        assert rows_of(engine, _SCHEMAS) == [(1,)]

    def newest_snapshot(self, engine: Engine) -> int:
        ((number,),) = rows_of(engine, _NEWEST)
        return int(number)

    @contextmanager
    def more_steps(self, limit: StepLimit) -> Iterator[None]:
        """Count statements in PostgreSQL, and changes in the bucket."""
        import psycopg  # noqa: PLC0415 (not in the environment of file mode)

        used = set[psycopg.Connection[Any]]()
        execute = psycopg.Connection.execute

        def counted_execute(
            connection: "psycopg.Connection[Any]", *arguments: object, **options: object
        ) -> object:
            # A daemon's thread renews a mark, at any time.
            if not threading.current_thread().daemon:
                used.add(connection)
                limit.step()
            return execute(connection, *arguments, **options)  # type: ignore[arg-type]

        def counted(change: Callable[..., object]) -> Callable[..., object]:
            def step(*arguments: object, **options: object) -> object:
                limit.step()
                return change(*arguments, **options)

            return step

        with ExitStack() as patches:
            patches.enter_context(mock.patch.object(psycopg.Connection, "execute", counted_execute))
            for name in ("put", "delete"):
                patches.enter_context(
                    mock.patch.object(Bucket, name, counted(getattr(Bucket, name)))
                )
            try:
                yield
            finally:
                if limit.is_reached:
                    for connection in used:
                        connection.close()


def rows_of(engine: Engine, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query in the catalog's database."""
    with _connection(engine) as connection:
        return connection.execute(sql).fetchall()


def unknown_files(engine: Engine) -> set[str]:
    """Return the names of Parquet files that are in the folder or in the catalog, and not both."""
    known = {Path(path).name for (path,) in rows_of(engine, _KNOWN_FILES)}
    return known ^ {path.name for path in Path(engine.settings.lake_place).rglob("*.parquet")}


def _connection(engine: Engine) -> "closing[psycopg.Connection[Any]]":
    import psycopg  # noqa: PLC0415

    return closing(psycopg.connect(_url(engine), autocommit=True))


def _url(engine: Engine) -> str:
    assert engine.settings.catalog is not None
    return engine.settings.catalog.get_secret_value()


def _ids_with_bytes(settings: Settings) -> set[str]:
    """Return the ids of the deliveries whose bytes are in the folder or the bucket."""
    if settings.raw is None:
        return set(ids_with(settings.raw_dir, ".raw"))
    client, bucket, prefix = _bucket(settings.raw)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
    names = [
        found["Key"].removeprefix(f"{prefix}/")
        for page in pages
        for found in page.get("Contents", ())
    ]
    paths = [Path(name) for name in names if name.endswith(".raw")]
    return {f"{path.parent.name}#{path.stem.replace('-', '#')}" for path in paths}


def _bucket(place: str) -> tuple[Any, str, str]:
    """Return a client, and the bucket and the prefix of a place."""
    import boto3  # noqa: PLC0415

    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    return boto3.client("s3", region_name="us-east-1"), bucket, prefix
