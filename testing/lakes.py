"""Lakes for tests: with `pytest --lake`, each data folder of a test has a lake of its own.

The URL of its catalog is in a file of the folder, so that other processes of a test find it.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from lfp_pipeline.hosts.postgres import connect
from lfp_pipeline.settings import Settings
from testing.postgres import PostgresServer

_LOG = logging.getLogger(__name__)

_server: PostgresServer | None = None

_NOTE = "catalog-of-test"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--lake", action="store_true", help="run the tests of engines on lakes")


@pytest.fixture(autouse=True, scope="session")
def lakes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have `engine_at` make lakes, if that is wanted."""
    global _server  # noqa: PLW0603 (one server for all tests)
    if request.config.getoption("--lake"):
        _server = request.getfixturevalue("postgres")
    yield
    _server = None


def catalog_of(folder: Path) -> SecretStr | None:
    """Return the catalog of a data folder, and create it first; None: the folder has a file."""
    known = known_catalog(folder)
    return new_lake(folder, _server) if known is None and _server else known


def known_catalog(folder: Path) -> SecretStr | None:
    """Return the catalog of a data folder that has a lake; None: it has none."""
    note = folder / _NOTE
    if not note.exists():
        return None
    url, made_for = note.read_text().split("\n")
    is_copy = _server and made_for != str(folder)
    return copied_lake(folder, _server, url) if _server and is_copy else SecretStr(url)


def new_lake(folder: Path, server: PostgresServer) -> SecretStr:
    """Create an empty lake for a data folder, and return the URL of its catalog."""
    url = SecretStr(server.create_database())
    folder.mkdir(parents=True, exist_ok=True)
    create_catalog(Settings(data_dir=folder, catalog=url))
    _write_note(folder, url)
    return url


def create_catalog(settings: Settings, *, takes_over: bool = False) -> None:
    """Create what an engine needs in the catalog's database, as `lfp cluster init` does."""
    from lfp_pipeline.cli.cluster_parts import PARTS  # noqa: PLC0415
    from lfp_pipeline.operations.cluster_init import init_cluster  # noqa: PLC0415

    of_engine = [part for part in PARTS if part.name != "Dagster's storage"]
    init_cluster(settings, of_engine, _LOG, takes_over=takes_over)


def copied_lake(folder: Path, server: PostgresServer, original: str) -> SecretStr:
    """Give the copy of a data folder a catalog of its own, which has the files of the copy."""
    url = SecretStr(server.create_database(original.rpartition("/")[2]))
    with connect(url, "test") as connection:
        connection.execute(
            "UPDATE lfp_lake.ducklake_metadata SET value = %s WHERE key = 'data_path'",
            [f"{folder}/lake/data/"],
        )
    create_catalog(Settings(data_dir=folder, catalog=url), takes_over=True)
    _write_note(folder, url)
    return url


def _write_note(folder: Path, url: SecretStr) -> None:
    (folder / _NOTE).write_text(f"{url.get_secret_value()}\n{folder}")
