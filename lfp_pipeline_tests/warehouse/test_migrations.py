"""Migrations bring databases of older versions to the present schema with all their rows."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import duckdb
import pytest

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import OperationRefusedError, WarehouseInconsistentError
from lfp_pipeline.operations.prune import prune_raw
from lfp_pipeline.operations.purge import Selection, purge_products
from lfp_pipeline.operations.rebuild import rebuild_products
from lfp_pipeline.operations.revert import revert_delivery
from lfp_pipeline.operations.status import collect_status
from lfp_pipeline.operations.status_text import render_status
from lfp_pipeline.operations.verify import verify
from lfp_pipeline.warehouse.schema import VERSION, migrate
from testing.cases import first_fast
from testing.dagster_project import query
from testing.engine import LOG, assert_invariants_hold, engine_at, ingest_pending, land, tables
from testing.expected_tables import File, expected_name_counts, expected_products
from testing.processes import finish, start

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y"), ("", "no sku", "")))
B = File("b.csv", 2_000_000, (("s1", "Ann", "z"), ("s3", "Ann", "w")))
C = File("c.csv", 3_000_000, (("s2", "Bob", "new"), ("s4", "Dot", "")))

DATABASE_ID = "0b8f9a52-6c53-4b62-8f3e-0c5a2a4a7c11"

# The tables as older programs created them. Do not edit: existing databases look like this.
VERSION_1 = """
CREATE TABLE schema_version (version INTEGER NOT NULL, applied_at TIMESTAMP NOT NULL);
CREATE TABLE database_identity AS SELECT uuid()::VARCHAR AS database_id;
CREATE TABLE products (
    sku VARCHAR NOT NULL USING COMPRESSION uncompressed,
    name VARCHAR NOT NULL USING COMPRESSION uncompressed,
    description VARCHAR NOT NULL USING COMPRESSION zstd,
    delivery_id VARCHAR NOT NULL,
    delivered_at TIMESTAMP NOT NULL,
    row_number BIGINT NOT NULL
);
CREATE TABLE name_counts (
    name VARCHAR NOT NULL,
    no_of_products BIGINT NOT NULL
);
CREATE TABLE deliveries (
    delivery_id VARCHAR NOT NULL,
    partition_key VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    size_bytes BIGINT NOT NULL,
    delivered_at TIMESTAMP NOT NULL,
    merged_at TIMESTAMP,
    status VARCHAR NOT NULL,
    rows_read BIGINT NOT NULL,
    rows_inserted BIGINT NOT NULL,
    rows_updated BIGINT NOT NULL,
    rows_unchanged BIGINT NOT NULL,
    rows_superseded BIGINT NOT NULL,
    rows_stale BIGINT NOT NULL,
    rows_rejected BIGINT NOT NULL,
    error VARCHAR
);
CREATE TABLE rejected_rows (
    delivery_id VARCHAR NOT NULL,
    row_number BIGINT NOT NULL,
    byte_start BIGINT NOT NULL,
    byte_end BIGINT NOT NULL,
    reason VARCHAR NOT NULL,
    detail VARCHAR NOT NULL,
    raw BLOB NOT NULL
);
INSERT INTO schema_version VALUES (1, '2026-10-01 08:00:00');
"""

VERSION_2 = f"""
{VERSION_1}
ALTER TABLE deliveries ADD COLUMN read_with VARCHAR;
INSERT INTO schema_version VALUES (2, '2026-10-02 08:00:00');
"""

VERSION_3 = f"""
{VERSION_2}
ALTER TABLE deliveries ADD COLUMN kind VARCHAR DEFAULT 'products';
ALTER TABLE deliveries ADD COLUMN rows_deleted BIGINT DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN attempts BIGINT DEFAULT 1;
ALTER TABLE deliveries ADD COLUMN seconds DOUBLE;
CREATE TABLE deletions (
    sku VARCHAR NOT NULL,
    delivery_id VARCHAR NOT NULL,
    delivered_at TIMESTAMP NOT NULL
);
CREATE TABLE operations (
    operation VARCHAR NOT NULL,
    started_at TIMESTAMP NOT NULL,
    ended_at TIMESTAMP NOT NULL,
    told VARCHAR NOT NULL
);
INSERT INTO schema_version VALUES (3, '2026-10-03 08:00:00');
"""

VERSION_4 = f"""
{VERSION_3}
ALTER TABLE deliveries ADD COLUMN blank_lines BIGINT DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN repeated_headers BIGINT DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN lines_above_header BIGINT DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN notes VARCHAR;
INSERT INTO schema_version VALUES (4, '2026-10-04 08:00:00');
"""

VERSION_5 = f"""
{VERSION_4}
ALTER TABLE deliveries ADD COLUMN read_conditions VARCHAR;
INSERT INTO schema_version VALUES (5, '2026-10-04 09:00:00');
"""

OLD = {1: VERSION_1, 2: VERSION_2, 3: VERSION_3, 4: VERSION_4, 5: VERSION_5}

ADDED = {
    "read_with": None,
    "kind": "products",
    "rows_deleted": 0,
    "attempts": 1,
    "seconds": None,
    "blank_lines": 0,
    "repeated_headers": 0,
    "lines_above_header": 0,
    "notes": None,
    "read_conditions": None,
    "is_regular": None,
}
"""The values of a row of the first version in the columns that were added later."""

RENAMED = {"told": "summary"}
"""The columns of version 5 that were renamed later."""

every_old_version = pytest.mark.parametrize("version", OLD)
oldest_and_newest = pytest.mark.parametrize("version", first_fast([1, 5]))
"""For what depends on the migrated tables, which are equal for all old versions."""

_DELIVERY = """
INSERT INTO deliveries BY NAME SELECT
    $delivery_id AS delivery_id, $key AS partition_key, $source AS source, $sha256 AS sha256,
    $size AS size_bytes, $delivered_at::TIMESTAMP AS delivered_at,
    TIMESTAMP '2026-10-03 09:00:00.000001' AS merged_at, 'merged' AS status,
    $read AS rows_read, $inserted AS rows_inserted, $updated AS rows_updated,
    0 AS rows_unchanged, 0 AS rows_superseded, 0 AS rows_stale, $rejected AS rows_rejected,
    NULL AS error
