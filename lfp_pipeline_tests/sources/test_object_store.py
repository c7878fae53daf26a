"""Object stores and file servers: S3 by moto, through a proxy that can interrupt, and FTP."""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.client import HTTPConnection
from itertools import accumulate
from pathlib import Path
from typing import Any

import boto3
import fsspec
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.errors import LandingError
from lfp_pipeline.model.delivery import Delivery, TextFormat
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.sources.base import DownloadLimits
from lfp_pipeline.sources.locations import source_at
from lfp_pipeline.sources.network_policy import NetworkPolicy
from lfp_pipeline.sources.store_settings import store_settings
from testing.engine import LOG
from testing.ftp_server import ftp_serving
from testing.http_server import LOOPBACK, Exchange, Server, allowing, serving
from testing.http_server import status as answer_with_status
from testing.sources import Bytes

LIMITS = DownloadLimits(3, 60, 10**9, longest_pause_seconds=0.01)
BUCKET = "products"
MEGABYTE = 1 << 20
CONTENT = os.urandom(300_000)
LARGE = os.urandom(12 * MEGABYTE)

Disturb = Callable[[Exchange], bool]


@dataclass
class Store:
    """S3 behind a proxy.

    Attributes:
        moto: the port of the server itself.
        direct: a client of the server itself.
        disturb: called before each answer; whether it has answered.
        meanwhile: called while an answer is on its way.
        healthy: so many answers with more than a megabyte are whole.
        cut: so many after them lose their end.
    """

    moto: int
    direct: Any
    disturb: Disturb = lambda _: False
    meanwhile: Callable[[Exchange], None] = lambda _: None
    healthy: int = 0
    cut: int = 0
    requests: list[dict[str, str]] = field(default_factory=list)

    def put(self, key: str, content: bytes, **metadata: str) -> str:
        """Store an object, and return its URL."""
        self.direct.put_object(Bucket=BUCKET, Key=key, Body=content, **metadata)
        return f"s3://{BUCKET}/{key}"

    def answer(self, exchange: Exchange) -> None:
        if self.disturb(exchange):
            return
        with closing(HTTPConnection("127.0.0.1", self.moto, timeout=10)) as connection:
            connection.request(exchange.command, exchange.path, headers=dict(exchange.headers))
            answer = connection.getresponse()
            body = answer.read()
        self.meanwhile(exchange)
        exchange.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name not in {"Connection", "Transfer-Encoding"}:
                exchange.send_header(name, value)
        exchange.send_header("Connection", "close")
        exchange.end_headers()
        if len(body) > MEGABYTE and self.healthy:
            self.healthy -= 1
        elif len(body) > MEGABYTE and self.cut:
            self.cut -= 1
            body = body[: len(body) // 2]
        exchange.wfile.write(body)

    @property
    def ranges(self) -> list[str]:
        return [asked["Range"] for asked in self.requests if "Range" in asked]


@pytest.fixture(scope="module")
def moto() -> Iterator[int]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield server.get_host_and_port()[1]
    finally:
        server.stop()


@pytest.fixture
def store(moto: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Store]:
    direct = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{moto}",
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="hunter2",  # noqa: S106
    )
    direct.create_bucket(Bucket=BUCKET)
    store = Store(moto, direct)
    with serving(store.answer) as server:
        store.requests = server.requests
        for name in os.environ:
            if name.startswith("AWS_") or name.lower().endswith("_proxy"):
                monkeypatch.delenv(name)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url(""))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        # Retries of the client itself take seconds, and are not tested here.
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
        yield store


def land(tmp_path: Path, url: str, limits: DownloadLimits = LIMITS) -> Delivery:
    return RawZone(tmp_path / "raw").land(source_at(url, limits), "products.csv", LOG)


def refusal(tmp_path: Path, url: str, limits: DownloadLimits = LIMITS) -> LandingError:
    with pytest.raises(LandingError) as caught:
        land(tmp_path, url, limits)
    assert not [path for path in (tmp_path / "raw").rglob("*") if path.is_file()]
    assert "hunter2" not in str(caught.value)
    return caught.value


