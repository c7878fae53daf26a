"""Which warehouse the settings mean: a lake with a catalog, or a database in a file."""

from dataclasses import replace
from pathlib import Path

from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.backend import Backend
from lfp_pipeline.warehouse.duckdb_file import Warehouse
from lfp_pipeline.warehouse.published import PublishedCopy
from lfp_pipeline.warehouse.readers import Published


def warehouse_of(settings: Settings, *, read_only: bool = False) -> Backend:
    """Return the warehouse of these settings."""
    if settings.catalog is None:
        return Warehouse.of(settings, read_only=read_only)
    from lfp_pipeline.warehouse.lake import Lake  # noqa: PLC0415 (needs more packages)

    return Lake.of(settings, read_only=read_only)


def warehouse_in(file: Path, settings: Settings) -> Backend:
    """Return the database in a file, to read with the resources of these settings."""
    return replace(Warehouse.of(settings, read_only=True), path=file)


def published_of(settings: Settings, warehouse: Backend, raw_zone: RawZone) -> Published:
    """Return what readers see of a warehouse."""
    if isinstance(warehouse, Warehouse):
        path, share = settings.published_path, settings.publish_time_share
        return PublishedCopy(path, warehouse, raw_zone, share)
    from lfp_pipeline.warehouse.lake import Lake  # noqa: PLC0415
    from lfp_pipeline.warehouse.lake_snapshots import Snapshots  # noqa: PLC0415

    assert isinstance(warehouse, Lake)  # noqa: S101 (for the types)
    return Snapshots(warehouse)