"""

_FAILED = """
INSERT INTO deliveries BY NAME SELECT
    $delivery_id AS delivery_id, $key AS partition_key, $source AS source, $sha256 AS sha256,
    $size AS size_bytes, $delivered_at::TIMESTAMP AS delivered_at, 'failed' AS status,
    0 AS rows_read, 0 AS rows_inserted, 0 AS rows_updated, 0 AS rows_unchanged,
    0 AS rows_superseded, 0 AS rows_stale, 0 AS rows_rejected, 'The disk was full.' AS error
"""


def parameters(engine: Engine, file: File) -> dict[str, Any]:
    delivery = land(engine, file)
    return {
        "delivery_id": delivery.delivery_id,
        "key": delivery.partition_key,
        "source": delivery.source,
        "sha256": delivery.sha256,
        "size": delivery.size_bytes,
        "delivered_at": delivery.delivered_at,
    }


def make_old(folder: Path, version: int) -> Engine:
    """Make a data folder with A and B merged and C failed, as a program of that version did."""
    engine = engine_at(folder)
    with duckdb.connect(engine.settings.database_path) as connection:
        connection.execute(OLD[version])
        connection.execute("UPDATE database_identity SET database_id = $1", [DATABASE_ID])
        of_a = {"read": 3, "inserted": 2, "updated": 0, "rejected": 1}
        of_b = {"read": 2, "inserted": 1, "updated": 1, "rejected": 0}
        connection.execute(_DELIVERY, parameters(engine, A) | of_a)
        connection.execute(_DELIVERY, parameters(engine, B) | of_b)
        connection.execute(_FAILED, parameters(engine, C))
        if version > 1:
            connection.execute("UPDATE deliveries SET read_with = 'so' WHERE status = 'merged'")
        if version > 2:
            connection.execute(
                "UPDATE deliveries SET attempts = 3, seconds = 0.25 WHERE status = 'merged'"
            )
            connection.execute(
                "INSERT INTO operations VALUES ('verify', '2026-10-03', '2026-10-04', 'None.')"
            )
        connection.executemany(
            "INSERT INTO products VALUES ($1, $2, $3, $4, $5, $6)", expected_products([A, B])
        )
        connection.executemany(
            "INSERT INTO name_counts VALUES ($1, $2)", expected_name_counts([A, B])
        )
        reject = "INSERT INTO rejected_rows VALUES ($1, 3, 46, 55, 'no sku', '', ',no sku,'::BLOB)"
        connection.execute(reject, [A.delivery_id])
    engine.settings.database_path.with_name("products.duckdb.id").write_text(DATABASE_ID)
    for file in (A, B):
        note = engine.raw_zone.find(file.delivery_id).path.with_suffix(".outcome")
        note.write_text(f"merged {DATABASE_ID}\n")
    return engine


def open_with_the_present_program(engine: Engine) -> None:
    with engine.warehouse.session("testing", LOG):
        pass


def schema_of(database: Path) -> list[tuple[Any, ...]]:
    """Return the columns of all tables, in their order."""
    with duckdb.connect(database, read_only=True) as connection:
        return connection.execute(
            "SELECT table_name, column_name, data_type, is_nullable, column_default "
            "FROM duckdb_columns() WHERE NOT internal ORDER BY table_name, column_index"
        ).fetchall()


def everything(database: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables, after the names of their columns."""
    found = {}
    with duckdb.connect(database, read_only=True) as connection:
        for table, *_ in connection.execute("SHOW TABLES").fetchall():
            rows = connection.execute(f"FROM {table} ORDER BY ALL")
            found[table] = [tuple(name for name, *_ in rows.description), *rows.fetchall()]
    return found


