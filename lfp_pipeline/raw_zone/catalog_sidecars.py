"""Sidecars as rows in the catalog's database, where several hosts see them.

A removed sidecar stays as a row without content. Each row has the transaction that changed it last.
So an index is brought up to date with the rows that its last snapshot did not see, whatever the
order in which transactions began and ended.
"""

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from lfp_pipeline.errors import WarehouseInconsistentError
from lfp_pipeline.hosts.catalog import Catalog
from lfp_pipeline.model.delivery import RawName
from lfp_pipeline.raw_zone.index_database import transaction
from lfp_pipeline.raw_zone.index_rows import read_columns, replace_rows
from lfp_pipeline.raw_zone.raw_records import is_raw_stem
from lfp_pipeline.raw_zone.sidecars import NOTE, PRUNED, RECORD, REVERTED, Sidecar

if TYPE_CHECKING:
    import psycopg

_TABLES = """
BEGIN;
CREATE SCHEMA IF NOT EXISTS lfp;
CREATE TABLE IF NOT EXISTS lfp.sidecars (
    partition_key text NOT NULL,
    stem text NOT NULL,
    suffix text NOT NULL,
    content bytea,
    written_at timestamptz NOT NULL,
    changed_in xid8 NOT NULL,
    PRIMARY KEY (partition_key, stem, suffix)
);
CREATE TABLE IF NOT EXISTS lfp.raw_zone (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    place text NOT NULL
);

-- A restored database has changes of transactions that are yet to come.
UPDATE lfp.sidecars SET changed_in = pg_current_xact_id()
WHERE changed_in >= pg_snapshot_xmax(pg_current_snapshot());

-- What people change by hand counts for all indexes, too.
CREATE OR REPLACE FUNCTION lfp.note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        UPDATE lfp.sidecars SET content = NULL, written_at = clock_timestamp()
        WHERE (partition_key, stem, suffix) = (OLD.partition_key, OLD.stem, OLD.suffix)
            AND content IS NOT NULL;
        RETURN NULL;  -- The row stays, so that each index learns of the removal.
    END IF;
    NEW.changed_in := pg_current_xact_id();
    RETURN NEW;
END
$$;

-- Their creation would wait for uploads in progress, and all other writes would wait behind it.
DO $$
BEGIN
    IF to_regclass('lfp.sidecars_by_change') IS NULL THEN
        CREATE INDEX sidecars_by_change ON lfp.sidecars (changed_in);
    END IF;
    IF NOT EXISTS (
        SELECT FROM pg_trigger WHERE tgrelid = 'lfp.sidecars'::regclass AND tgname = 'note_change'
    ) THEN
        CREATE TRIGGER note_change BEFORE INSERT OR UPDATE OR DELETE ON lfp.sidecars
        FOR EACH ROW EXECUTE FUNCTION lfp.note_change();
    END IF;
END
$$;
COMMIT;
"""

_NAMED = "partition_key = %(key)s AND stem = %(stem)s AND suffix = %(suffix)s"

_READ = f"""
SELECT content, (extract(epoch FROM written_at) * 1000000)::bigint * 1000
FROM lfp.sidecars WHERE {_NAMED} AND content IS NOT NULL
"""

_EXISTS = f"SELECT 1 FROM lfp.sidecars WHERE {_NAMED} AND content IS NOT NULL"

_WRITE = """
INSERT INTO lfp.sidecars
SELECT %(key)s, %(stem)s, %(suffix)s, %(content)s,
    coalesce('epoch'::timestamptz + %(written_us)s * interval '1 microsecond', clock_timestamp()),
    pg_current_xact_id()
ON CONFLICT (partition_key, stem, suffix) DO UPDATE
SET content = excluded.content, written_at = excluded.written_at, changed_in = excluded.changed_in
"""

_REMOVE = f"""
UPDATE lfp.sidecars
SET content = NULL, written_at = clock_timestamp(), changed_in = pg_current_xact_id()
WHERE {_NAMED} AND content IS NOT NULL
"""

# An upload within the transaction may take longer than the server lets a transaction be idle.
_LOCK = """
SELECT (SELECT place FROM lfp.raw_zone),
    set_config('idle_in_transaction_session_timeout', '0', true)
FROM pg_advisory_xact_lock(hashtextextended('lfp.raw/' || %(key)s, 0))
"""

_RECORD_PLACE = "INSERT INTO lfp.raw_zone (place) VALUES (%s) ON CONFLICT DO NOTHING"

_RECORDED = """
SELECT stem FROM lfp.sidecars
WHERE partition_key = %(key)s AND suffix = 'json' AND content IS NOT NULL
"""