def status(code: int, only: str | None = None) -> Disturb:
    def disturb(exchange: Exchange) -> bool:
        if only not in {None, exchange.command}:
            return False
        exchange.head(code, Content_Length=0)
        return True

    return disturb


def test_an_object_lands_byte_for_byte(tmp_path: Path, store: Store) -> None:
    before = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    url = store.put("folder/products.csv.gz", CONTENT)
    delivery = land(tmp_path, url)
    assert delivery.path.read_bytes() == CONTENT
    assert delivery.source == url
    assert before <= delivery.delivered_at <= utc_now()
    assert land(tmp_path, url) == delivery, "the object has its time from the store"


@pytest.mark.parametrize(
    ("content_type", "charset"),
    [("text/csv; charset=windows-1251", "cp1251"), ("text/csv", None), ("charset=klingon", None)],
)
def test_the_charset_in_the_metadata_of_an_object_is_kept(
    tmp_path: Path, store: Store, content_type: str, charset: str | None
) -> None:
    url = store.put("a.csv", CONTENT, ContentType=content_type)
    assert land(tmp_path, url).text_format == TextFormat(charset=charset)


@pytest.mark.parametrize("key", ["a b.csv", "a%20b.csv", "a+b.csv", "a#b.csv", "ä/ö.csv"])
def test_a_key_is_taken_literally(tmp_path: Path, store: Store, key: str) -> None:
    assert land(tmp_path, store.put(key, key.encode())).path.read_bytes() == key.encode()


def test_an_empty_object_lands(tmp_path: Path, store: Store) -> None:
    assert land(tmp_path, store.put("empty.csv", b"")).size_bytes == 0


def test_a_large_object_is_read_in_chunks_and_once(tmp_path: Path, store: Store) -> None:
    seen: list[tuple[int, int | None]] = []

    class Sink(Bytes):
        def write(self, chunk: bytes) -> None:
            assert len(chunk) <= MEGABYTE

    url = store.put("large.csv", LARGE)
    source_at(url, LIMITS).fetch(Sink(), lambda done, size: seen.append((done, size)))
    assert seen[-1] == (len(LARGE), len(LARGE))
    assert land(tmp_path, url).path.read_bytes() == LARGE
    assert len(store.ranges) == 2 * 2


def test_an_interrupted_download_is_resumed(tmp_path: Path, store: Store) -> None:
    store.healthy, store.cut = 1, 1
    delivery = land(tmp_path, store.put("large.csv", LARGE))
    assert delivery.path.read_bytes() == LARGE
    assert store.cut == 0
    assert len([asked for asked in store.ranges if asked.startswith("bytes=0-")]) == 1


def test_retries_of_interrupted_downloads_are_limited(tmp_path: Path, store: Store) -> None:
    store.cut = 1000
    error = refusal(tmp_path, store.put("large.csv", LARGE), replace(LIMITS, attempts=2))
    assert not error.permanent
    assert "s3://products/large.csv could not be read" in str(error)
    assert "(2 tries.)" in str(error)


@pytest.mark.parametrize("size", [len(LARGE), MEGABYTE])
def test_an_object_that_is_replaced_meanwhile_is_read_again(
    tmp_path: Path, store: Store, size: int
) -> None:
    newer = os.urandom(size)

    def replaced(exchange: Exchange) -> None:
        if exchange.command == "GET":
            store.meanwhile = lambda _: None
            store.put("changing.csv", newer)

    store.meanwhile = replaced
    delivery = land(tmp_path, store.put("changing.csv", LARGE[:size]))
    assert delivery.path.read_bytes() == newer


def test_an_object_that_changes_all_the_time_is_refused(tmp_path: Path, store: Store) -> None:
    def replaced(exchange: Exchange) -> None:
        if exchange.command == "GET":
            store.put("changing.csv", os.urandom(1000))

    store.meanwhile = replaced
    error = refusal(tmp_path, store.put("changing.csv", CONTENT))
    assert not error.permanent
    assert "changed while it was being read" in str(error)


@pytest.mark.parametrize("url", ["s3://products/missing.csv", "s3://no-such-bucket/a.csv"])
def test_a_missing_object_is_not_retried(tmp_path: Path, store: Store, url: str) -> None:
    error = refusal(tmp_path, url)
    assert error.permanent
    assert str(error) == f"{url} is not there."
    assert len([asked for asked in store.requests if asked["method"] == "HEAD"]) == 1