@every_old_version
def test_a_migration_keeps_all_rows(tmp_path: Path, version: int) -> None:
    engine = make_old(tmp_path, version)
    before = everything(engine.settings.database_path)
    open_with_the_present_program(engine)
    after = everything(engine.settings.database_path)
    for table in before.keys() - {"deliveries", "schema_version"}:
        names, *rows = before[table]
        assert after[table] == [tuple(RENAMED.get(name, name) for name in names), *rows]
    columns, *rows = before["deliveries"]
    kept = [dict(zip(after["deliveries"][0], row, strict=True)) for row in after["deliveries"][1:]]
    assert [tuple(row[column] for column in columns) for row in kept] == rows
    for row in kept:
        added = {name: value for name, value in row.items() if name not in columns}
        assert added.pop("ledger_number") > 0
        assert added == {name: value for name, value in ADDED.items() if name not in columns}
    versions = query(tmp_path, "SELECT version FROM schema_version ORDER BY version")
    assert versions == [(number,) for number in range(1, VERSION + 1)]
    assert query(
        tmp_path, "SELECT version FROM schema_version WHERE applied_at < '2026-10-05'"
    ) == [(number,) for number in range(1, version + 1)]


def test_products_without_a_ledger_entry_or_with_two_are_kept(tmp_path: Path) -> None:
    engine = make_old(tmp_path, 5)
    with duckdb.connect(engine.settings.database_path) as connection:
        connection.execute("DELETE FROM deliveries WHERE partition_key = 'a.csv'")
        connection.execute("INSERT INTO deliveries FROM deliveries WHERE partition_key = 'b.csv'")
    open_with_the_present_program(engine)
    rows = query(tmp_path, "SELECT sku, delivery_id FROM products ORDER BY sku")
    assert rows == [("s1", B.delivery_id), ("s2", None), ("s3", B.delivery_id)]
    numbers = query(tmp_path, "SELECT ledger_number FROM deliveries")
    assert len(set(numbers)) == len(numbers)


@every_old_version
def test_a_migrated_schema_equals_that_of_a_new_database(tmp_path: Path, version: int) -> None:
    old, new = make_old(tmp_path / "old", version), engine_at(tmp_path / "new")
    for engine in (old, new):
        open_with_the_present_program(engine)
    assert schema_of(old.settings.database_path) == schema_of(new.settings.database_path)


