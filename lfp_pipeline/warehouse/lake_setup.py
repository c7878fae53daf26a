"""Creates the tables of a lake in PostgreSQL, and claims the place of its files.

A place belongs to one catalog: the maintenance of a catalog removes all files below its place that
the catalog does not know.
"""

import json
from contextlib import closing
from pathlib import PurePosixPath
from typing import Any

import duckdb
import fsspec

from lfp_pipeline.errors import OperationRefusedError
from lfp_pipeline.hosts.postgres import connect, place_of
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.lake_catalog import (
    CREATE_FENCE,
    CREATE_SCHEMAS,
    CREATE_TABLES,
    catalog_id,
    verified_state,
)
from lfp_pipeline.warehouse.lake_connection import (
    CONFIG,
    attach_lake,
    data_path,
    load_extensions,
    quoted,
)

_MARKER = "lfp-catalog.json"

# With the encodings of version 2, the skus of all products are read in two thirds of the time.
_FORMAT = {"parquet_compression": "zstd", "parquet_version": "2"}

_ONE_AT_A_TIME = "SELECT pg_advisory_lock(hashtextextended('lfp.lake_setup', 0))"


def create_lake_tables(settings: Settings) -> None:
    """Create what the catalog and the place of the files lack. Several processes may do so at once.

    Raises:
        CatalogUnreachableError: PostgreSQL does not answer.
        OperationRefusedError: the place of the files belongs to another catalog, or has the inbox
            or the raw zone in it.
        WarehouseInconsistentError: the catalog was made by another version, or for another place.
    """
    assert settings.catalog is not None  # noqa: S101 (for the types)
    url, place = settings.catalog, settings.lake_place
    for other in (settings.raw_place, settings.inbox_place):
        if f"{other}/".startswith(f"{place}/"):
            msg = f"{other} is in the folder of the lake, {place}. Set LFP_LAKE to a place apart."
            raise OperationRefusedError(msg)
    path = data_path(place)
    with closing(connect(url, "lfp cluster init")) as connection:
        connection.execute(_ONE_AT_A_TIME)
        connection.execute(CREATE_SCHEMAS)
        connection.execute(CREATE_TABLES)
        _claim(place, catalog_id(connection), place_of(url))
        with closing(duckdb.connect(config=dict(CONFIG))) as lake:
            load_extensions(lake, path)
            creation = f"DATA_PATH {quoted(path)}"
            attach_lake(lake, url, path, "warehouse", "lfp cluster init", creation)
            for option, value in _FORMAT.items():
                lake.execute(f"CALL warehouse.set_option('{option}', '{value}')")
        connection.execute(CREATE_FENCE)
        verified_state(connection, place_of(url), path)


def _claim(place: str, identity: str, catalog: str) -> None:
    """Write the marker of a catalog at the place of its files.

    Raises:
        OperationRefusedError: the place, one above it or one below it belongs to another catalog.
    """
    files, root = fsspec.core.url_to_fs(place)
    marker = f"{root}/{_MARKER}"
    files.makedirs(root, exist_ok=True)
    try:
        content = json.dumps({"catalog_id": identity, "catalog": catalog}).encode()
        files.pipe_file(marker, content, mode="create")
    except OSError:  # FileExistsError, or what the server of a bucket says instead.
        _require_own(files, marker, identity, place)
        return
    above = [f"{folder}/{_MARKER}" for folder in PurePosixPath(root).parents]
    below = [path for path in files.find(root) if path.endswith(f"/{_MARKER}") and path != marker]
    try:
        for other in [path for path in above if files.exists(path)] + below:
            _require_own(files, other, identity, place)
    except OperationRefusedError:
        files.rm_file(marker)
        raise


def _require_own(files: Any, marker: str, identity: str, place: str) -> None:  # noqa: ANN401
    owner = json.loads(files.cat_file(marker))
    if owner["catalog_id"] != identity:
        msg = (
            f"{marker.removesuffix(_MARKER)} belongs to the catalog at {owner['catalog']}, so that "
            f"{place} cannot be the place of another one. Set LFP_LAKE to a place apart."
        )
        raise OperationRefusedError(msg)
