"""The Redis server of the workers: where it is, and whether it answers."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lfp_pipeline.errors import BrokerUnreachableError, SettingsError
from lfp_pipeline.settings import Settings

if TYPE_CHECKING:
    import redis

_SECONDS = 5.0


def broker_place(settings: Settings) -> str:
    """Return host and port of the broker, for people."""
    parts = urlsplit(settings.broker.get_secret_value() if settings.broker else "")
    return f"{parts.hostname}:{parts.port or 6379}"


def broker_url(settings: Settings) -> str | None:
    """Return the URL of the broker, a secret; None: none is set.

    By default, Celery accepts any certificate for `rediss://`. So the URL asks for a valid one,
    unless it says otherwise itself.
    """
    if settings.broker is None:
        return None
    url = settings.broker.get_secret_value()
    parts = urlsplit(url)
    if parts.scheme != "rediss" or "ssl_cert_reqs" in parts.query:
        return url
    checked = "ssl_cert_reqs=required&ssl_check_hostname=true"
    return parts._replace(query=f"{parts.query}&{checked}".removeprefix("&")).geturl()


@contextmanager
def broker_client(settings: Settings) -> "Iterator[redis.Redis]":
    """Yield a client of the broker, which has answered.

    Raises:
        SettingsError: no broker is set, or the package redis is not installed.
        BrokerUnreachableError: the broker does not answer, refuses the connection, or ends it
            during the block.
    """
    url = broker_url(settings)
    if url is None:
        msg = "LFP_BROKER is not set: the URL of the Redis server for the workers."
        raise SettingsError(msg)
    try:
        import redis  # noqa: PLC0415 (only where several hosts work together)
    except ImportError as error:
        msg = "LFP_BROKER needs packages that are missing: pip install 'lfp-pipeline[cluster]'"
        raise SettingsError(msg) from error
    client = redis.Redis.from_url(url, socket_connect_timeout=_SECONDS, socket_timeout=_SECONDS)
    try:
        with closing(client):
            client.ping()
            yield client
    except redis.RedisError as error:
        msg = (
            f"The broker at {broker_place(settings)} cannot be used: {type(error).__name__}. Check "
            "that Redis runs, that this host may reach it, and the setting LFP_BROKER."
        )
        raise BrokerUnreachableError(msg) from None  # Its cause may have the password.
