"""DuckDB connections to the lake: extensions, credentials, and how its catalog is attached.

No credential is in a statement that DuckDB may repeat in an error: passwords are in DuckDB's
secrets, which it shows redacted.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb
from pydantic import SecretStr

from lfp_pipeline.common.setting_types import BUCKET
from lfp_pipeline.errors import (
    CatalogUnreachableError,
    SettingsError,
    WarehouseInconsistentError,
)
from lfp_pipeline.hosts.bucket_client import endpoint
from lfp_pipeline.hosts.postgres import connection_text, place_of

CONFIG: Mapping[str, Any] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    # DuckDB reads an extension completely to verify its signature: 0.1 s each, in each connection.
    # These come from packages whose hashes the installer has verified.
    "allow_unsigned_extensions": True,
}
"""DuckDB's settings for connections to the lake."""

_LOCAL = ("ducklake", "postgres_scanner")

# A commit never tries again after a conflict: with one writer, a conflict means that the lock was
# lost. DuckLake would merge both commits, and repeat the skus that both insert.
_SETTINGS = (
    "SET ducklake_max_retry_count = 0",
    "SET enable_progress_bar = false",
)

# Parts of messages of libpq, PostgreSQL and DuckDB. A ROLLBACK fails only with its connection.
_UNREACHABLE = (
    "Unable to connect to Postgres",
    "connection to server",
    "could not connect",
    "server closed the connection",
    "could not receive data from server",
    "could not send data to server",
    "SSL connection has been closed",
    "SSL SYSCALL error",
    "SSL error:",
    "terminating connection",
    "no connection to the server",
    'Failed to execute query "ROLLBACK"',
    "from DuckLake: .*transaction is aborted",  # It had another cause, which is not shown.
    "the database system is",
    "cannot execute .* in a read-only transaction",
)

_FULL_DISK = "could not extend file|could not write to file|No space left on device"

_UNUSABLE = {
    "creating a new DuckLake is explicitly disabled": "The catalog at {catalog} has no tables for "
    "the lake. Run `lfp cluster init`, which creates what is missing.",
    "catalog version mismatch": "The catalog at {catalog} was made by another version of DuckLake: "
    "{error} Use the version of lfp_pipeline that made it.",
}


def load_extensions(connection: duckdb.DuckDBPyConnection, data_path: str) -> None:
    """Load the extensions for the lake from their packages.

    Raises:
        SettingsError: a package is not installed, or is of another version than DuckDB.
    """
    for name in (*_LOCAL, *(("httpfs",) if data_path.startswith(BUCKET) else ())):
        file = f"extensions/v{duckdb.__version__}/{name}.duckdb_extension"
        package = find_spec(f"duckdb_extension_{name}")
        if package is None or not (path := Path(str(package.origin)).parent / file).is_file():
            msg = (
                f"LFP_CATALOG needs duckdb-extension-{name.replace('_', '-')} for DuckDB "
                f"{duckdb.__version__}, which is not installed: pip install 'lfp-pipeline[cluster]'"
            )
            raise SettingsError(msg)
        connection.execute(f"LOAD {quoted(str(path))}")
    for setting in _SETTINGS:
        connection.execute(setting)


def attach_lake(
    connection: duckdb.DuckDBPyConnection,
    url: SecretStr,
    data_path: str,
    name: str,
    token: str,
    *options: str,
) -> None:
    """Attach the lake under a name, with the token as the name of its connections to PostgreSQL.

    Raises:
        CatalogUnreachableError: PostgreSQL does not answer.
        duckdb.Error: the lake cannot be attached.
    """
    from psycopg.conninfo import conninfo_to_dict, make_conninfo  # noqa: PLC0415

    parts = conninfo_to_dict(connection_text(url, token))
    password = parts.pop("password", None)
    secret: tuple[str, ...] = ()
    if password is not None:
        _create_secret(connection, "lfp_catalog", f"TYPE postgres, PASSWORD {quoted(password)}")
        secret = ("META_SECRET 'lfp_catalog'",)
    if data_path.startswith(BUCKET):
        _create_secret(connection, "lfp_lake", _bucket_secret(data_path, os.environ))
        if authorities := os.environ.get("AWS_CA_BUNDLE"):
            connection.execute("SET ca_cert_file = ?", [authorities])
    chosen = ", ".join(("META_SCHEMA 'lfp_lake'", "DATA_INLINING_ROW_LIMIT 0", *secret, *options))
    place = quoted(f"ducklake:postgres:{make_conninfo(**parts)}")
    try:
        connection.execute(f"ATTACH {place} AS {name} ({chosen})")
    except duckdb.Error as error:
        if is_unreachable(error):
            msg = f"The catalog at {place_of(url)} cannot be reached. Check that it runs."
            raise CatalogUnreachableError(msg) from None
        for sign, problem in _UNUSABLE.items():
            if sign in str(error):
                msg = problem.format(catalog=place_of(url), error=error)
                raise WarehouseInconsistentError(msg) from None
        raise


@contextmanager
def naming_unreachable(url: SecretStr) -> Iterator[None]:
    """Raise a CatalogUnreachableError for DuckDB's errors about PostgreSQL in the block."""
    try:
        yield
    except duckdb.Error as error:
        if "DuckLake" in str(error) and re.search(_FULL_DISK, str(error)):
            msg = f"The disk of PostgreSQL at {place_of(url)} has no space left: free some there."
            raise CatalogUnreachableError(msg) from None
        if is_unreachable(error):
            msg = (
                f"The catalog at {place_of(url)} cannot be reached any more, or has ended the "
                "transaction. Check that it runs; its log has the cause."
            )
            raise CatalogUnreachableError(msg) from None
        raise


def is_unreachable(error: Exception) -> bool:
    """Return whether DuckDB could not reach PostgreSQL."""
    return re.search("|".join(_UNREACHABLE), str(error)) is not None


def _create_secret(connection: duckdb.DuckDBPyConnection, name: str, parameters: str) -> None:
    try:
        connection.execute(f"CREATE OR REPLACE SECRET {name} ({parameters})")
    except duckdb.Error:  # The error may repeat the statement.
        msg = f"DuckDB refuses the credentials for {name}. Check the settings of the cluster."
        raise SettingsError(msg) from None


def _bucket_secret(data_path: str, environ: Mapping[str, str]) -> str:
    texts = {
        "SCOPE": BUCKET + data_path.removeprefix(BUCKET).partition("/")[0],
        "KEY_ID": environ.get("AWS_ACCESS_KEY_ID"),
        "SECRET": environ.get("AWS_SECRET_ACCESS_KEY"),
        "SESSION_TOKEN": environ.get("AWS_SESSION_TOKEN"),
        "REGION": environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION"),
    }
    if server := endpoint():
        parts = urlsplit(server)
        texts |= {
            "ENDPOINT": parts.netloc + parts.path.rstrip("/"),
            "USE_SSL": str(parts.scheme == "https").lower(),
            "URL_STYLE": "path",
        }
    return ", ".join(["TYPE s3", *(f"{key} {quoted(text)}" for key, text in texts.items() if text)])


def data_path(place: str) -> str:
    """Return the path of DuckLake's files; our own are beside it, at the place of the lake."""
    return f"{place}/data/"


def quoted(text: str) -> str:
    """Return a text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"
