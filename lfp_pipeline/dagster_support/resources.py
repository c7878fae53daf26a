"""The resources: the engine, and the products database for assets of any Dagster project."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
from dagster_duckdb import DuckDBResource
from pydantic import Field, PrivateAttr

from lfp_pipeline.dagster_support.runs import mark_text
from lfp_pipeline.dagster_support.shown_until import begin_showing, shown_note
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import SettingsError, user_message
from lfp_pipeline.hosts.liveness import Kind
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.backend import Backend
from lfp_pipeline.warehouse.choice import warehouse_of
from lfp_pipeline.warehouse.duckdb_file import Warehouse

_LOG = logging.getLogger(__name__)  # dagster.yaml adds this logger to the event log of runs.


def engine_of(settings: Settings) -> dg.ResourceDefinition:
    """Return the resource that gives a run the engine, and holds the mark of the run meanwhile."""

    @dg.resource(description="Lands, reads and merges deliveries.")
    def engine(context: dg.InitResourceContext) -> Iterator[Engine]:
        created = Engine(settings)
        with ExitStack() as marks:
            if run := context.run:
                try:
                    mark = created.liveness.hold(Kind.RUN, run.run_id, mark_text(run))
                    marks.enter_context(mark)
                except OSError as error:
                    raise SettingsError(user_message(error)) from None
            if context.instance and context.run:
                note = shown_note(settings, Path(context.instance.root_directory))
                begin_showing(note, created.raw_zone.index)
            yield created

    return engine


def database_of(settings: Settings) -> dg.ResourceDefinition:
    """Return the resource that gives a run the products database of these settings.

    It has no configuration, so no launchpad writes the settings into a run.
    """

    @dg.resource(description="Opens the products database, in one run at a time.")
    def database(_context: dg.InitResourceContext) -> ProductsDatabase:
        products = ProductsDatabase(
            database=str(settings.database_path),
            connection_config=settings.duckdb_config,
            writer_wait_seconds=settings.writer_wait_seconds,
            other_process_wait_seconds=settings.other_process_wait_seconds,
        )
        products._warehouse = warehouse_of(settings)  # noqa: SLF001 (not a field that runs show)
        return products

    return database


class ProductsDatabase(DuckDBResource):
    """The products database, open in one run at a time.

    `with database.get_connection() as connection:` waits for the writer lock, and closes the
    database after the block, even after an error. Keep the block short: no other process can read
    or write meanwhile.
    """

    writer_wait_seconds: float = Field(description="Longest wait for another run, in seconds.")
    other_process_wait_seconds: float = Field(
        description="Longest wait for another process, in seconds."
    )

    _warehouse: Backend | None = PrivateAttr(None)

    def __init__(self, **data: Any) -> None:  # noqa: ANN401 (any field of the resource)
        if "foreign_wait_seconds" in data:  # The former name, accepted for one release.
            data.setdefault("other_process_wait_seconds", data.pop("foreign_wait_seconds"))
        super().__init__(**data)

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a connection whose current database is the products database."""
        warehouse = self._warehouse or Warehouse(
            Path(self.database),
            self.writer_wait_seconds,
            self.other_process_wait_seconds,
            self.connection_config,
        )
        with warehouse.session("looking at the tables", _LOG) as connection:
            warehouse.use_tables(connection)
            try:
                yield connection
            except BaseException:
                # An open transaction must not hide why the block failed.
                for statement in ("ROLLBACK", "USE memory"):
                    with suppress(duckdb.Error):
                        connection.execute(statement)
                raise
            connection.execute("USE memory")
