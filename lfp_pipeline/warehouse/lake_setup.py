"""Creates the tables of a lake in PostgreSQL, and claims the place of its files."""

from collections.abc import Mapping
from contextlib import closing
from itertools import permutations
from typing import TYPE_CHECKING, Any

import duckdb

from lfp_pipeline.errors import OperationRefusedError
from lfp_pipeline.hosts.postgres import place_of
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.lake_catalog import (
    CREATE_FENCE,
    CREATE_SCHEMAS,
    CREATE_TABLES,
    catalog_identity,
    newest_snapshot,
    require_path,
    verified_state,
)
from lfp_pipeline.warehouse.lake_connection import (
    CONFIG,
    attach_lake,
    data_path,
    load_extensions,
    quoted,
)
from lfp_pipeline.warehouse.lake_owner import claim, take_over

if TYPE_CHECKING:
    import psycopg

# With the encodings of version 2, the skus of all products are read in two thirds of the time.
_FORMAT = {"parquet_compression": "zstd", "parquet_version": "2"}


def create_lake_tables(settings: Settings, connection: "psycopg.Connection[Any]") -> None:
    """Create what the catalog and the place of the files lack.

    Args:
        connection: each statement on it is a transaction of its own.

    Raises:
        OperationRefusedError: the place of the files belongs to another catalog; or the lake, the
            raw zone or the inbox is within another one of them.
        BucketUnreachableError: the object store does not answer.
        WarehouseInconsistentError: the catalog was made by another version, or for another place.
    """
    assert settings.catalog is not None  # noqa: S101 (for the types)
    url, place = settings.catalog, settings.lake_place
    _require_separate(
        {"LFP_LAKE": place, "LFP_RAW": settings.raw_place, "LFP_INBOX": settings.inbox_place}
    )
    path = data_path(place)
    connection.execute(CREATE_SCHEMAS)
    connection.execute(CREATE_TABLES)
    if present := newest_snapshot(connection):
        require_path(present.data_path, place_of(url), path)
    claim(place, catalog_identity(connection), place_of(url))
    with closing(duckdb.connect(config=dict(CONFIG))) as lake:
        load_extensions(lake, path)
        creation = f"DATA_PATH {quoted(path)}"
        attach_lake(lake, url, path, "warehouse", "lfp cluster init", creation)
        for option, value in _FORMAT.items():
            lake.execute(f"CALL warehouse.set_option('{option}', '{value}')")
    connection.execute(CREATE_FENCE)
    verified_state(connection, place_of(url), path)


def _require_separate(places: Mapping[str, str]) -> None:
    """Raise an OperationRefusedError if a place is within another one: by name of the setting.

    The maintenance of the lake removes files that it does not know, and an inbox would take in all
    other files.
    """
    for (setting, inner), (other, outer) in permutations(places.items(), 2):
        if f"{inner}/".startswith(f"{outer}/"):
            msg = (
                f"{setting} = {inner} is within {other} = {outer}. Set one of them to a place "
                "apart."
            )
            raise OperationRefusedError(msg)


def take_over_place(settings: Settings, connection: "psycopg.Connection[Any]") -> None:
    """Give the place of the files to this copy of the catalog that owns it.

    Raises:
        OperationRefusedError: this database is no copy of that catalog.
        BucketUnreachableError: the object store does not answer.
    """
    assert settings.catalog is not None  # noqa: S101 (for the types)
    if connection.execute("SELECT to_regclass('lfp.lake_identity')").fetchall() == [(None,)]:
        msg = f"The catalog at {place_of(settings.catalog)} has no tables: it is no copy of one."
        raise OperationRefusedError(msg)
    take_over(settings.lake_place, catalog_identity(connection), place_of(settings.catalog))
