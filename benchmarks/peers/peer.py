"""The interface of a measured tool."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Self

import duckdb

from benchmarks.measure import stored_bytes


class Peer(ABC):
    """A tool with its tables in one folder.

    Attributes:
        title: the tool and its way, for tables.
        phases: seconds of the last load by phase, where the tool reports them.
    """

    title: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.phases: dict[str, float] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @classmethod
    def unavailable(cls) -> str | None:
        """Return why the tool cannot be used here; None: it can."""
        return None

    @classmethod
    @abstractmethod
    def versions(cls) -> str:
        """The versions of the programs that do the work."""

    def start(self) -> None:  # noqa: B027 (most need nothing)
        """Start the servers and sessions that the tool needs. Not timed."""

    def stop(self) -> None:  # noqa: B027 (most need nothing)
        """Stop the servers and sessions."""

    @abstractmethod
    def load(self, csv_file: Path) -> None:
        """Load a file into the present tables: upsert products by sku, count names."""

    @abstractmethod
    def dump(self, products_csv: Path, counts_csv: Path) -> None:
        """Write (sku, name, description) and (name, number of products). Not timed."""

    def stored_bytes(self) -> int:
        """Return the disk space of the tables."""
        return stored_bytes(self.folder)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a part of a load."""
        started = time.perf_counter()
        yield
        self.phases[name] = self.phases.get(name, 0.0) + time.perf_counter() - started


class DuckDBPeer(Peer):
    """A tool that stores in a DuckDB file.

    Attributes:
        schema: the schema with the tables.
    """

    schema: ClassVar[str] = "main"

    @property
    def database(self) -> Path:
        """The file."""
        return self.folder / "products.duckdb"

    def dump(self, products_csv: Path, counts_csv: Path) -> None:
        with duckdb.connect(str(self.database), read_only=True) as connection:
            connection.execute("SET enable_progress_bar = false")
            for columns, table, csv in (
                ("sku, name, description", "products", products_csv),
                ("name, no_of_products", "name_counts", counts_csv),
            ):
                query = f"SELECT {columns} FROM {self.schema}.{table}"
                connection.execute(f"COPY ({query}) TO '{csv}' (HEADER, DELIMITER ',')")

    def stored_bytes(self) -> int:
        """The file alone: with a tool's own tables, without its working folder or raw zone."""
        return stored_bytes(self.database)
