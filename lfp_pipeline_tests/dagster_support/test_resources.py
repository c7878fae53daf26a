"""The database resource closes the database, whatever the block does."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from lfp_pipeline.dagster_support.resources import ProductsDatabase
from lfp_pipeline.errors import WarehouseBusyError

Connection = duckdb.DuckDBPyConnection


@pytest.fixture
def database(tmp_path: Path) -> ProductsDatabase:
    return ProductsDatabase(
        database=str(tmp_path / "products.duckdb"),
        writer_wait_seconds=0,
        other_process_wait_seconds=0,
    )


def test_a_former_field_name_works(tmp_path: Path) -> None:
    path = str(tmp_path / "products.duckdb")
    former = ProductsDatabase(database=path, writer_wait_seconds=0, foreign_wait_seconds=3)
    assert former.other_process_wait_seconds == 3


def wrong_sql(connection: Connection) -> None:
    connection.execute("FROM nowhere")


def wrong_sql_in_a_transaction(connection: Connection) -> None:
    connection.begin()
    connection.execute("FROM nowhere")


def closed_too_soon(connection: Connection) -> None:
    connection.close()
    connection.execute("FROM nowhere")


def uncommitted_work(connection: Connection) -> None:
    connection.begin()
    connection.execute("CREATE TABLE mine AS SELECT 1")


def test_the_current_database_is_the_products_database(database: ProductsDatabase) -> None:
    with database.get_connection() as connection:
        assert connection.execute("SELECT count(*) FROM products").fetchall() == [(0,)]


@pytest.mark.parametrize("fault", [wrong_sql, wrong_sql_in_a_transaction])
def test_an_error_is_raised_unchanged_and_the_database_closed(
    database: ProductsDatabase, fault: Callable[[Connection], None]
) -> None:
    with (
        pytest.raises(duckdb.CatalogException, match="nowhere"),
        database.get_connection() as connection,
    ):
        fault(connection)
    with duckdb.connect(database.database) as free:
        assert free.execute("SELECT count(*) FROM products").fetchall() == [(0,)]


def test_a_closed_connection_releases_the_lock(database: ProductsDatabase) -> None:
    with (
        pytest.raises(duckdb.ConnectionException, match="closed"),
        database.get_connection() as connection,
    ):
        closed_too_soon(connection)
    with database.get_connection():
        pass


def test_an_open_transaction_is_an_error_and_is_rolled_back(database: ProductsDatabase) -> None:
    with (
        pytest.raises(duckdb.TransactionException, match="Cannot detach"),
        database.get_connection() as connection,
    ):
        uncommitted_work(connection)
    with (
        database.get_connection() as connection,
        pytest.raises(duckdb.CatalogException, match="mine"),
    ):
        connection.execute("FROM mine")


def test_one_connection_at_a_time(database: ProductsDatabase) -> None:
    with (
        database.get_connection(),
        pytest.raises(WarehouseBusyError, match="looking at the tables"),
        database.get_connection(),
    ):
        pass


def test_any_asset_can_use_the_database(database: ProductsDatabase) -> None:
    @dg.asset
    def total(database: ProductsDatabase) -> None:
        with database.get_connection() as connection:
            connection.execute("CREATE TABLE total AS SELECT count(*) FROM products")

    assert dg.materialize([total], resources={"database": database}).success
    with duckdb.connect(database.database, read_only=True) as connection:
        assert connection.execute("FROM total").fetchall() == [(0,)]
