"""Small notes that processes share: a file, or a row of PostgreSQL for several hosts."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import SecretStr

from lfp_pipeline.common.atomic_files import write_file
from lfp_pipeline.hosts.postgres import session

if TYPE_CHECKING:
    import psycopg

_TABLE = """
CREATE SCHEMA IF NOT EXISTS lfp;
CREATE TABLE IF NOT EXISTS lfp.notes (name text PRIMARY KEY, text text NOT NULL);
"""

_WRITE = """
INSERT INTO lfp.notes VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET text = excluded.text
"""


class Note(Protocol):
    """A note."""

    def read(self) -> str | None:
        """Return the text; None: nothing was written yet."""
        ...

    def write(self, text: str) -> None:
        """Write the text in place of the former one.

        Raises:
            OSError: the file cannot be written.
        """
        ...


@dataclass(frozen=True)
class FileNote:
    """A note in a file."""

    file: Path

    def read(self) -> str | None:
        """Return the text of the file."""
        with suppress(OSError, UnicodeDecodeError):
            return self.file.read_text()
        return None

    def write(self, text: str) -> None:
        """Write the file at once, so that a reader sees the former text or this one."""
        write_file(self.file, text.encode())


@dataclass(frozen=True)
class RowNote:
    """A note in the database of a catalog."""

    catalog: SecretStr
    name: str

    def read(self) -> str | None:
        """Return the text of the row."""
        with session(self.catalog, "lfp notes") as connection:
            row = connection.execute("SELECT text FROM lfp.notes WHERE name = %s", [self.name])
            return next((str(text) for (text,) in row), None)

    def write(self, text: str) -> None:
        """Write the row."""
        with session(self.catalog, "lfp notes") as connection:
            connection.execute(_WRITE, [self.name, text])


def create_tables(connection: "psycopg.Connection[Any]") -> None:
    """Create the table of the notes if it is missing."""
    connection.execute(_TABLE)
