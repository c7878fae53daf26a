"""The object store: a program, whose faults are set by `PUT /_faults` with `Faults` as JSON.

Objects are in memory, so they last as long as the process.
"""

import argparse
import json
import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import httpx
from werkzeug.serving import make_server

from testing.s3_server import Environ, ObjectStore, StartResponse

ERROR_500 = "500"
ERROR_503 = "503"
LOST = "lost"
"""The request is done, but its answer is an error."""
SLOW = "slow"
TRUNCATED = "truncated"
"""Half of the body of an answer is missing."""

_FAULTS_PATH = "/_faults"
_SLOW_SECONDS = 1.5


@dataclass(frozen=True)
class Faults:
    """The faults of a store: this share of the requests has one of these kinds."""

    kinds: tuple[str, ...] = ()
    share: float = 0.0
    seed: int = 0


class FaultyStore(ObjectStore):
    """A store whose faults can be set from outside."""

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != _FAULTS_PATH:
            return super().__call__(environ, start_response)
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        self._draw(Faults(**json.loads(body)))
        start_response("204 NO CONTENT", [("Content-Length", "0")])
        return []

    def _draw(self, faults: Faults) -> None:
        chance = random.Random(faults.seed)

        def fault(_: Environ) -> str | None:
            return chance.choice(faults.kinds) if chance.random() < faults.share else None

        self.fault = fault


def set_faults(endpoint: str, faults: Faults) -> None:
    """Set the faults of a running store."""
    httpx.put(f"{endpoint}{_FAULTS_PATH}", json=asdict(faults), timeout=10).raise_for_status()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    given = parser.parse_args()
    store = FaultyStore(_SLOW_SECONDS)
    make_server(given.address, given.port, store, threaded=True).serve_forever()


if __name__ == "__main__":
    main()
