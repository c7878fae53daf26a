"""Dagster's storage in the database of the catalog, in a schema of its own.

A Dagster home names this class without any configuration, so no file and no message has the
password: each process reads LFP_CATALOG.
"""

from collections.abc import Mapping
from typing import Any, Self

import psycopg
import sqlalchemy
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from lfp_pipeline.errors import SettingsError
from lfp_pipeline.hosts.postgres import connection_text
from lfp_pipeline.settings import load_settings

SCHEMA = "dagster"


class CatalogStorage(DagsterPostgresStorage):
    """Runs, events and schedules of Dagster. `lfp cluster init` creates the tables."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Return an empty schema: there is nothing to configure."""
        return {}

    @classmethod
    def from_config_value(
        cls,
        inst_data: ConfigurableClassData | None,
        config_value: Mapping[str, Any],  # noqa: ARG003
    ) -> Self:
        """Return the storage of this process's settings."""
        catalog = load_settings().catalog
        if catalog is None:
            msg = "The Dagster home is one of several hosts, and LFP_CATALOG is not set."
            raise SettingsError(msg)
        return cls(storage_url(catalog), should_autocreate_tables=False, inst_data=inst_data)


def storage_url(catalog: SecretStr) -> str:
    """Return the URL of Dagster's schema for SQLAlchemy; it is a secret."""
    parts: dict[str, Any] = conninfo_to_dict(connection_text(catalog, "dagster"))
    parts["options"] = f"{parts['options']} -c search_path={SCHEMA}"
    query = {name: str(value) for name, value in parts.items()}
    url = sqlalchemy.URL.create("postgresql+psycopg2", query=query)
    return str(url.render_as_string(hide_password=False))


def create_tables(
    catalog: SecretStr, connection: "psycopg.Connection[Any]", cursors: Mapping[str, str]
) -> None:
    """Create the tables that are missing, and migrate those of an earlier version of Dagster.

    One process at a time does this: else Dagster's tables get two schema versions.

    Args:
        cursors: cursors of daemons for a storage without runs.
    """
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    storage = DagsterPostgresStorage(storage_url(catalog))
    for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
        part.upgrade()
    if not storage.run_storage.get_runs(limit=1):
        storage.run_storage.set_cursor_values(dict(cursors))
    for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
        part.dispose()
