"""Creates what several hosts share: the tables in the catalog's database, and the buckets.

Each part is created only if it is missing, and one process at a time creates them.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lfp_pipeline.errors import SettingsError
from lfp_pipeline.hosts import heartbeats, notes
from lfp_pipeline.hosts.buckets import create_missing_buckets, require_conditional_puts
from lfp_pipeline.hosts.postgres import place_of, session
from lfp_pipeline.operations import Report
from lfp_pipeline.raw_zone.catalog_sidecars import create_raw_tables
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.lake_setup import create_lake_tables, take_over_place

if TYPE_CHECKING:
    import psycopg

_ONE_AT_A_TIME = "SELECT pg_advisory_lock(hashtext('lfp cluster init'))"


@dataclass(frozen=True)
class Part:
    """A part of what hosts share.

    Attributes:
        name: what it is, for people.
        create: creates what is missing, and migrates what an earlier version has created. It gets
            the settings, and a connection on which each statement is a transaction.
    """

    name: str
    create: "Callable[[Settings, psycopg.Connection[Any]], None]"


LAKE = Part("the lake and its fence", create_lake_tables)
MARKS = Part("marks of hosts and runs", lambda _, connection: heartbeats.create_tables(connection))
RAW_ZONE = Part("the raw zone", lambda _, connection: create_raw_tables(connection))
NOTES = Part("notes", lambda _, connection: notes.create_tables(connection))


def init_cluster(
    settings: Settings, parts: Sequence[Part], log: logging.Logger, *, takes_over: bool = False
) -> Report:
    """Create the buckets and the parts.

    Args:
        takes_over: whether the database is a copy that replaces the one that owns the files.

    Raises:
        OperationRefusedError: the place of the files belongs to another catalog.
        SettingsError: no catalog is set, or a package is missing.
        CatalogUnreachableError: the database does not answer.
        BucketUnreachableError: the object store does not answer, or ignores conditions.
    """
    if settings.catalog is None:
        msg = "LFP_CATALOG is not set: several hosts meet in that PostgreSQL database."
        raise SettingsError(msg)
    created = create_missing_buckets(settings)
    for name in created:
        log.info("Created the bucket %s.", name)
    require_conditional_puts(settings)
    with session(settings.catalog, "lfp cluster init") as connection:
        connection.execute(_ONE_AT_A_TIME)  # The end of the connection frees it.
        if takes_over:
            take_over_place(settings, connection)
        for part in parts:
            part.create(settings, connection)
            log.info("Ready: %s.", part.name)
    summary = f"The catalog at {place_of(settings.catalog)} is ready for `lfp cluster head`."
    return Report(summary, {"buckets_created": len(created), "parts": len(parts)})
