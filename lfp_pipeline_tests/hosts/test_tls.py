"""TLS to PostgreSQL, to a bucket and to Redis, with a certificate of a private authority."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from examples.processes import free_port
from lfp_pipeline.errors import (
    BrokerUnreachableError,
    BucketUnreachableError,
    CatalogUnreachableError,
)
from lfp_pipeline.hosts.broker import broker_client
from lfp_pipeline.hosts.bucket import Bucket
from lfp_pipeline.hosts.postgres import connect
from lfp_pipeline.settings import Settings
from testing.engine import LOG, engine_at, land, tables
from testing.expected_tables import File, assert_tables_match
from testing.lakes import create_catalog
from testing.postgres import USER, missing, running_server
from testing.redis import PASSWORD, RedisServer
from testing.s3_server import S3Server

pytestmark = pytest.mark.slow
pytest.importorskip("duckdb_extension_httpfs")

FILE = File("a.csv", 1, (("s1", "Ann", ""), ("s2", "Bob", "x")))

_SELF_SIGNED = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
_ONLY_TLS = "hostssl all all 127.0.0.1/32 scram-sha-256\n"


class Certificate:
    """A certificate for localhost, which is its own authority."""

    def __init__(self, folder: Path) -> None:
        self.file, self.key = folder / "certificate.pem", folder / "key.pem"
        names = ["-addext", "subjectAltName=DNS:localhost"]
        files = ["-keyout", str(self.key), "-out", str(self.file)]
        subprocess.run(
            ["openssl", *_SELF_SIGNED.split(), *names, *files], check=True, capture_output=True
        )


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    return Certificate(tmp_path)


@pytest.fixture
def tls_catalog(certificate: Certificate) -> Iterator[SecretStr]:
    """The URL of a server that accepts passwords over TLS only."""
    if why := missing():
        pytest.skip(why)
    with running_server() as server:
        with closing(connect(SecretStr(server.url()), "test")) as connection:
            connection.execute("ALTER ROLE lfp PASSWORD 's3cret &'")
        server.stop("fast")
        data = server.folder / "data"
        for file in (certificate.file, certificate.key):
            copy = Path(shutil.copy(file, data))
            copy.chmod(0o600)
            if os.geteuid() == 0:
                shutil.chown(copy, USER)
        (data / "pg_hba.conf").write_text(_ONLY_TLS)
        with (data / "postgresql.conf").open("a") as configuration:
            configuration.write("ssl = on\n")
            configuration.write(f"ssl_cert_file = '{certificate.file.name}'\n")
            configuration.write(f"ssl_key_file = '{certificate.key.name}'\n")
        server.start()
        yield SecretStr(f"postgresql://lfp:s3cret%20%26@localhost:{server.port}/postgres")


@pytest.fixture
def tls_bucket(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The place of a bucket that does not exist yet."""
    pytest.importorskip("moto")
    server = S3Server((str(certificate.file), str(certificate.key)))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    yield "s3://tls"
    server.close()


def verifying(catalog: SecretStr, authority: Path) -> SecretStr:
    options = f"?sslmode=verify-full&sslrootcert={authority}"
    return SecretStr(catalog.get_secret_value() + options)


def of_broker(url: str) -> Settings:
    return Settings(catalog=SecretStr("postgresql://localhost:1/none"), broker=SecretStr(url))


def test_a_lake_in_a_bucket_works_over_tls(
    tmp_path: Path,
    certificate: Certificate,
    tls_catalog: SecretStr,
    tls_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate.file))
    settings = Settings(
        data_dir=tmp_path / "data",
        catalog=verifying(tls_catalog, certificate.file),
        lake=f"{tls_bucket}/lake",
        raw=f"{tls_bucket}/raw",
    )
    create_catalog(settings)
    places = {name: getattr(settings, name) for name in ("catalog", "lake", "raw")}
    engine = engine_at(settings.data_dir, **places)
    engine.ingest(land(engine, FILE), LOG)
    assert_tables_match([FILE], tables(engine))


def test_a_certificate_of_an_unknown_authority_is_refused(
    tmp_path: Path, tls_catalog: SecretStr, tls_bucket: str
) -> None:
    (tmp_path / "other").mkdir()
    other = Certificate(tmp_path / "other")
    with pytest.raises(CatalogUnreachableError, match="certificate verify failed"):
        connect(verifying(tls_catalog, other.file), "test")
    with pytest.raises(BucketUnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
        Bucket(tls_bucket, "LFP_RAW").exists()


def test_workers_get_messages_over_tls(certificate: Certificate, redis_server: RedisServer) -> None:
    pytest.importorskip("celery")
    from lfp_pipeline.dagster_support.celery_app import celery_app  # noqa: PLC0415

    redis_server.stop()
    port = free_port()
    files = ["--tls-cert-file", str(certificate.file), "--tls-key-file", str(certificate.key)]
    redis_server.start("--tls-port", str(port), "--tls-auth-clients", "no", *files)
    place = f"rediss://:{PASSWORD}@localhost:{port}/0"
    trusting = of_broker(f"{place}?ssl_ca_certs={certificate.file}")
    with broker_client(trusting) as client:
        assert client.ping()
    with celery_app(trusting).connection_for_write() as connection:
        connection.ensure_connection(max_retries=1)
        queue = connection.SimpleQueue("test")
        queue.put("a message")
        assert queue.get(timeout=10).payload == "a message"
    with (
        pytest.raises(BrokerUnreachableError, match="ConnectionError"),
        broker_client(of_broker(place)),
    ):
        pass
