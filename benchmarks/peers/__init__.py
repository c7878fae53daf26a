"""Other tools, and ours, at the same task: one module each."""

from importlib import import_module

from benchmarks.peers.peer import Peer

OURS = "ours"

NAMES = (
    OURS,
    "polars_duckdb",
    "dlt_duckdb",
    "pandas_sqlite",
    "sqlite_upsert",
    "postgresql",
    "spark_jdbc",
)
"""The modules in this package that have a `Tool`, a subclass of `Peer`."""


class NotInstalledError(Exception):
    """A tool, or something that it needs, is missing on this machine; the text says what."""


def installed(name: str) -> type[Peer]:
    """Return the tool in a module of this package.

    Raises:
        NotInstalledError: it cannot be used here.
    """
    try:
        tool: type[Peer] = import_module(f"{__name__}.{name}").Tool
    except ModuleNotFoundError as error:
        msg = f"the Python package {error.name} is not installed"
        raise NotInstalledError(msg) from error
    if reason := tool.unavailable():
        raise NotInstalledError(reason)
    return tool
