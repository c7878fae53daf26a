"""Lakes for tests: with `pytest --lake`, each data folder of a test has a lake of its own.

The URL of its catalog is in a file of the folder, so that other processes of a test find it.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from pydantic import SecretStr

from lfp_pipeline.hosts.postgres import connect
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.lake_catalog import catalog_identity
from lfp_pipeline.warehouse.lake_connection import data_path
from lfp_pipeline.warehouse.lake_owner import MARKER, claim
from testing.postgres import PostgresServer

_LOG = logging.getLogger(__name__)

_server: PostgresServer | None = None
_templates: dict[PostgresServer, str] = {}

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


def new_lake(folder: Path, server: PostgresServer, **settings: Any) -> SecretStr:  # noqa: ANN401
    """Create an empty lake for a data folder, and return the URL of its catalog.

    It is a copy of another empty one, which takes a fraction of the time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if server not in _templates:
        url = server.create_database()
        with TemporaryDirectory() as elsewhere:
            create_catalog(Settings(data_dir=Path(elsewhere), catalog=SecretStr(url)))
        _templates[server] = url
    return copied_lake(folder, server, _templates[server], **settings)


def create_catalog(settings: Settings, *, takes_over: bool = False) -> None:
    """Create what an engine needs in the catalog's database, as `lfp cluster init` does."""
    from lfp_pipeline.cli.cluster_parts import PARTS  # noqa: PLC0415
    from lfp_pipeline.operations.cluster_init import init_cluster  # noqa: PLC0415

    of_engine = [part for part in PARTS if part.name != "Dagster's storage"]
    init_cluster(settings, of_engine, _LOG, takes_over=takes_over)


def copied_lake(
    folder: Path,
    server: PostgresServer,
    original: str,
    **settings: Any,  # noqa: ANN401
) -> SecretStr:
    """Give a data folder, which may be a copy, a catalog of its own, which has its files."""
    url = SecretStr(server.create_database(original.rpartition("/")[2]))
    made = Settings(data_dir=folder, catalog=url, **settings)
    with connect(url, "test") as connection:
        connection.execute("UPDATE lfp.lake_identity SET catalog_id = gen_random_uuid()")
        connection.execute(
            "UPDATE lfp_lake.ducklake_metadata SET value = %s WHERE key = 'data_path'",
            [data_path(made.lake_place)],
        )
        connection.execute("UPDATE lfp.raw_zone SET place = %s", [made.raw_place])
        Path(made.lake_place, MARKER).unlink(missing_ok=True)  # It names the original.
        claim(made.lake_place, catalog_identity(connection), "a test")
    _write_note(folder, url)
    return url


def _write_note(folder: Path, url: SecretStr) -> None:
    (folder / _NOTE).write_text(f"{url.get_secret_value()}\n{folder}")
