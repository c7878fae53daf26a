"""Creates what several hosts share: the tables in the catalog's database, and the buckets.

Each part is created only if it is missing, and one process at a time creates them. If an older copy
of the database was restored, the deliveries that landed since are adopted.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lfp_pipeline.common.text import pluralize
from lfp_pipeline.errors import LfpError, SettingsError
from lfp_pipeline.hosts import heartbeats, notes
from lfp_pipeline.hosts.broker import broker_client
from lfp_pipeline.hosts.buckets import create_missing_buckets, require_conditional_puts
from lfp_pipeline.hosts.postgres import place_of, session
from lfp_pipeline.operations import Report
from lfp_pipeline.raw_zone.adoption import adopt_unrecorded
from lfp_pipeline.raw_zone.catalog_sidecars import create_raw_tables, record_place
from lfp_pipeline.raw_zone.raw_zone import RawZone
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


def _create_raw_zone(settings: Settings, connection: "psycopg.Connection[Any]") -> None:
    assert settings.catalog is not None  # noqa: S101 (init_cluster requires it)
    create_raw_tables(connection)
    record_place(connection, settings.raw_place, place_of(settings.catalog))


LAKE = Part("the lake and its fence", create_lake_tables)
MARKS = Part(
    "heartbeats of hosts and runs", lambda _, connection: heartbeats.create_tables(connection)
)
RAW_ZONE = Part("records of the raw zone", _create_raw_zone)
NOTES = Part("states of feeds and of the UI", lambda _, connection: notes.create_tables(connection))


def init_cluster(
    settings: Settings, parts: Sequence[Part], log: logging.Logger, *, takes_over: bool = False
) -> Report:
    """Create the buckets and the parts, and adopt deliveries whose records were lost.

    The problems of the report are the deliveries that could not be adopted.

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
    with session(settings.catalog, "lfp cluster init") as connection:
        created = create_missing_buckets(settings)
        for name in created:
            log.info("Created the bucket %s.", name)
        require_conditional_puts(settings)
        connection.execute(_ONE_AT_A_TIME)  # The end of the connection frees it.
        if takes_over:
            take_over_place(settings, connection)
        for part in parts:
            part.create(settings, connection)
            log.info("Ready: %s.", part.name)
        adopted, problems = adopt_unrecorded(RawZone.of(settings), log)
    summary = f"The catalog at {place_of(settings.catalog)} is ready for `lfp cluster head`."
    try:
        with broker_client(settings):
            pass
    except LfpError as error:
        log.warning("%s Workers need it; Kubernetes does not.", error)
    if adopted:
        summary += (
            f" Adopted {pluralize(adopted, 'delivery')} that the database had no record of: run "
            "`lfp ingest`, which merges them."
        )
    figures = {"buckets_created": len(created), "parts": len(parts), "adopted": adopted}
    return Report(summary, figures, tuple(problems))