_PARTITIONS = """
SELECT DISTINCT partition_key FROM lfp.sidecars WHERE suffix = 'json' AND content IS NOT NULL
"""

# The identity differs in another server, in a restored one, in a copied database, and in a
# restored table.
_STATE = """
SELECT pg_current_snapshot()::text,
    concat_ws('/', (SELECT system_identifier FROM pg_control_system()),
        (SELECT timeline_id FROM pg_control_checkpoint()),
        (SELECT oid FROM pg_database WHERE datname = current_database()),
        'lfp.sidecars'::regclass::oid)
"""

_UNSEEN = """
changed_in >= pg_snapshot_xmin(%(seen)s::pg_snapshot)
    AND NOT pg_visible_in_snapshot(changed_in, %(seen)s::pg_snapshot)
"""

_PLACE_AND_STATE = f"SELECT (SELECT place FROM lfp.raw_zone), state.* FROM ({_STATE}) AS state"

_HAS_UNSEEN = f"SELECT EXISTS (SELECT FROM lfp.sidecars WHERE {_UNSEEN})"

_DELIVERIES = """
SELECT partition_key, stem, array_agg(suffix), array_agg(content),
    array_agg((extract(epoch FROM written_at) * 1000000)::bigint * 1000)
FROM lfp.sidecars
WHERE {chosen} AND (partition_key, stem) > (%(key)s, %(stem)s)
GROUP BY partition_key, stem ORDER BY partition_key, stem LIMIT 10000
"""

_HAS_CHANGED = f"""
(partition_key, stem) IN (SELECT partition_key, stem FROM lfp.sidecars WHERE {_UNSEEN})
"""

_CHANGED = _DELIVERIES.format(chosen=_HAS_CHANGED)

_ALL = _DELIVERIES.format(chosen="(%(keys)s::text[] IS NULL OR partition_key = ANY(%(keys)s))")

_SEEN_TABLE = "CREATE TABLE IF NOT EXISTS seen (snapshot TEXT NOT NULL, identity TEXT NOT NULL)"


class CatalogSidecars:
    """Sidecars in the catalog's database. All times are of the clock of its server."""

    are_apart = True

    def __init__(self, catalog: Catalog, place: str | None = None) -> None:
        """Use the sidecars of a catalog.

        Args:
            place: where its bytes must be, by the settings; None: that does not matter.
        """
        self.catalog = catalog
        self.place = place

    def read(self, name: RawName, suffix: str) -> Sidecar | None:
        """Return a sidecar; None: there is none."""
        for content, written_ns in self.catalog.run(_READ, _values(name, suffix)):
            return Sidecar(bytes(content), written_ns, written_ns)
        return None

    def exists(self, name: RawName, suffix: str) -> bool:
        """Return whether there is a sidecar."""
        return bool(self.catalog.run(_EXISTS, _values(name, suffix)))

    def write(
        self, name: RawName, suffix: str, content: bytes, written_ns: int | None = None
    ) -> None:
        """Write a sidecar, or replace it."""
        written_us = None if written_ns is None else written_ns // 1000
        values = {**_values(name, suffix), "content": content, "written_us": written_us}
        self.catalog.run(_WRITE, values)

    def remove(self, name: RawName, suffix: str) -> None:
        """Remove a sidecar, if there is one."""
        self.catalog.run(_REMOVE, _values(name, suffix))

    @contextmanager
    def changing(self, key: str) -> Iterator[None]:
        """Exclude other processes that change a partition; the end of the block commits."""
        with self.catalog.transaction():
            self._require_place(self.catalog.run(_LOCK, {"key": key})[0][0])
            yield

    def recorded(self, key: str) -> Iterator[str]:
        """Yield the stems of all records of a partition, well-formed or not."""
        return (stem for (stem,) in self.catalog.run(_RECORDED, {"key": key}))

    def partitions(self) -> Collection[str]:
        """Return the keys of all partitions."""
        return [key for (key,) in self.catalog.run(_PARTITIONS)]

    def describe(self, name: RawName, suffix: str) -> str:
        """Return where a sidecar is, for messages."""
        return f"{name.key}/{name.stem}.{suffix} in the catalog's table lfp.sidecars"

    def now(self) -> datetime:
        """Return the present time of the server's clock, in UTC without a zone."""
        now: datetime
        ((now,),) = self.catalog.run("SELECT clock_timestamp() AT TIME ZONE 'UTC'")
        return now

    def refresh(self, index: sqlite3.Connection, keys: Collection[str] | None) -> None:
        """Bring an index up to date with all partitions; one in memory with some suffices."""
        ((place, snapshot, identity),) = self.catalog.run(_PLACE_AND_STATE)
        self._require_place(place)
        seen = _seen(index, identity)
        if seen and not self.catalog.run(_HAS_UNSEEN, {"seen": seen})[0][0]:
            return
        is_kept = bool(index.execute("PRAGMA database_list").fetchone()[2])
        with transaction(index):
            seen = _seen(index, identity)  # Another process may have refreshed it meanwhile.
            index.execute("UPDATE contents SET generation = generation + 1")
            if not seen:
                index.execute("DELETE FROM deliveries")
            chosen = None if keys is None or is_kept else list(keys)
            # These statements see at least what the snapshot does; what they see beyond it is read
            # once more by the next refresh.
            found = self._changed_since(seen) if seen else self.all(chosen)
            for key, deliveries in groupby(found, itemgetter(0)):
                _replace(index, key, {stem: sidecars for _, stem, sidecars in deliveries})
            index.execute("DROP TABLE IF EXISTS seen")
            index.execute(_SEEN_TABLE)
            index.execute("INSERT INTO seen VALUES (?, ?)", (snapshot, identity))

    def all(self, keys: list[str] | None = None) -> "Iterator[tuple[str, str, _OfDelivery]]":
        """Yield key, stem and sidecars of all deliveries of partitions, or of all partitions."""
        return self._deliveries(_ALL, {"keys": keys})

    def _require_place(self, recorded: str | None) -> None:
        if self.place is not None:
            _require_same(recorded, self.place, self.catalog.location)

    def _changed_since(self, seen: str) -> "Iterator[tuple[str, str, _OfDelivery]]":
        return self._deliveries(_CHANGED, {"seen": seen})

    def _deliveries(
        self, sql: str, values: Mapping[str, object]
    ) -> "Iterator[tuple[str, str, _OfDelivery]]":
        """Yield key, stem and sidecars of deliveries, in this order, page by page."""
        last = {"key": "", "stem": ""}
        while page := self.catalog.run(sql, {**values, **last}):
            for key, stem, suffixes, contents, times in page:
                found = zip(suffixes, contents, times, strict=True)
                yield (
                    key,
                    stem,
                    {
                        suffix: Sidecar(bytes(content), time_ns, time_ns)
                        for suffix, content, time_ns in found
                        if content is not None
                    },
                )
            last = {"key": page[-1][0], "stem": page[-1][1]}


