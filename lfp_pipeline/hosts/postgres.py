"""Connections to the PostgreSQL database of the catalog."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from lfp_pipeline.errors import CatalogUnreachableError, SettingsError

if TYPE_CHECKING:
    import psycopg

KEEPALIVES = {
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 11_000,
}
"""Options of libpq: a connection whose link is cut ends after 5 + 2 * 3 seconds, on this side."""

_SERVER_KEEPALIVES = (
    "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 "
    "-c tcp_user_timeout=11000"
)
"""The same on the server's side, so that it frees the locks of a host that is cut off."""

_HINT = "Check that it runs, that this host may reach it, and the setting LFP_CATALOG."


def connect(
    url: SecretStr, name: str, *, transaction: bool = False
) -> "psycopg.Connection[tuple[object, ...]]":
    """Return a new connection to the database of a catalog.

    Args:
        name: the name of the connection in `pg_stat_activity`.
        transaction: begin a transaction with the first statement; else each one is its own.

    Raises:
        CatalogUnreachableError: the server does not answer, or refuses the connection.
        SettingsError: the package psycopg is not installed.
    """
    try:
        import psycopg  # noqa: PLC0415 (only where several hosts work together)
    except ImportError as error:
        msg = "LFP_CATALOG needs packages that are missing: pip install 'lfp-pipeline[cluster]'"
        raise SettingsError(msg) from error
    try:
        return psycopg.connect(
            connection_text(url, name), autocommit=not transaction, prepare_threshold=None
        )
    except psycopg.Error as error:
        msg = f"The catalog at {place_of(url)} cannot be reached: {_reason(error)}. {_HINT}"
        raise CatalogUnreachableError(msg) from None  # Its cause may have the password.


@contextmanager
def session(url: SecretStr, name: str) -> "Iterator[psycopg.Connection[Any]]":
    """Yield a new connection, and close it after the block; arguments and errors as in `connect`.

    Raises:
        CatalogUnreachableError: also if the server ends the connection within the block.
        SettingsError: also if `lfp cluster init` has not created the tables.
    """
    with connect(url, name) as connection, translating_errors(url):
        yield connection


@contextmanager
def translating_errors(url: SecretStr) -> Iterator[None]:
    """Raise errors of a connection in the block as those of `session`."""
    import psycopg  # noqa: PLC0415

    try:
        yield
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        msg = f"The catalog at {place_of(url)} has no tables yet. Create them: lfp cluster init"
        raise SettingsError(msg) from None
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        ended = f"The catalog at {place_of(url)} has ended the connection: {_reason(error)}."
        msg = f"{ended} {_HINT}"
        raise CatalogUnreachableError(msg) from None


def connection_text(url: SecretStr, name: str) -> str:
    """Return the connection string of libpq for a connection with this name; it is a secret."""
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415

    options = KEEPALIVES | {"application_name": name, "options": _SERVER_KEEPALIVES}
    return str(make_conninfo(url.get_secret_value(), **options))


def place_of(url: SecretStr) -> str:
    """Return host, port and database of a URL, for people."""
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    parts = conninfo_to_dict(url.get_secret_value())
    database = f"/{parts['dbname']}" if "dbname" in parts else ""
    return f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}{database}"


def _reason(error: Exception) -> str:
    """Return the last line of libpq's message, which has the cause, and never the password."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (
        (lines[-1] if lines else type(error).__name__).removeprefix("FATAL: ").strip().rstrip(".")
    )
