"""Lakes for tests: with `pytest --lake`, each data folder of a test has a lake of its own.

The URL of its catalog is in a file of the folder, so that other processes of a test find it.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from lfp_pipeline.hosts.postgres import session
from lfp_pipeline.raw_zone.catalog_sidecars import create_raw_tables
from lfp_pipeline.settings import Settings
from testing.postgres import PostgresServer

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
    return SecretStr(note.read_text()) if note.exists() else None


def new_lake(folder: Path, server: PostgresServer) -> SecretStr:
    """Create an empty lake for a data folder, and return the URL of its catalog."""
    from lfp_pipeline.hosts import heartbeats, notes  # noqa: PLC0415
    from lfp_pipeline.warehouse.lake_setup import create_lake_tables  # noqa: PLC0415

    url = SecretStr(server.create_database())
    folder.mkdir(parents=True, exist_ok=True)
    create_lake_tables(Settings(data_dir=folder, catalog=url))
    with session(url, "test") as connection:
        for create in (create_raw_tables, heartbeats.create_tables, notes.create_tables):
            create(connection)
    (folder / _NOTE).write_text(url.get_secret_value())
    return url
