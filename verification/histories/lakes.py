"""Makes the lakes of histories: one PostgreSQL server has all catalogs, one S3 server all buckets.

The catalog of a history is a copy of an empty one, which takes a tenth of the time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest

from testing.lakes import copied_lake, new_lake
from testing.postgres import PostgresServer, missing
from testing.s3_server import S3Server, bucket_on

_BUCKET_SHARE = 0.25


@dataclass(frozen=True)
class Lakes:
    """Makes lakes.

    Attributes:
        server: has the catalogs.
        template: the URL of an empty one.
        bucket: a place in which some histories have the bytes of deliveries.
    """

    server: PostgresServer
    template: str
    bucket: str

    @classmethod
    def on(cls, server: PostgresServer, bucket: str) -> "Lakes":
        """Return what makes lakes on running servers."""
        with TemporaryDirectory() as folder:
            template = new_lake(Path(folder) / "data", server).get_secret_value()
        return cls(server, template, bucket)

    @contextmanager
    def made(self, data: Path, random: Random) -> Iterator[dict[str, object]]:
        """Make a lake for a data folder, for the block; yield the settings of its raw zone."""
        url = copied_lake(data, self.server, self.template)
        try:
            in_bucket = random.random() < _BUCKET_SHARE
            yield {"raw": f"{self.bucket}/{data.name}"} if in_bucket else {}
        finally:
            self.server.drop_database(url.get_secret_value())


@contextmanager
def running_servers(folder: Path) -> Iterator[Lakes]:
    """Start the servers for the block, with PostgreSQL's data in a folder."""
    if why := missing():
        raise SystemExit(why)
    with (
        TemporaryDirectory(prefix="lfp-postgres-", dir=folder, ignore_cleanup_errors=True) as data,
        pytest.MonkeyPatch.context() as environment,
    ):
        server, store = PostgresServer(Path(data)), S3Server()
        server.create()
        server.start()
        try:
            yield Lakes.on(server, bucket_on(store, environment))
        finally:
            server.stop()
            store.close()
