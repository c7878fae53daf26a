"""An http client that stays within the fence and waits for no server that is too slow."""

import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from ssl import SSLContext
from typing import Any

import httpcore
import httpx

from lfp_pipeline.landing.sources import DownloadLimits

# At its level INFO, httpx logs whole URLs, with the secrets in them.
logging.getLogger("httpx").setLevel(logging.WARNING)


def http_client(limits: DownloadLimits) -> httpx.Client:
    """A client for one download.

    A proxy that the environment names is not used: it would resolve the names by itself, and
    connect to where the fence cannot see.
    """
    return httpx.Client(
        transport=_Transport(limits),
        # The bytes as the server stores them: what is compressed is decompressed later.
        headers={"Accept-Encoding": "identity", "User-Agent": "lfp-pipeline"},
    )


class _Transport(httpx.HTTPTransport):
    def __init__(self, limits: DownloadLimits) -> None:
        tls = httpx.create_ssl_context()
        super().__init__(verify=tls)
        # httpx offers no other way to say how connections are made.
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls, network_backend=_FencedNetwork(limits)
        )


class _FencedNetwork(httpcore.NetworkBackend):
    """Connects to the addresses that the fence has seen. TLS and `Host` keep the name."""

    def __init__(self, limits: DownloadLimits) -> None:
        self._limits = limits
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            addresses = self._limits.fence.addresses(host, port)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        # However many there are, they have the time of one.
        share = timeout and timeout / len(addresses)
        connect = partial(
            self._sockets.connect_tcp,
            port=port,
            timeout=share,
            local_address=local_address,
            socket_options=socket_options,
        )
        for address in addresses[:-1]:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return _PacedStream(connect(address), self._limits)
        return _PacedStream(connect(addresses[-1]), self._limits)


class _PacedStream(httpcore.NetworkStream):
    """A connection that is given up when the other side is too slow, be it in headers or content.

    Only the time counts that is spent waiting for bytes, and not what is done with them.
    """

    def __init__(self, stream: httpcore.NetworkStream, limits: DownloadLimits) -> None:
        self._stream = stream
        self._limits = limits
        self._seconds = 0.0
        self._bytes = 0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        started = time.monotonic()
        received = self._stream.read(max_bytes, timeout)
        self._seconds += time.monotonic() - started
        self._bytes += len(received)
        if self._seconds >= self._limits.pace_seconds:
            if self._bytes < self._seconds * self._limits.least_bytes_per_second:
                msg = f"timed out: only {self._bytes:,} bytes came in {self._seconds:,.0f} s"
                raise httpcore.ReadTimeout(msg)
            self._seconds, self._bytes = 0.0, 0
        return received

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        encrypted = self._stream.start_tls(ssl_context, server_hostname, timeout)
        return _PacedStream(encrypted, self._limits)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 (as httpcore has it)
        return self._stream.get_extra_info(info)
