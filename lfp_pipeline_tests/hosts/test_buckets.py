"""The buckets of the settings, on a real S3 server of moto."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer
from pydantic import SecretStr

from examples.processes import free_port
from lfp_pipeline.errors import BucketUnreachableError
from lfp_pipeline.hosts.bucket import Bucket
from lfp_pipeline.hosts.buckets import (
    create_missing_buckets,
    missing_buckets,
    require_conditional_puts,
)
from lfp_pipeline.settings import Settings
from testing.s3_server import Environ, S3Server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the URL of a server, which the environment names."""
    port = free_port()
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()


def settings(tmp_path: Path, prefix: str = "") -> Settings:
    return Settings(
        data_dir=tmp_path,
        catalog=SecretStr("postgresql://lfp@db.example/lfp"),
        lake=f"s3://{prefix}tables/lake",
        raw=f"s3://{prefix}deliveries/raw",
        inbox=f"s3://{prefix}deliveries/inbox",
    )


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
@pytest.mark.slow
@pytest.mark.usefixtures("server")
def test_missing_buckets_are_created_once(
    region: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", region)
    ours = settings(tmp_path, f"{region}-")
    names = [f"{region}-tables", f"{region}-deliveries"]
    assert list(missing_buckets(ours)) == names
    assert create_missing_buckets(ours) == names
    assert missing_buckets(ours) == {}
    assert create_missing_buckets(ours) == []


@pytest.mark.slow
@pytest.mark.usefixtures("server")
def test_a_server_that_does_not_answer_is_named_without_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", place)
    with pytest.raises(BucketUnreachableError) as raised:
        missing_buckets(settings(tmp_path))
    assert "s3://tables/ could not be reached" in str(raised.value)
    assert place in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_settings_without_buckets_ask_no_server(tmp_path: Path) -> None:
    assert missing_buckets(Settings(data_dir=tmp_path)) == {}


def ignore(environ: Environ, in_parts: bool) -> None:
    """Ignore the condition of uploads in parts, or of others."""
    if ("uploadId" in environ["QUERY_STRING"]) == in_parts:
        environ.pop("HTTP_IF_NONE_MATCH", None)


@pytest.mark.parametrize(("honours", "in_parts"), [(True, False), (False, False), (False, True)])
def test_a_server_that_ignores_conditions_is_refused(
    s3_server: S3Server, bucket_place: str, tmp_path: Path, honours: bool, in_parts: bool
) -> None:
    ours = Settings(data_dir=tmp_path, catalog=SecretStr("postgresql://db/lfp"), raw=bucket_place)
    if honours:
        with ThreadPoolExecutor(4) as pool:  # As several hosts at once.
            list(pool.map(lambda _: require_conditional_puts(ours), range(20)))
        assert list(Bucket(bucket_place, "LFP_RAW").objects()) == []
        return
    s3_server.fault = lambda environ: ignore(environ, in_parts)
    with pytest.raises(BucketUnreachableError, match="ignores `If-None-Match"):
        require_conditional_puts(ours)
