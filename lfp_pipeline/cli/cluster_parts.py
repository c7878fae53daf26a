"""What `lfp cluster init` creates."""

from typing import TYPE_CHECKING, Any

from lfp_pipeline.operations.cluster_init import LAKE, MARKS, NOTES, RAW_ZONE, Part
from lfp_pipeline.settings import Settings

if TYPE_CHECKING:
    import psycopg


def _create_dagster_storage(settings: Settings, connection: "psycopg.Connection[Any]") -> None:
    from lfp_pipeline.cli.dagster_home import FIRST_CURSORS
    from lfp_pipeline.dagster_support.catalog_storage import create_tables

    assert settings.catalog  # noqa: S101 (init_cluster requires it)
    create_tables(settings.catalog, connection, FIRST_CURSORS)


PARTS = (LAKE, RAW_ZONE, MARKS, NOTES, Part("Dagster's storage", _create_dagster_storage))
