"""Connections to the PostgreSQL database of the catalog."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
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

_UNKNOWN_OPTION = re.compile(r'invalid URI query parameter: "(\w+)"')

_HINT = "Check that it runs, that this host may reach it, and the setting LFP_CATALOG."
_LOGIN_HINT = "Check the user in LFP_CATALOG, and the password in PGPASSWORD or LFP_CATALOG."


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
        reason = _reason(error)
        hint = _LOGIN_HINT if "password" in reason else _HINT
        msg = f"The catalog at {place_of(url)} cannot be reached: {reason}. {hint}"
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
    except (
        psycopg.errors.ReadOnlySqlTransaction,  # This server is a standby now.
        psycopg.errors.IdleInTransactionSessionTimeout,
        psycopg.OperationalError,
        psycopg.InterfaceError,
    ) as error:
        msg = f"The catalog at {place_of(url)} does not work now: {_reason(error)}. {_HINT}"
        raise CatalogUnreachableError(msg) from None


def server_time(connection: "psycopg.Connection[Any]") -> datetime:
    """Return the present time by the clock of the server: the clocks of hosts differ."""
    ((now,),) = connection.execute("SELECT clock_timestamp()").fetchall()
    assert isinstance(now, datetime)  # noqa: S101 (for the types)
    return now


def connection_text(url: SecretStr, name: str) -> str:
    """Return the connection string of libpq for a connection with this name; it is a secret.

    The options of the URL have precedence, but for the name, by which the fence admits a writer.
    """
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415

    parts = _parts(url)
    server_options = f"{_SERVER_KEEPALIVES} {parts.get('options', '')}".rstrip()
    options = KEEPALIVES | parts | {"application_name": name, "options": server_options}
    return str(make_conninfo(**options))


def place_of(url: SecretStr) -> str:
    """Return host, port and database of a URL, for people."""
    parts = _parts(url)
    database = f"/{parts['dbname']}" if "dbname" in parts else ""
    return f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}{database}"


def _parts(url: SecretStr) -> dict[str, Any]:
    """Return the options of a URL by libpq's names; raise a SettingsError for an unknown one."""
    import psycopg  # noqa: PLC0415
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    try:
        return dict(conninfo_to_dict(url.get_secret_value()))
    except psycopg.ProgrammingError as error:
        # The rest of the message may show a part of a password.
        option = _UNKNOWN_OPTION.search(str(error))
        why = f"there is no option {option[1]}" if option else "percent-encode special characters"
        msg = f"LFP_CATALOG is no URL for libpq: {why}."
        raise SettingsError(msg) from None


def _reason(error: Exception) -> str:
    """Return what libpq says of the cause, without the line that it repeats or advises."""
    first, *rest = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    cause = (rest[0] if first.endswith(":") and rest else first) or type(error).__name__
    return cause.rpartition("FATAL:")[2].strip().rstrip(".")
