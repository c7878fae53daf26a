"""The server: which requests it accepts, and its answers."""

import ipaddress
import json
import re
import sys
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, urlencode, urlsplit

from examples.feed_server.conditions import is_known, wanted_bytes
from examples.feed_server.faults import Faults
from examples.feed_server.form import CONTENT_TYPE, MAX_BODY_BYTES, check, product_in
from examples.feed_server.page import CONTENT_SECURITY_POLICY, find, find_one, render
from examples.feed_server.shop import NO_PRODUCT, Product, Shop, ShopError

_PAGE_NUMBER = re.compile(r"[1-9]\d{0,5}", re.ASCII)
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)
_DONE = {"changed": "has been changed.", "added": "has been added."}
_JSON = "application/json"
_HTML = "text/html; charset=utf-8"
_TEXT = "text/plain; charset=utf-8"
_SAFETY = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class FeedServer(ThreadingHTTPServer):
    """Serves one shop; each request in a thread of its own."""

    daemon_threads = True  # A slow reader does not keep the server from ending.
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], shop: Shop, title: str, faults: Faults) -> None:
        super().__init__(address, _Handler)
        self.shop, self.title, self.faults = shop, title, faults

    @property
    def url(self) -> str:
        """The address of the server."""
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 (the base's)
        """Print errors, except that a client has hung up."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    server: FeedServer

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        try:
            match path:
                case "/sense" if self._is_cross_site:
                    self._answer(
                        HTTPStatus.FORBIDDEN, "Pages of other sites may not ask for changes."
                    )
                case "/sense":
                    changed = self.server.shop.take_change()
                    self._answer(HTTPStatus.OK, json.dumps({"changed": changed}), _JSON)
                case "/read":
                    self._read()
                case "/":
                    self._show_page(dict(parse_qsl(query)))
                case _:
                    self._answer(HTTPStatus.NOT_FOUND, "There are /, /sense and /read.")
        except ShopError as error:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, str(error))

    def do_POST(self) -> None:
        if refusal := self._refusal():
            # The body was not read, so the next bytes on this connection are no request.
            self._answer(*refusal, headers={"Connection": "close"})
            return
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        try:
            self._update(body)
        except ShopError as error:
            self._answer(HTTPStatus.CONFLICT, str(error))

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Print all requests except polls, which come every few seconds."""
        if " /sense " not in self.requestline:
            super().log_request(code, size)

    def _read(self) -> None:
        with self.server.shop.newest() as (file, version):
            headers = {
                "ETag": version.etag,
                "Last-Modified": version.last_modified,
                "Accept-Ranges": "bytes",
                "Cache-Control": "no-cache",
            }
            if is_known(version, self.headers):
                self._head(HTTPStatus.NOT_MODIFIED, headers)
                return
            wanted = wanted_bytes(version, self.headers)
            if wanted is not None and not wanted:
                spread = {"Content-Range": f"bytes */{version.size}"}
                self._answer(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers=headers | spread)
                return
            status = HTTPStatus.OK
            if wanted is not None:
                status = HTTPStatus.PARTIAL_CONTENT
                headers["Content-Range"] = f"bytes {wanted[0]}-{wanted[-1]}/{version.size}"
            wanted = range(version.size) if wanted is None else wanted
            headers |= {
                "Content-Type": "text/csv; charset=utf-8",
                "Content-Length": str(len(wanted)),
            }
            self._head(status, headers)
            self._send(file, wanted)

    def _send(self, file: BinaryIO, wanted: range) -> None:
        faults = self.server.faults
        sent = wanted[: faults.cut_after] if faults.breaks_now() else wanted
        file.seek(sent.start)
        remaining = len(sent)
        while remaining and (chunk := file.read(min(remaining, faults.chunk_bytes))):
            self.wfile.write(chunk)
            remaining -= len(chunk)
            faults.pause(chunk)
        # Bytes are missing, also where the file was truncated meanwhile.
        self.close_connection |= bool(remaining) or sent != wanted

    def _update(self, body: bytes) -> None:
        product = NO_PRODUCT
        try:
            product = product_in(body)
            check(product)
        except ValueError as error:
            self._show_page({}, HTTPStatus.UNPROCESSABLE_ENTITY, product, str(error))
            return
        done = "changed" if self.server.shop.update(product) else "added"
        query = urlencode({"sku": product.sku, "done": done})
        self._answer(HTTPStatus.SEE_OTHER, headers={"Location": f"/?{query}"})

    def _show_page(
        self,
        asked: Mapping[str, str],
        status: HTTPStatus = HTTPStatus.OK,
        form: Product = NO_PRODUCT,
        error: str = "",
    ) -> None:
        shop, sku = self.server.shop, asked.get("sku", "")
        page = asked.get("page", "")
        number = int(page) if _PAGE_NUMBER.fullmatch(page) else 1
        listing = find(shop.products(), asked.get("q", ""), number)
        if sku:
            form = find_one(shop.products(), sku) or Product(sku, "", "")
        message = f"{sku} {_DONE[asked['done']]}" if asked.get("done") in _DONE else ""
        html = render(self.server.title, form, listing, message, error)
        self._answer(status, html, _HTML)

    def _refusal(self) -> tuple[HTTPStatus, str] | None:
        """Return why a change is refused before its body is read; None: it is not."""
        length = self.headers.get("Content-Length", "")
        if self.path != "/update":
            return HTTPStatus.NOT_FOUND, "Changes go to /update."
        if not self._is_from_own_page():
            return HTTPStatus.FORBIDDEN, "Only the page of this server may change products."
        if self.headers.get_content_type() != CONTENT_TYPE:
            return HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"A change is {CONTENT_TYPE}."
        if not _LENGTH.fullmatch(length) or "Transfer-Encoding" in self.headers:
            return HTTPStatus.LENGTH_REQUIRED, "The Content-Length is missing."
        if int(length) > MAX_BODY_BYTES:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"At most {MAX_BODY_BYTES:,} bytes."
        return None

    @property
    def _is_cross_site(self) -> bool:
        """Whether a browser says that the page of another site sends the request."""
        return self.headers.get("Sec-Fetch-Site", "none") not in {"same-origin", "none"}

    def _is_from_own_page(self) -> bool:
        """Whether the browser says that our own page sends the request.

        A foreign page can point its own host name to this address, and then looks like ours (DNS
        rebinding). So the host must be an address or localhost.
        """
        host = self.headers.get("Host", "")
        return (
            not self._is_cross_site
            and self.headers.get("Origin") == f"http://{host}"
            and _is_safe_host(host)
        )

    def _answer(
        self,
        status: HTTPStatus,
        text: str = "",
        content_type: str = _TEXT,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        body = text.encode(errors="replace")
        own = {
            "Content-Type": content_type,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
        }
        self._head(status, {**own, **(headers or {})})
        self.wfile.write(body)

    def _head(self, status: HTTPStatus, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**_SAFETY, **headers}.items():
            self.send_header(name, value)
        self.end_headers()


def _is_safe_host(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ipaddress.ip_address(name))
    except ValueError:
        return False
