"""Spark reads the file and picks the winners, and writes them over JDBC into PostgreSQL.

Spark cannot upsert over JDBC, so it fills an unlogged staging table, over two connections, with
multi-row inserts, and PostgreSQL does `INSERT .. ON CONFLICT` and counts, as in `postgresql.py`. A
file whose values hold line breaks is read by one task (`multiLine`), which also makes Spark's row
ids increase with the place in the file.
"""

import os
from contextlib import ExitStack
from pathlib import Path

import pyspark
from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as spark_functions

from benchmarks.peers.postgresql_server import COUNT, ON_CONFLICT, PostgreSQLPeer, server_version

_JARS = Path("/usr/share/java")
_DRIVER = _JARS / "postgresql.jar"
_SCHEMA = "name string, sku string, description string"
_CORES = os.cpu_count() or 2

_STAGING = """
CREATE UNLOGGED TABLE IF NOT EXISTS staging (name text, sku text, description text);
TRUNCATE staging;
"""

_UPSERT = f"""
INSERT INTO products (sku, name, description) SELECT sku, name, description FROM staging
{ON_CONFLICT}
"""


class Tool(PostgreSQLPeer):
    """A local Spark session beside a PostgreSQL server."""

    title = "Spark + JDBC + PostgreSQL"

    @classmethod
    def unavailable(cls) -> str | None:
        """Return what is missing: the server and the JDBC driver are packages of the system."""
        if not _DRIVER.exists():
            return f"PostgreSQL's JDBC driver is not installed ({_DRIVER})"
        return super().unavailable()

    @classmethod
    def versions(cls) -> str:
        named = (jar.stem.partition("-")[2] for jar in _JARS.glob("postgresql-*.*.*.jar"))
        driver = next(named, "of unknown version")
        return f"Spark {pyspark.__version__}, JDBC driver {driver}, {server_version()}"

    def prepare(self, stack: ExitStack) -> None:
        """Start a Spark session, which loads a tiny file to have its code ready."""
        self._spark = (
            SparkSession.builder.master(f"local[{_CORES}]")
            .config("spark.driver.memory", "6g")
            .config("spark.driver.extraClassPath", str(_DRIVER))
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.driver.host", "127.0.0.1")
            .config("spark.local.dir", str(self.folder / "spark"))
            .config("spark.sql.warehouse.dir", str(self.folder / "warehouse"))
            .config("spark.sql.shuffle.partitions", _CORES)
            .config("spark.ui.enabled", "false")
            .config("spark.ui.showConsoleProgress", "false")
            .getOrCreate()
        )
        stack.callback(self._spark.stop)
        self._spark.sparkContext.setLogLevel("ERROR")
        warm_up = self.folder / "warm_up.csv"
        warm_up.write_text("name,sku,description\r\n" + 'a,b,"c\nd"\r\n' * 1000)
        self._stage(warm_up)

    def load(self, csv_file: Path) -> None:
        with self.phase("reading, picking winners, writing"):
            self._stage(csv_file)
        with self._server.connect() as connection:
            with self.phase("upserting"):
                connection.execute(_UPSERT)
            with self.phase("counting"):
                connection.execute(COUNT)
            with self.phase("upserting"):
                connection.commit()

    def _stage(self, csv_file: Path) -> None:
        rows = self._spark.read.csv(
            str(csv_file), schema=_SCHEMA, header=True, multiLine=True, escape='"'
        ).withColumn("row_no", spark_functions.monotonically_increasing_id())
        newest_first = Window.partitionBy("sku").orderBy(spark_functions.desc("row_no"))
        winners = (
            rows.withColumn("place", spark_functions.row_number().over(newest_first))
            .where("place = 1")
            .select("name", "sku", "description")
        )
        with self._server.connect() as connection:
            connection.execute(_STAGING)
        winners.write.jdbc(
            f"{self._server.jdbc_url}?reWriteBatchedInserts=true",
            "staging",
            mode="append",
            properties={
                "user": self._server.user,
                "password": self._server.password,
                "driver": "org.postgresql.Driver",
                "batchsize": "10000",
                "isolationLevel": "READ_COMMITTED",
            },
        )
