"""The client of the server of a bucket, and what its errors mean.

The client finds credentials, region and endpoint in the AWS_... variables of its environment, or in
the files of AWS. It repeats a request after an error that may pass: a lost connection, a time-out,
or a server that answers 500, 503 or too little.
"""

import os
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from lfp_pipeline.errors import SettingsError

ATTEMPTS = 6

_CONNECT_SECONDS = 10
_READ_SECONDS = 60
_QUICK_SECONDS = 3
_VARIABLES = (
    *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_PROFILE"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
)
DEFAULT_REGION = "us-east-1"


def code_of(error: Exception) -> str:
    """Return the code of an answer of the server; empty: there was no answer."""
    answer = getattr(error, "response", None)
    return str(answer["Error"].get("Code", "")) if isinstance(answer, dict) else ""


def reason(error: Exception) -> str:
    """Return why a request has failed, for people."""
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):
        status = answer["ResponseMetadata"].get("HTTPStatusCode")
        return f"the server answers {status} ({code_of(error)})"
    if isinstance(error, KeyError):
        return f"the answer is not that of an S3 server: it lacks {error}"
    return f"{type(error).__name__}: {error}".rstrip(".")


def client_error() -> type[Exception]:
    """Return the class of the errors with which the server answers."""
    error: type[Exception] = client().exceptions.ClientError
    return error


def endpoint() -> str | None:
    """Return the URL of the server, by the environment; None: that of AWS.

    Raises:
        SettingsError: it is no URL.
    """
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if value := os.environ.get(name):
            parts = urlsplit(value)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                msg = f"{name} = {value!r}: a URL such as https://s3.example"
                raise SettingsError(msg)
            return value
    return None


def client(*, is_quick: bool = False) -> Any:  # noqa: ANN401 (a class that botocore makes)
    """Return the client of this process.

    Args:
        is_quick: it asks once, and waits for seconds only.

    Raises:
        SettingsError: the endpoint is no URL, or a package is missing.
    """
    # A connection must not be used by two processes.
    return _client_of(is_quick, ATTEMPTS, os.getpid(), tuple(map(os.environ.get, _VARIABLES)))


@lru_cache(maxsize=2)
def _client_of(is_quick: bool, attempts: int, *_: object) -> Any:  # noqa: ANN401
    endpoint()
    try:
        from botocore.config import Config  # noqa: PLC0415 (only where a bucket is configured)
        from botocore.session import Session  # noqa: PLC0415
    except ImportError as error:
        msg = "s3:// needs packages that are missing: pip install 'lfp-pipeline[cluster]'"
        raise SettingsError(msg) from error
    config = Config(
        connect_timeout=_QUICK_SECONDS if is_quick else _CONNECT_SECONDS,
        read_timeout=_QUICK_SECONDS if is_quick else _READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 1 if is_quick else attempts},
        max_pool_connections=64,
        tcp_keepalive=True,
        # Not every server knows the newer checksums. Uploads have an MD5, which all know.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = Session()
    region = os.environ.get("AWS_REGION") or session.get_config_variable("region")
    return session.create_client("s3", region_name=region or DEFAULT_REGION, config=config)
