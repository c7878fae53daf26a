"""An S3 server for tests: moto's, on loopback, with atomic conditional writes, and with faults."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from uuid import uuid4

import pytest

SLOW_SECONDS = 0.3

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Fault = Callable[[Environ], str | None]
"""Returns the fault of a request, or None.

It is `lost`, `slow`, `truncated`, `page` (of another program), or the status of an error, with or
without a code: `404 NoSuchUpload`.
"""

_PAGE = b"<html><p>Down for maintenance</p></html>"


class ObjectStore:
    """The WSGI application of a server.

    Attributes:
        fault: chooses the fault of each request.
        slow_seconds: how long a slow request takes.
    """

    def __init__(self, slow_seconds: float = SLOW_SECONDS) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app  # noqa: PLC0415

        self.fault: Fault = lambda _: None
        self.slow_seconds = slow_seconds
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._writing = threading.Lock()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        fault = self.fault(environ)
        if fault == "slow":
            time.sleep(self.slow_seconds)
        elif fault == "page":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("200 OK", [("Content-Length", str(len(_PAGE)))])
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [_PAGE]
        elif fault not in {None, "lost", "truncated"}:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            return _error(start_response, f"{fault} FAULT")
        answer = _ignore if fault == "lost" else start_response
        if environ.get("HTTP_IF_NONE_MATCH") == "*":
            with self._writing:
                body = self._create(environ, answer)
        else:
            body = b"".join(self._moto(environ, answer))
        if fault == "lost":
            return _error(start_response, "500 FAULT")
        return [body[: len(body) // 2] if fault == "truncated" else body]

    def _create(self, environ: Environ, answer: StartResponse) -> bytes:
        """Do a request that must not replace an object; moto checks that for single PUTs only."""
        from werkzeug.test import create_environ, run_wsgi_app  # noqa: PLC0415

        url = f"http://{environ['HTTP_HOST']}"
        head = create_environ(environ["PATH_INFO"], method="HEAD", base_url=url)
        _, status, _ = run_wsgi_app(self._moto, head)
        if status.startswith("404"):
            return b"".join(self._moto(environ, answer))
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        body = b"<Error><Code>PreconditionFailed</Code></Error>"
        answer("412 PRECONDITION FAILED", [("Content-Length", str(len(body)))])
        return body


class S3Server:
    """A running server.

    Attributes:
        fault: chooses the fault of each request.
        requests: method and path of each request so far.
    """

    def __init__(self, certificate: tuple[str, str] | None = None) -> None:
        """Start a server, with TLS if there are the files of a certificate and its key."""
        from werkzeug.serving import make_server  # noqa: PLC0415

        self.fault: Fault = lambda _: None
        self.requests: list[tuple[str, str]] = []
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._store = ObjectStore()
        self._store.fault = self._noting
        self._origin = "https://localhost" if certificate else "http://127.0.0.1"
        self._server = make_server(
            "127.0.0.1", 0, self._store, threaded=True, ssl_context=certificate
        )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """The URL of the server."""
        return f"{self._origin}:{self._server.server_port}"

    def fill(self, place: str, names: Iterable[str]) -> None:
        """Put a small object of each name below a place, faster than by requests."""
        from moto.backends import get_backend  # noqa: PLC0415
        from moto.core import DEFAULT_ACCOUNT_ID  # noqa: PLC0415

        bucket, _, prefix = place.removeprefix("s3://").partition("/")
        backend = get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"]
        for name in names:
            backend.put_object(bucket, f"{prefix}/{name}", b"x")

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._thread.join()

    def _noting(self, environ: Environ) -> str | None:
        self.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        return self.fault(environ)


def _error(start_response: StartResponse, status: str) -> list[bytes]:
    code = status.split(" ")[1]
    body = b"" if code == "FAULT" else f"<Error><Code>{code}</Code></Error>".encode()
    start_response(status, [("Content-Length", str(len(body)))])
    return [body]


def _ignore(*_: object) -> None: ...


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """Return a running server."""
    pytest.importorskip("moto")
    server = S3Server()
    yield server
    server.close()


@pytest.fixture
def bucket_place(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the place of a new bucket; this process and its children have credentials for it."""
    s3_server.fault = lambda _: None
    yield bucket_on(s3_server, monkeypatch)
    s3_server.fault = lambda _: None


def bucket_on(server: S3Server, environment: pytest.MonkeyPatch) -> str:
    """Return the place of a new bucket, and put credentials for it into an environment."""
    import boto3  # noqa: PLC0415

    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_REGION"):
        environment.delenv(name, raising=False)
    environment.setenv("AWS_ACCESS_KEY_ID", "a-key")
    environment.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    environment.setenv("AWS_ENDPOINT_URL", server.endpoint)
    name = f"bucket-{uuid4().hex[:12]}"
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=name)
    server.requests.clear()
    return f"s3://{name}/a/prefix"