@oldest_and_newest
def test_all_operations_work_on_a_migrated_database(tmp_path: Path, version: int) -> None:
    engine = make_old(tmp_path, version)
    assert [delivery.delivery_id for delivery in engine.pending_deliveries(LOG)] == [C.delivery_id]
    (done,) = engine.ingest_all([], engine.pending_deliveries(LOG), LOG)
    assert done.account.status == "merged"
    assert_invariants_hold(engine, [A, B, C])
    assert verify(engine, LOG, full=True).problems == ()

    with pytest.raises(OperationRefusedError, match=r"a\.csv#.*settings .* were not recorded"):
        revert_delivery(engine, B.delivery_id, LOG)
    assert_invariants_hold(engine, [A, B, C])
    revert_delivery(engine, B.delivery_id, LOG, use_present_settings=True)
    assert tables(engine)["products"] == expected_products([A, C])
    purge_products(engine, Selection(skus=["s1"]), LOG)
    assert [row[0] for row in tables(engine)["products"]] == ["s2", "s4"]
    newer = File("b.csv", 10**16, B.rows)
    assert engine.ingest(land(engine, newer), LOG).account.rows.inserted == 2
    assert verify(engine, LOG, full=True).problems == ()
    assert query(tmp_path, "SELECT attempts FROM deliveries WHERE partition_key = 'c.csv'") == [
        (2,)
    ]


@oldest_and_newest
def test_a_rebuild_records_the_settings(tmp_path: Path, version: int) -> None:
    engine = make_old(tmp_path, version)
    ingest_pending(engine)
    assert "exactly as they were" in rebuild_products(engine, LOG).summary
    revert_delivery(engine, B.delivery_id, LOG)
    assert tables(engine)["products"] == expected_products([A, C])


@oldest_and_newest
def test_a_rebuild_keeps_the_entries_of_pruned_deliveries(tmp_path: Path, version: int) -> None:
    engine = make_old(tmp_path, version)
    ingest_pending(engine)
    for kept in (replace(A, microseconds=A.microseconds + 1), C):  # A is needed no longer.
        engine.ingest(land(engine, kept), LOG)
    prune_raw(engine, 0, LOG)
    rebuild_products(engine, LOG)
    (row,) = query(
        tmp_path,
        f"SELECT status, rows_read, blank_lines, repeated_headers, lines_above_header, notes "
        f"FROM deliveries WHERE delivery_id = '{A.delivery_id}'",
    )
    assert row == ("merged", 3, 0, 0, 0, None)
    assert verify(engine, LOG, full=True).problems == ()


@every_old_version
def test_the_status_shows_a_database_before_its_migration(tmp_path: Path, version: int) -> None:
    engine = make_old(tmp_path, version)
    before = engine.settings.database_path.read_bytes()
    text = render_status(collect_status(engine))
    merged, failed = (id_.partition(".000000Z#")[0] for id_ in (A.delivery_id, C.delivery_id))
    assert f"{merged}  merged 2026-10-03 09:00, 3 rows (2 inserted, 1 rejected)" in text
    assert f"{failed} failed: The disk was full." in text
    assert engine.settings.database_path.read_bytes() == before


class Killed(BaseException):
    """A kill that no handler of `Exception` catches."""


@dataclass
class KilledAtACall:
    """A connection of a process that is killed before or after its n-th call.

    The kill copies the files as they are then.
    """

    connection: duckdb.DuckDBPyConnection
    calls_left: int
    after: bool
    database: Path
    left_behind: Path

    def execute(self, *arguments: Any) -> duckdb.DuckDBPyConnection:  # noqa: ANN401
        return self._call(lambda: self.connection.execute(*arguments))

    def begin(self) -> duckdb.DuckDBPyConnection:
        return self._call(self.connection.begin)

    def commit(self) -> duckdb.DuckDBPyConnection:
        return self._call(self.connection.commit)

    def rollback(self) -> duckdb.DuckDBPyConnection:
        return self.connection.rollback()

    def _call(self, call: Callable[[], duckdb.DuckDBPyConnection]) -> duckdb.DuckDBPyConnection:
        self.calls_left -= 1
        if self.calls_left == 0 and not self.after:
            self._die()
        done = call()
        if self.calls_left == 0:
            self._die()
        return done

    def _die(self) -> NoReturn:
        for path in self.database.parent.glob(f"{self.database.name}*"):
            shutil.copy(path, self.left_behind / path.name)
        raise Killed


