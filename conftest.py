"""Fixtures that all tests share."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from testing.cluster import cluster
from testing.command_line import lfp
from testing.dagster_project import Project, project_in
from testing.lakes import lakes, pytest_addoption
from testing.postgres import catalog_url, postgres
from testing.redis import broker_url, redis_server
from testing.s3_server import bucket_place, s3_server
from testing.shell import shell
from testing.shop import shop, stocked, stocked_folder

__all__ = [
    "broker_url",
    "bucket_place",
    "catalog_url",
    "cluster",
    "lakes",
    "lfp",
    "postgres",
    "pytest_addoption",
    "redis_server",
    "s3_server",
    "shell",
    "shop",
    "stocked",
    "stocked_folder",
]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a new Dagster instance; making it takes a second."""
    folder = tmp_path_factory.mktemp("home")
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        instance.get_runs(limit=1)
        instance.get_dynamic_partitions("product_files")
        instance.all_instigator_state()
    return folder


@pytest.fixture(autouse=True, scope="session")
def no_settings_of_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the settings, the sources and the terminal of who runs the tests out of them."""
    empty = tmp_path_factory.mktemp("settings") / "empty.toml"
    empty.touch()
    no_sources = empty.with_name("sources.yaml")
    no_sources.write_text("sources: []\n")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LFP_SETTINGS_FILE", str(empty))
        environment.setenv("LFP_SOURCES_FILE", str(no_sources))
        environment.setenv("COLUMNS", "100")
        yield


@pytest.fixture
def project(tmp_path: Path, home: Path) -> Iterator[Project]:
    with project_in(tmp_path, home, other_process_wait_seconds=0) as project:
        yield project
