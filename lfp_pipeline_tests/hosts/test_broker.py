"""The broker, with TLS: a certificate counts only if it is valid."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from examples.processes import free_port
from lfp_pipeline.errors import BrokerUnreachableError
from lfp_pipeline.hosts.broker import broker_client, broker_place, broker_url
from lfp_pipeline.settings import Settings
from testing.processes import until
from testing.redis import PASSWORD, missing


@pytest.fixture
def tls_url(tmp_path: Path) -> Iterator[str]:
    """Return the URL of a server with a certificate of its own, `cert.pem` in the folder."""
    if why := missing():
        pytest.skip(why)
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    port = free_port()
    options = {
        "port": "0",
        "tls-port": str(port),
        "tls-cert-file": "cert.pem",
        "tls-key-file": "key.pem",
        "tls-auth-clients": "no",
        "bind": "127.0.0.1",
        "save": "",
        "requirepass": PASSWORD,
    }
    log = tmp_path / "redis.log"
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    with log.open("wb") as file:
        server = subprocess.Popen(["redis-server", *arguments], cwd=tmp_path, stdout=file)
    try:
        until(lambda: "Ready to accept" in log.read_text(), 20)
        yield f"rediss://:{PASSWORD}@localhost:{port}/0"
    finally:
        server.kill()
        server.wait()


def settings_for(url: str, tmp_path: Path) -> Settings:
    catalog = SecretStr("postgresql://lfp@db.example/lfp")
    return Settings(data_dir=tmp_path, catalog=catalog, broker=SecretStr(url))


@pytest.mark.slow
def test_an_invalid_certificate_is_refused_and_a_trusted_one_accepted(
    tls_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dagster_celery")
    monkeypatch.setenv("LFP_DATA_DIR", str(tmp_path))
    import kombu  # noqa: PLC0415

    from lfp_pipeline.dagster_support.celery_app import celery_app  # noqa: PLC0415

    untrusted = settings_for(tls_url, tmp_path)
    with pytest.raises(BrokerUnreachableError, match="localhost:"), broker_client(untrusted):
        pass
    with pytest.raises(kombu.exceptions.OperationalError, match="CERTIFICATE_VERIFY_FAILED"):
        celery_app(untrusted).send_task("any", queue="dagster")
    kombu.pools.reset()  # Connections to one server are shared, whatever their certificates.
    trusted = settings_for(f"{tls_url}?ssl_ca_certs={tmp_path}/cert.pem", tmp_path)
    with broker_client(trusted) as client:
        celery_app(trusted).send_task("any", queue="dagster")
        assert client.llen("dagster") == 1


def test_the_url_itself_may_renounce_the_check(tmp_path: Path) -> None:
    url = "rediss://:pw@redis.example/0?ssl_cert_reqs=none"
    assert broker_url(settings_for(url, tmp_path)) == url
    assert (
        broker_url(settings_for("redis://redis.example/0", tmp_path)) == "redis://redis.example/0"
    )
    assert broker_place(settings_for(url, tmp_path)) == "redis.example:6379"