_OfDelivery = dict[str, Sidecar]
"""The sidecars of a delivery, by suffix."""


def create_raw_tables(connection: "psycopg.Connection[Any]") -> None:
    """Create the tables if they are missing. One process may do so at a time.

    Args:
        connection: each statement on it is a transaction of its own.
    """
    connection.execute(_TABLES)


def record_place(connection: "psycopg.Connection[Any]", place: str, catalog: str) -> None:
    """Record the place of the bytes, by the settings, unless one is recorded.

    Args:
        catalog: the catalog, for people.

    Raises:
        WarehouseInconsistentError: another place is recorded.
    """
    connection.execute(_RECORD_PLACE, [place])
    ((recorded,),) = connection.execute("SELECT place FROM lfp.raw_zone").fetchall()
    _require_same(recorded, place, catalog)


def _require_same(recorded: str | None, place: str, catalog: str) -> None:
    if recorded not in {None, place}:
        msg = (
            f"The catalog at {catalog} has its raw zone in {recorded}, and not in {place}. "
            "Correct the setting LFP_RAW or LFP_CATALOG."
        )
        raise WarehouseInconsistentError(msg)


def _values(name: RawName, suffix: str) -> dict[str, object]:
    return {"key": name.key, "stem": name.stem, "suffix": suffix}


def _replace(index: sqlite3.Connection, key: str, deliveries: Mapping[str, _OfDelivery]) -> None:
    """Replace rows of a partition by those of deliveries, which lack a record if they are gone."""
    rows = [
        (
            key,
            stem,
            "",
            *read_columns(
                found[RECORD],
                found.get(NOTE),
                reverted=REVERTED in found,
                pruned=PRUNED in found,
            ),
        )
        for stem, found in deliveries.items()
        if RECORD in found and is_raw_stem(stem)
    ]
    replace_rows(index, key, rows, deliveries.keys() - {row[1] for row in rows})


def _seen(index: sqlite3.Connection, identity: str) -> str | None:
    """Return the snapshot of the index's last refresh; None: it has none of this table."""
    if not index.execute("SELECT 1 FROM sqlite_master WHERE name = 'seen'").fetchone():
        return None
    for snapshot, of_table in index.execute("SELECT snapshot, identity FROM seen"):
        if of_table == identity:
            return str(snapshot)
    return None
