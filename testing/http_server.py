"""A web server on the loopback whose answers a test defines."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from threading import Thread

from lfp_pipeline.common.setting_types import parse_allowed_host
from lfp_pipeline.sources.network_policy import NetworkPolicy


def allowing(*hosts: str) -> NetworkPolicy:
    """Return the policy for a setting `allowed_hosts`."""
    return NetworkPolicy(tuple(map(parse_allowed_host, hosts)))


LOOPBACK = allowing("127.0.0.1")
"""The network policy of downloads from this server."""

Answer = Callable[["Exchange"], None]


class Exchange(BaseHTTPRequestHandler):
    """One request; an answer of the test writes the response."""

    protocol_version = "HTTP/1.1"
    answer: Answer
    requests: list[dict[str, str]]

    def do_GET(self) -> None:
        self.requests.append({"method": self.command, "path": self.path, **dict(self.headers)})
        self.close_connection = True
        type(self).answer(self)

    do_HEAD = do_POST = do_GET  # noqa: N815 (as the base calls it)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base names it so)
        """Keep quiet."""

    def head(self, status: int, **headers: object) -> None:
        """Send the status and headers, given as `Last_Modified="..."`."""
        self.send_response(status)
        self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def whole(self, content: bytes, **headers: object) -> None:
        """Answer 200 with all the content."""
        self.head(200, Content_Length=len(content), **headers)
        self.wfile.write(content)

    def rest(self, content: bytes, **headers: object) -> None:
        """Answer 206 with the bytes of the request's Range."""
        start = self.range_start
        spread = f"bytes {start}-{len(content) - 1}/{len(content)}"
        size = len(content) - start
        self.head(206, **({"Content_Length": size, "Content_Range": spread} | headers))
        self.wfile.write(content[start:])

    def drip(self, content: bytes, pause: float) -> None:
        """Send a byte at a time, with a pause after each."""
        for byte in content:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(pause)

    @property
    def range_start(self) -> int:
        """The first byte of the request's Range; 0 without one."""
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(found[1]) if found else 0


@dataclass
class Server:
    """The port of the server, and the requests that it received."""

    port: int
    requests: list[dict[str, str]] = field(default_factory=list)

    def url(self, path: str = "/products.csv") -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@contextmanager
def serving(*answers: Answer, tls: SSLContext | None = None) -> Iterator[Server]:
    """Answer each request with the next answer; all later ones with the last answer."""
    remaining = list(answers)

    def answer(exchange: Exchange) -> None:
        (remaining.pop(0) if len(remaining) > 1 else remaining[0])(exchange)

    requests: list[dict[str, str]] = []
    handler = type("Handler", (Exchange,), {"answer": staticmethod(answer), "requests": requests})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign] (clients may hang up)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Server(server.server_address[1], requests)
        finally:
            server.shutdown()
            thread.join()


def content_of(content: bytes, **headers: object) -> Answer:
    """Answer with all the content."""
    return lambda exchange: exchange.whole(content, **headers)


def status(code: int, **headers: object) -> Answer:
    """Answer with a status and no content."""
    return lambda exchange: exchange.head(code, Content_Length=0, **headers)


def cut_off(content: bytes, after: int, **headers: object) -> Answer:
    """Answer with the begin of the content, then close the connection."""

    def answer(exchange: Exchange) -> None:
        exchange.head(200, Content_Length=len(content), **headers)
        exchange.wfile.write(content[:after])

    return answer


def rest_of(content: bytes, **headers: object) -> Answer:
    """Answer with the bytes of the request's Range."""
    return lambda exchange: exchange.rest(content, **headers)


def chunked(*chunks: bytes, ended: bool) -> Answer:
    """Answer in chunks without a length, with a last chunk or without."""

    def answer(exchange: Exchange) -> None:
        exchange.head(200, Transfer_Encoding="chunked")
        for chunk in chunks:
            exchange.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        if ended:
            exchange.wfile.write(b"0\r\n\r\n")

    return answer


def dripping(content: bytes, pause: float, **headers: object) -> Answer:
    """Answer a byte at a time."""

    def answer(exchange: Exchange) -> None:
        exchange.head(200, Content_Length=len(content), **headers)
        exchange.drip(content, pause)

    return answer


def dripping_headers(pause: float) -> Answer:
    """Answer with endless headers, a byte at a time."""

    def answer(exchange: Exchange) -> None:
        exchange.wfile.write(b"HTTP/1.1 200 OK\r\n")
        exchange.drip(b"X-More: x\r\n" * 1000, pause)

    return answer