def test_a_permission_error_says_what_to_check(tmp_path: Path, store: Store) -> None:
    url = store.put("a.csv", CONTENT)
    store.disturb = status(403)
    error = refusal(tmp_path, url)
    assert error.permanent
    assert "may not be read" in str(error)
    assert "Check the credentials" in str(error)


def test_the_reason_of_a_store_is_shown_without_secrets(tmp_path: Path, store: Store) -> None:
    url = store.put("a.csv", CONTENT)
    message = "Slow down, https://u:hunter2@host/?X-Amz-Signature=hunter2 of AKIAIOSFODNN7EXAMPLE"
    body = f"<Error><Code>SlowDown</Code><Message>{message}</Message></Error>".encode()

    def slow(exchange: Exchange) -> bool:
        if exchange.command == "GET" and "Range" in exchange.headers:
            exchange.head(503, Content_Length=len(body), Content_Type="application/xml")
            exchange.wfile.write(body)
            return True
        return False

    store.disturb = slow
    error = refusal(tmp_path, url)
    assert not error.permanent
    assert "Slow down, https://host/ of ***" in str(error)


def test_missing_credentials_are_not_retried(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    error = refusal(tmp_path, store.put("a.csv", CONTENT))
    assert error.permanent
    assert "NoCredentialsError" in str(error)
    assert store.requests == []


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A proxy in the environment, which refuses every request."""
    with serving(answer_with_status(403)) as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, server.url(""))
            monkeypatch.setenv(name.lower(), server.url(""))
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("no_proxy", "")
        yield server


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A metadata service for the clients, without credentials."""
    with serving(answer_with_status(404)) as server:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url("/"))
        yield server


def test_the_proxy_of_the_environment_is_not_used(
    tmp_path: Path, store: Store, proxy: Server
) -> None:
    assert land(tmp_path, store.put("a.csv", CONTENT)).path.read_bytes() == CONTENT
    assert proxy.requests == []