def left_by_the_killed(folder: Path, version: int, *, after: bool) -> Iterator[Path]:
    """Yield the database after a kill at each call of a migration, until it completes."""
    source = make_old(folder / "old", version).warehouse.path
    for number in range(1, 40):
        at_work, left_behind = folder / f"{number}-at-work", folder / f"{number}-left"
        at_work.mkdir()
        left_behind.mkdir()
        database = Path(shutil.copy(source, at_work))
        with duckdb.connect() as connection:
            connection.execute(f"ATTACH '{database}' AS warehouse")
            dying: Any = KilledAtACall(connection, number, after, database, left_behind)
            try:
                migrate(dying)
            except Killed:
                yield left_behind / database.name
            else:
                assert number > 8
                return
    pytest.fail("Migrating has more statements than this test expects.")


def contents(database: Path) -> dict[str, Any]:
    """Return all rows, without the times of the migrations."""
    found: dict[str, Any] = everything(database)
    columns, *rows = found.pop("schema_version")
    assert columns[0] == "version"
    return found | {"versions": sorted(row[0] for row in rows)}


@pytest.mark.slow
@every_old_version
@pytest.mark.parametrize(
    "after",
    [pytest.param(False, marks=pytest.mark.slow), True],
    ids=["before a call", "after a call"],
)
def test_a_killed_migration_leaves_the_old_or_the_new_version_whole(
    tmp_path: Path, version: int, after: bool
) -> None:
    states = []
    for database in left_by_the_killed(tmp_path, version, after=after):
        states.append(contents(database))
        with replace(engine_at(tmp_path).warehouse, path=database).session("testing", LOG):
            pass
        assert contents(database)["versions"] == list(range(1, VERSION + 1))
        final = contents(database)
    old = contents(tmp_path / "old" / "products.duckdb")
    assert old["versions"] == list(range(1, version + 1))
    assert all(state in (old, final) for state in states)
    assert states[0] == old
    # A process that is killed right after the commit has committed.
    assert states.index(final) == len(states) - (2 if after else 1)


@pytest.mark.parametrize("size", [0, 4096], ids=["as it is", "with a log"])
def test_a_newer_version_is_refused_and_not_changed(tmp_path: Path, size: int) -> None:
    engine = make_old(tmp_path, 2)
    open_with_the_present_program(engine)
    with duckdb.connect(engine.settings.database_path) as connection:
        connection.execute("CREATE TABLE lfp_incoming AS SELECT 1 AS theirs")
        connection.execute(f"INSERT INTO schema_version VALUES ({VERSION + 1}, now())")
        connection.execute("ALTER TABLE product_rows RENAME sku TO stock_keeping_unit")
        connection.execute("CHECKPOINT")
        if size:
            connection.execute("PRAGMA disable_checkpoint_on_shutdown")
            connection.execute("UPDATE name_counts SET no_of_products = 5")
    files = [*tmp_path.glob("products.duckdb"), *tmp_path.glob("products.duckdb.wal")]
    assert len(files) == (2 if size else 1)
    before = {path: path.read_bytes() for path in files}

    why = f"has schema version {VERSION + 1}; this program knows {VERSION}. Use the version of lfp_"
    with pytest.raises(WarehouseInconsistentError, match=why):
        open_with_the_present_program(engine)
    entry = engine.ingest(land(engine, C), LOG).account
    assert entry.status == "failed"
    assert why in str(entry.error)
    assert {path: path.read_bytes() for path in before} == before


OPEN = """
import sys
from pathlib import Path
from testing.engine import LOG, engine_at
engine = engine_at(Path(sys.argv[1]))
with engine.warehouse.session("testing", LOG) as connection:
    print(connection.execute("SELECT count(*) FROM warehouse.schema_version").fetchall()[0][0])
"""


@pytest.mark.parametrize(
    "version", [0, *(pytest.param(later, marks=pytest.mark.slow) for later in (1, 5))]
)
def test_several_processes_may_migrate_at_once(tmp_path: Path, version: int) -> None:
    engine = make_old(tmp_path, version) if version else engine_at(tmp_path)
    processes = [start(OPEN, tmp_path) for _ in range(3)]
    assert finish(processes) == [f"{VERSION}\n"] * 3
    assert tables(engine)["products"] == (expected_products([A, B]) if version else [])
    versions = query(tmp_path, "SELECT version FROM schema_version ORDER BY version")
    assert versions == [(number,) for number in range(1, VERSION + 1)]
    assert query(tmp_path, "SELECT count(*) FROM database_identity") == [(1,)]
