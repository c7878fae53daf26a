"""A warehouse in a DuckLake: its catalog is in PostgreSQL, its files are in a folder or a bucket.

Each database is a schema of the lake, `v_` and a number. The schema `main` has views on the tables
of the live one, for readers, and the view `lfp_schema`, which names it. So a rebuild makes another
schema, and replaces these views and drops the old schema in one transaction.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Self
from uuid import uuid4

import duckdb
from pydantic import SecretStr

from lfp_pipeline.errors import LfpError, OperationRefusedError
from lfp_pipeline.hosts.postgres import connect, place_of, server_time
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.backend import Backend, Maintenance
from lfp_pipeline.warehouse.catalog_lock import CatalogLock
from lfp_pipeline.warehouse.lake_catalog import LakeState, Snapshot, newest_snapshot, require_path
from lfp_pipeline.warehouse.lake_connection import (
    CONFIG,
    attach_lake,
    data_path,
    load_extensions,
    naming_unreachable,
)
from lfp_pipeline.warehouse.lake_damage import means_damage, naming_damage, naming_expiry
from lfp_pipeline.warehouse.lake_hold import Hold, SharedHold
from lfp_pipeline.warehouse.lake_maintenance import maintain_lake
from lfp_pipeline.warehouse.lake_owner import require_owner
from lfp_pipeline.warehouse.lake_schemas import (
    is_abandoned,
    marked,
    new_schema,
    require_mark,
    show_other_database,
    show_to_readers,
)
from lfp_pipeline.warehouse.lake_snapshot_note import SnapshotNote
from lfp_pipeline.warehouse.schema import (
    is_present,
    migrate,
    require_present_schema,
    schema_in_use,
    use_schema,
)

_LOG = logging.getLogger(__name__)

_SIZE = """
SELECT coalesce(sum(file_size_bytes), 0)::bigint FROM (
    SELECT file_size_bytes FROM lfp_lake.ducklake_data_file
    UNION ALL SELECT file_size_bytes FROM lfp_lake.ducklake_delete_file
) AS files
"""


@dataclass(frozen=True)
class Lake(Backend):
    """A lake, and how long to wait for it. `Backend` documents most methods.

    Attributes:
        url: the database of the catalog.
        place: the folder or the prefix in a bucket that has the files.
        writer_wait_seconds: the longest wait for another run of this program.
        config: DuckDB's settings for new connections: threads, memory, spill.
        is_read_only: whether sessions only read, and refuse a lake without tables.
        schema: the schema of a shadow; None: the live one.
        hold: the writer lock while this process has it.
        outer: of a shadow, the hold of its lake.
    """

    url: SecretStr
    place: str
    writer_wait_seconds: float
    config: Mapping[str, Any] = field(default_factory=dict)
    is_read_only: bool = False
    schema: str | None = None
    hold: SharedHold = field(default_factory=SharedHold, compare=False, repr=False)
    outer: SharedHold | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, settings: Settings, *, read_only: bool = False) -> Self:
        """Return the lake of these settings, which have a catalog."""
        assert settings.catalog is not None  # noqa: S101 (for the types)
        return cls(
            settings.catalog,
            settings.lake_place,
            settings.writer_wait_seconds,
            settings.duckdb_config,
            is_read_only=read_only,
        )

    @property
    def location(self) -> str:
        return f"the lake in {self.place}, with its catalog at {place_of(self.url)}"

    @property
    def exists(self) -> bool:
        return self.is_shadow or self._live is not None

    @property
    def is_corrupt(self) -> bool:
        return False  # PostgreSQL raises an error where its data are damaged.

    @property
    def is_shadow(self) -> bool:
        return self.schema is not None

    @property
    def keeps_row_order(self) -> bool:
        return False  # Several threads write files of their own.

    @property
    def size_bytes(self) -> int:
        """Size of the files of all snapshots that are kept."""
        with closing(connect(self.url, "lfp size")) as connection:
            if newest_snapshot(connection) is None:
                return 0
            return int(str(connection.execute(_SIZE).fetchall()[0][0]))

    @property
    def folders(self) -> Sequence[str]:
        return (self.place,)

    @property
    def lock(self) -> CatalogLock:
        return CatalogLock(
            self.url, data_path(self.place), self.writer_wait_seconds, self.hold, self.outer
        )

    def means_damage(self, error: duckdb.Error) -> bool:
        return means_damage(error, self.place)

    def cached_id(self) -> str | None:
        snapshot = None if self.is_shadow else self._live
        return snapshot.database_id if snapshot else None

    def waiting(self, seconds: float) -> Self:
        return replace(self, writer_wait_seconds=seconds)

    def connect(self, config: Mapping[str, Any] | None = None) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(
            config={**(self.config if config is None else config), **CONFIG}
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def attached(
        self, connection: duckdb.DuckDBPyConnection, purpose: str, log: logging.Logger
    ) -> Iterator[None]:
        if self.is_read_only:
            self._require_tables()
            self._prepare(connection)
            with self._naming_errors():
                require_present_schema(connection)
                yield
            return
        with self.lock.held(purpose, log) as hold, self._attached(connection, hold, log):
            yield

    @contextmanager
    def session(self, purpose: str, log: logging.Logger) -> Iterator[duckdb.DuckDBPyConnection]:
        if self.is_read_only:
            self._require_tables()
        with self.connect() as connection, self.attached(connection, purpose, log):
            yield connection

    @contextmanager
    def locked_session(self, log: logging.Logger) -> Iterator[duckdb.DuckDBPyConnection]:
        assert self.hold.hold is not None, "the writer lock is not held"  # noqa: S101
        with self.connect() as connection, self._attached(connection, self.hold.hold, log):
            yield connection

    @contextmanager
    def read_session(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with replace(self, is_read_only=True).connect() as connection, self._naming_errors():
            self.use_tables(connection)
            yield connection

    def use_tables(self, connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute(f"USE warehouse.{schema_in_use(connection)}")

    @contextmanager
    def attached_read_only(
        self, connection: duckdb.DuckDBPyConnection, name: str
    ) -> Iterator[None]:
        snapshot = self._live
        schema = self.schema or (snapshot and snapshot.live)
        if snapshot is None or schema is None:
            msg = f"{self.location}: there are no tables"
            raise duckdb.CatalogException(msg)
        load_extensions(connection, data_path(self.place))
        _attach(connection, self, name, uuid4().hex, snapshot)
        ((before,),) = connection.execute("SELECT current_setting('search_path')").fetchall()
        connection.execute(f"SET search_path = '{before or 'memory.main'},{name}.{schema}'")
        try:
            with self._naming_errors():
                yield
        finally:
            connection.execute(f"SET search_path = '{before}'")
            connection.execute(f"DETACH {name}")

    def maintain(self, retention: timedelta, log: logging.Logger, *, dry_run: bool) -> Maintenance:
        if dry_run:
            with (
                closing(connect(self.url, "lfp maintain")) as catalog,
                replace(self, is_read_only=False).connect() as connection,
            ):
                return maintain_lake(connection, server_time(catalog), retention, None)
        with (
            self.connect() as connection,
            self.lock.held("maintaining", log) as hold,
            self._attached(connection, hold, log),
        ):
            return maintain_lake(connection, server_time(hold.connection), retention, hold)

    def flush(self, connection: duckdb.DuckDBPyConnection) -> None:
        pass  # Each commit is where readers find it.

    @contextmanager
    def shadow(self) -> Iterator[Self]:
        """Yield an empty warehouse in another schema; the next writer removes what is left."""
        schema = new_schema()
        with marked(self.url, schema):
            yield replace(self, schema=schema, hold=SharedHold(), outer=self.hold)
        with suppress(LfpError, duckdb.Error), self.waiting(0).session("removing a shadow", _LOG):
            pass

    def swap_in(self, shadow: Self) -> None:
        """Replace the views by those of a shadow, and drop the old schema, in one commit."""
        assert shadow.schema and self.hold.hold, "the writer lock is not held"  # noqa: S101, PT018
        require_mark(shadow.schema)
        # No session: the old tables may be damaged.
        with (
            self.connect() as connection,
            self._admitted(connection, self.hold.hold) as state,
            SnapshotNote(self.place, _LOG).kept_current(self.hold.hold.connection),
        ):
            use_schema(connection, shadow.schema)
            show_to_readers(connection, shadow.schema, former=state.live)

    def move_aside(self, name: str, log: logging.Logger) -> None:
        log.warning("Snapshots keep the former tables until `lfp maintain` removes them (%s)", name)

    @property
    def _live(self) -> Snapshot | None:
        """The newest snapshot, if the lake has tables."""
        with closing(connect(self.url, "lfp reader")) as connection:
            snapshot = newest_snapshot(connection)
            if snapshot is not None:
                require_path(snapshot.data_path, place_of(self.url), data_path(self.place))
        return snapshot if snapshot and snapshot.live else None

    def _require_tables(self) -> None:
        if not self.exists:
            msg = f"There are no tables in {self.location}. Run `lfp ingest` first."
            raise OperationRefusedError(msg)

    def _prepare(self, connection: duckdb.DuckDBPyConnection) -> str:
        """Attach the lake, unless the connection has it, and return the connection's token."""
        ((token,),) = connection.execute("SELECT getvariable('lfp_token')").fetchall()
        if token is not None:
            return str(token)
        load_extensions(connection, data_path(self.place))
        token = f"lfp {uuid4().hex}"
        snapshot = self._live if self.is_read_only else None
        if not self.is_read_only or snapshot is not None:
            _attach(connection, self, "warehouse", token, snapshot)
            if snapshot is not None and snapshot.live is not None:
                use_schema(connection, self.schema or snapshot.live)
        connection.execute(f"SET VARIABLE lfp_token = '{token}'")
        return token

    @contextmanager
    def _attached(
        self, connection: duckdb.DuckDBPyConnection, hold: Hold, log: logging.Logger
    ) -> Iterator[None]:
        with self._admitted(connection, hold) as state:
            if self.is_shadow:
                self._open(connection, hold, state, log)
                yield
                return
            note = SnapshotNote(self.place, log)
            if state.live and note.shows_loss(self.location, state):
                show_other_database(connection, state.live)  # The first commit: see the note.
            with note.kept_current(hold.connection):
                self._open(connection, hold, state, log)
                yield

    @contextmanager
    def _admitted(self, connection: duckdb.DuckDBPyConnection, hold: Hold) -> Iterator[LakeState]:
        """Let a connection commit, for the block, if the catalog and its files are as expected."""
        token = self._prepare(connection)
        with self._naming_errors(), hold.admitting(token):
            state = hold.state()
            require_owner(self.place, state.identity, place_of(self.url))
            yield state

    @contextmanager
    def _naming_errors(self) -> Iterator[None]:
        """Raise errors with a remedy for those of DuckDB that have a known cause."""
        with naming_unreachable(self.url), naming_damage(self.place), naming_expiry():
            yield

    def _open(
        self,
        connection: duckdb.DuckDBPyConnection,
        hold: Hold,
        state: LakeState,
        log: logging.Logger,
    ) -> None:
        """Use the schema, with present tables; remove what killed processes have left."""
        if self.schema is not None:
            require_mark(self.schema)
        schema = self.schema or state.live or new_schema()
        for other in set(state.schemas) - {schema, state.live}:
            if is_abandoned(hold.connection, other):
                log.info("Removing the tables in %s, left by a process that was killed", other)
                connection.execute(f"DROP SCHEMA warehouse.{other} CASCADE")
        if schema not in state.schemas:
            connection.execute(f"CREATE SCHEMA warehouse.{schema}")
        use_schema(connection, schema)
        if schema != state.live or not is_present(state.version):
            migrate(connection)
            if not self.is_shadow:
                show_to_readers(connection, schema)


def _attach(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    name: str,
    token: str,
    snapshot: Snapshot | None,
) -> None:
    options = ["CREATE_IF_NOT_EXISTS false"]
    if snapshot is not None:
        options += ["READ_ONLY", f"SNAPSHOT_VERSION {snapshot.number}"]
    attach_lake(connection, lake.url, data_path(lake.place), name, token, *options)