def test_the_metadata_service_is_not_used(
    tmp_path: Path, store: Store, metadata: Server, proxy: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    url = store.put("a.csv", CONTENT)
    error = refusal(tmp_path, url)
    assert error.permanent
    assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE" in str(error)
    assert "name 169.254.169.254 in the setting LFP_ALLOWED_HOSTS" in str(error)
    config = tmp_path / ".aws" / "config"
    config.parent.mkdir()
    role = "role_arn = arn:aws:iam::1:role/a\ncredential_source = Ec2InstanceMetadata\n"
    config.write_text(f"[default]\n{role}defaults_mode = auto\n")
    assert refusal(tmp_path, url).permanent
    assert metadata.requests == proxy.requests == store.requests == []


def test_the_metadata_service_is_used_if_a_setting_allows_it(
    tmp_path: Path, store: Store, metadata: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    allowed = replace(LIMITS, network_policy=allowing("169.254.0.0/16"))
    assert refusal(tmp_path, store.put("a.csv", CONTENT), allowed).permanent
    assert metadata.requests


def test_a_client_that_would_use_a_proxy_is_not_started(
    proxy: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for scheme in ("gs", "az", "hf", "oss", "oci"):
        with pytest.raises(LandingError, match=f"{scheme}:// would go through a proxy") as error:
            store_settings(scheme, NetworkPolicy())
        assert "NO_PROXY=*" in str(error.value)
        assert error.value.permanent
    assert store_settings("ftp", NetworkPolicy()) == {}
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    assert store_settings("hf", NetworkPolicy()) == {}
    assert proxy.requests == []


@pytest.mark.usefixtures("store")
def test_the_clients_of_google_and_azure_do_not_use_a_metadata_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in os.environ:
        if name.startswith(("GOOGLE_", "AZURE_", "CLOUDSDK_")):
            monkeypatch.delenv(name)
    assert store_settings("gs", NetworkPolicy()) == {"token": "anon"}
    assert store_settings("az", NetworkPolicy()) == {"anon": True}
    for scheme in ("gs", "az"):
        assert store_settings(scheme, allowing("169.254.169.254")) == {}
    by_gcloud = tmp_path / ".config" / "gcloud" / "application_default_credentials.json"
    by_gcloud.parent.mkdir(parents=True)
    by_gcloud.touch()
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.setenv(name, "x")
    assert store_settings("gcs", NetworkPolicy()) == {"token": "google_default"}
    assert store_settings("abfs", NetworkPolicy()) == {}


def test_a_server_error_of_a_store_is_transient(tmp_path: Path, store: Store) -> None:
    url = store.put("a.csv", CONTENT)
    store.disturb = status(500)
    error = refusal(tmp_path, url)
    assert not error.permanent
    assert "(3 tries.)" in str(error)


def test_a_folder_is_refused(tmp_path: Path, store: Store) -> None:
    store.put("there/a.csv", CONTENT)
    error = refusal(tmp_path, f"s3://{BUCKET}/there")
    assert error.permanent
    assert "is a folder" in str(error)


def test_an_object_above_the_size_limit_is_refused_at_once(tmp_path: Path, store: Store) -> None:
    url = store.put("a.csv", CONTENT)
    error = refusal(tmp_path, url, replace(LIMITS, max_bytes=len(CONTENT) - 1))
    assert error.permanent
    assert "LFP_MAX_DOWNLOAD_BYTES" in str(error)
    assert store.ranges == []


def test_a_download_keeps_within_the_time_limit(tmp_path: Path, store: Store) -> None:
    store.meanwhile = lambda exchange: time.sleep(1.1 if exchange.command == "GET" else 0)
    url = store.put("large.csv", LARGE)
    error = refusal(tmp_path, url, replace(LIMITS, seconds=1))
    assert error.permanent
    assert "LFP_DOWNLOAD_TIMEOUT_SECONDS" in str(error)
    assert len(store.ranges) < 2


@pytest.mark.parametrize("cuts", [[], [1000], [7, 0, 200_000]])
def test_a_file_on_a_server_lands_like_an_object(
    tmp_path: Path, cuts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # FSSPEC_FTP_USERNAME and FSSPEC_FTP_PASSWORD set this when fsspec is imported.
    monkeypatch.setitem(fsspec.config.conf, "ftp", {"username": "ann", "password": "hunter2"})
    with ftp_serving("a.csv", CONTENT, "20261120081952", list(cuts)) as (port, commands):
        url = f"ftp://localhost:{port}/a.csv"
        delivery = land(tmp_path, url, replace(LIMITS, network_policy=LOOPBACK))
    assert delivery.path.read_bytes() == CONTENT
    assert delivery.source == url
    assert commands[:2] == ["USER ann", "PASS hunter2"]
    rests = [int(command[5:]) for command in commands if command.startswith("REST")]
    assert rests == [0, *accumulate(cuts)]


def test_a_missing_file_on_a_server_is_not_retried(tmp_path: Path) -> None:
    with ftp_serving("a.csv", CONTENT, "20261120081952", []) as (port, commands):
        error = refusal(
            tmp_path, f"ftp://127.0.0.1:{port}/b.csv", replace(LIMITS, network_policy=LOOPBACK)
        )
    assert error.permanent
    assert "is not there" in str(error)
    assert len([command for command in commands if command.startswith("USER")]) == 1


@pytest.mark.parametrize(
    ("url", "package", "install"),
    [
        ("s3://bucket/a.csv", "s3fs", "'lfp-pipeline[s3]'"),
        ("gs://bucket/a.csv", "gcsfs", "'lfp-pipeline[gs]'"),
        ("az://container/a.csv", "adlfs", "'lfp-pipeline[az]'"),
        ("abfss://container@account.dfs.core.windows.net/a.csv", "adlfs", "'lfp-pipeline[az]'"),
        ("sftp://127.0.0.1/a.csv", "paramiko", "paramiko"),
    ],
)
def test_a_package_that_is_not_installed_is_named(
    tmp_path: Path, url: str, package: str, install: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = vars(sys.modules["fsspec.registry"])["_registry"]
    monkeypatch.delitem(known, url.partition(":")[0], raising=False)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.sftp", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    error = refusal(tmp_path, url)
    assert error.permanent
    assert str(error).endswith(f"pip install {install}")
