"""Lakes for tests: with `pytest --lake`, each data folder of a test has a lake of its own.

The URL of its catalog is in a file of the folder, so that other processes of a test find it.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

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
    note = folder / _NOTE
    if note.exists():
        return SecretStr(note.read_text())
    return new_lake(folder, _server) if _server else None


def new_lake(folder: Path, server: PostgresServer) -> SecretStr:
    """Create an empty lake for a data folder, and return the URL of its catalog."""
    from lfp_pipeline.warehouse.lake_setup import create_lake_tables  # noqa: PLC0415

    url = SecretStr(server.create_database())
    folder.mkdir(parents=True, exist_ok=True)
    create_lake_tables(Settings(data_dir=folder, catalog=url))
    (folder / _NOTE).write_text(url.get_secret_value())
    return url
