"""Makes the lakes of histories: one PostgreSQL server has all catalogs, one S3 server the bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from testing.lakes import new_lake
from testing.postgres import PostgresServer, missing, running_server
from testing.s3_server import S3Server, bucket_on

_BUCKET_SHARE = 0.25


@dataclass(frozen=True)
class Lakes:
    """Makes lakes.

    Attributes:
        server: has the catalogs.
        bucket: a place in which some histories have the bytes of deliveries.
    """

    server: PostgresServer
    bucket: str

    @contextmanager
    def made(self, data: Path, random: Random) -> Iterator[dict[str, object]]:
        """Make a lake for a data folder, for the block; yield the settings of its raw zone."""
        in_bucket = random.random() < _BUCKET_SHARE
        settings: dict[str, object] = {"raw": f"{self.bucket}/{data.name}"} if in_bucket else {}
        url = new_lake(data, self.server, **settings)
        try:
            yield settings
        finally:
            self.server.drop_database(url.get_secret_value())


@contextmanager
def running_servers(folder: Path) -> Iterator[Lakes]:
    """Start the servers for the block, with PostgreSQL's data in a folder."""
    if why := missing():
        raise SystemExit(why)
    with running_server(folder) as server, pytest.MonkeyPatch.context() as environment:
        store = S3Server()
        try:
            yield Lakes(server, bucket_on(store, environment))
        finally:
            store.close()
