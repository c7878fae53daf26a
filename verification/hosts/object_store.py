"""The object store: moto's server with conditional writes that are atomic, and with faults.

`PUT /_faults` with `Faults` as JSON sets the faults of the requests from then on. Objects are in
memory, so they last as long as the process.
"""

import argparse
import json
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import httpx
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
from werkzeug.test import create_environ, run_wsgi_app

ERROR_500 = "500"
ERROR_503 = "503"
LOST = "lost"
"""The request is done, but its answer is an error."""
SLOW = "slow"
TRUNCATED = "truncated"
"""Half of the body of an answer is missing."""

KINDS = (ERROR_500, ERROR_503, LOST, SLOW, TRUNCATED)

_FAULTS_PATH = "/_faults"
_SLOW_SECONDS = 1.5
_READY_SECONDS = 30

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


@dataclass(frozen=True)
class Faults:
    """The faults of a store: this share of the requests has one of these kinds."""

    kinds: tuple[str, ...] = ()
    share: float = 0.0
    seed: int = 0


class ObjectStore:
    """The WSGI application."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._conditional = threading.Lock()
        self._set(Faults())

    def _set(self, faults: Faults) -> None:
        self._faults, self._chance = faults, random.Random(faults.seed)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == _FAULTS_PATH:
            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            self._set(Faults(**json.loads(body)))
            return _answer(start_response, "204 NO CONTENT")
        has_fault = self._chance.random() < self._faults.share
        kind = self._chance.choice(self._faults.kinds) if has_fault else None
        if kind == SLOW:
            time.sleep(_SLOW_SECONDS)
        if kind == ERROR_500:
            return _answer(start_response, "500 INTERNAL SERVER ERROR")
        if kind == ERROR_503:
            return _answer(start_response, "503 SLOW DOWN")
        if environ.get("HTTP_IF_NONE_MATCH") != "*":
            body = self._moto(environ, start_response)
        else:
            with self._conditional:
                body = self._create(environ, start_response)
        if kind == LOST:
            _exhaust(body)
            return _answer(start_response, "500 INTERNAL SERVER ERROR")
        return _first_half(body) if kind == TRUNCATED else body

    def _create(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Do a request that must not replace an object; moto checks that for single PUTs only."""
        head = create_environ(environ["PATH_INFO"], method="HEAD", base_url=_base_url(environ))
        _, status, _ = run_wsgi_app(self._moto, head)
        if not status.startswith("404"):
            return _answer(start_response, "412 PRECONDITION FAILED", "PreconditionFailed")
        return [b"".join(self._moto(environ, start_response))]


def _base_url(environ: Environ) -> str:
    return f"http://{environ['HTTP_HOST']}"


def _answer(start_response: StartResponse, status: str, code: str = "") -> list[bytes]:
    body = f"<Error><Code>{code}</Code></Error>".encode() if code else b""
    start_response(status, [("Content-Length", str(len(body)))])
    return [body]


def _exhaust(body: Iterable[bytes]) -> None:
    for _ in body:
        pass


def _first_half(body: Iterable[bytes]) -> Iterator[bytes]:
    whole = b"".join(body)
    yield whole[: len(whole) // 2]


def set_faults(endpoint: str, faults: Faults) -> None:
    """Set the faults of a running store."""
    httpx.put(f"{endpoint}{_FAULTS_PATH}", json=asdict(faults), timeout=10).raise_for_status()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    given = parser.parse_args()
    server = make_server(given.address, given.port, ObjectStore(), threaded=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
