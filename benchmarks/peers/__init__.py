"""Other tools, and ours, at the same task: one module each."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from benchmarks.answers import Answer, answer_in_csv
from benchmarks.measure import Meter, warm
from benchmarks.peers.peer import Peer

NAMES = (
    "ours",
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


@dataclass(frozen=True)
class Task:
    """A file to load, and the expected answer afterwards."""

    name: str
    csv: Path
    right: Answer


def compare(peer: str, tasks: Sequence[Task], meter: Meter, folder: Path) -> None:
    """Load files with a tool.

    Timed is what lies between a CSV file in the page cache and committed products and counts. Not
    timed are imports and the start of sessions and servers, which is in the peers' favour.
    """
    store = folder / "store"
    store.mkdir(mode=0o755)
    products_csv, counts_csv = folder / "products.csv", folder / "counts.csv"
    with installed(peer)(store) as tool:
        for task in tasks:
            warm(task.csv)
            tool.phases.clear()
            with meter.timed(task.name) as step:
                tool.load(task.csv)
            step.phases = dict(tool.phases)
            step.disk_bytes = tool.stored_bytes()
            tool.dump(products_csv, counts_csv)
            step.wrong = task.right.differences(answer_in_csv(products_csv, counts_csv))
