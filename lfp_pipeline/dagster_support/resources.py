"""What assets of any Dagster project may use to read and write the warehouse."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
from dagster_duckdb import DuckDBResource
from pydantic import Field

from lfp_pipeline.common.process_marks import hold_mark
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import SettingsError, user_message
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.duckdb_file import Warehouse

_LOG = logging.getLogger(__name__)  # dagster.yaml has it written into the logs of runs


def engine_of(settings: Settings) -> dg.ResourceDefinition:
    """The engine for one data folder; a run marks itself as alive for as long as it has it."""

    @dg.resource(description="Lands, reads and merges deliveries.")
    def engine(context: dg.InitResourceContext) -> Iterator[Engine]:
        with ExitStack() as marks:
            if run := context.run:
                try:
                    mark = marks.enter_context(
                        hold_mark(settings.run_marks_dir / f"{run.run_id}.run")
                    )
                    partition = run.tags.get("dagster/partition", "")
                    mark.write_text(f"{run.job_name} {partition}".strip())
                except OSError as error:
                    raise SettingsError(user_message(error)) from None
            yield Engine(settings)

    return engine


class ProductsDatabase(DuckDBResource):
    """The products database, opened by one run at a time and always let go of.

    Where `DuckDBResource` opens the file at once and for good, this waits its turn at the writer
    lock, tells who holds it, and closes whatever happens. Hold it briefly: nobody else can read or
    write meanwhile.
    """

    writer_wait_seconds: float = Field(description="Longest wait for another run.")
    other_process_wait_seconds: float = Field(description="Longest wait for another program.")

    def __init__(self, **data: Any) -> None:  # noqa: ANN401 (any field of the resource)
        if (
            "foreign_wait_seconds" in data
        ):  # The field's former name; it works for one release more.
            data.setdefault("other_process_wait_seconds", data.pop("foreign_wait_seconds"))
        super().__init__(**data)

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection whose current database is the products database."""
        warehouse = Warehouse(
            Path(self.database),
            self.writer_wait_seconds,
            self.other_process_wait_seconds,
            self.connection_config,
        )
        with warehouse.session("looking at the tables", _LOG) as connection:
            connection.execute("USE warehouse")
            try:
                yield connection
            except BaseException:
                # What the block left behind must not hide why it failed.
                for statement in ("ROLLBACK", "USE memory"):
                    with suppress(duckdb.Error):
                        connection.execute(statement)
                raise
            connection.execute("USE memory")
