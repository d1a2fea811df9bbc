"""A small HTTP server on loopback for pages, numbers and health; it only reads.

Answers carry headers by which a browser runs nothing but our own files. A request whose Host is
not this machine is refused: a page of another site may not read a lake through a user's browser.
The standard library's server: flows serve numbers by it too, and need no package for that.
"""

from __future__ import annotations

import hmac
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit

import structlog

from lakehouse.core.errors import LakehouseError, ServiceUnavailable
from lakehouse.core.health import HEALTH
from lakehouse.core.text import as_json, sayable

HOST = "127.0.0.1"
_OURS = {"127.0.0.1", "localhost", "::1"}
_AT_ONCE = 64
"""Connections that are open at once; more are refused."""
_PATIENCE = 15.0
"""Seconds that a connection may be silent."""
_COOKIE = "lakehouse"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
log = structlog.get_logger("lakehouse")


@dataclass(frozen=True)
class Request:
    """What is asked: the path as it is decoded, and the query's first values."""

    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    accept: str = ""


@dataclass(frozen=True)
class Answer:
    """A body, its media type, and a tag by which a browser asks whether it changed."""

    body: bytes
    kind: str = "application/json; charset=utf-8"
    status: int = 200
    tag: str = ""

    @classmethod
    def json(cls, value: object, status: int = 200, tag: str = "") -> Answer:
        """A value as JSON."""
        return cls(as_json(value).encode(), status=status, tag=tag)


Route = Callable[[Request], Answer]
OPEN = ("/health/live", "/health/ready")
"""What a token is not asked for."""


def health_routes(faults: Callable[[], list[str]] = HEALTH.faults) -> dict[str, Route]:
    """``/health/live`` and ``/health/ready``: 200, or 503 with the reasons."""

    def ready(_request: Request) -> Answer:
        found = faults()
        return Answer.json({"ready": not found, "reasons": found}, 503 if found else 200)

    return {"/health/live": lambda _: Answer.json({"live": True}), "/health/ready": ready}


@contextmanager
def served(port: int, routes: Mapping[str, Route], token: str = "") -> Iterator[str]:
    """Serve in threads of its own; gives the address. ``port`` 0 takes a free one.

    A route is a path; one that ends in ``/`` answers for all below it. With a ``token`` every
    request but for health needs it, as a bearer's, or once as ``?token=``, which sets a cookie.
    """
    try:
        server = _Server((HOST, port), partial(_Handler, routes=routes, token=token))
    except OSError as error:
        raise ServiceUnavailable(
            f"port {port}", f"cannot be listened on: {error.strerror}",
            "end what uses it, or name another port",
        ) from None  # fmt: skip
    thread = threading.Thread(target=server.serve_forever, name="http", daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = _AT_ONCE

    def __init__(self, *given: object) -> None:
        self._room = threading.BoundedSemaphore(_AT_ONCE)
        self._open: set[socket.socket] = set()
        super().__init__(*given)  # type: ignore[arg-type]  # as the base takes them

    def process_request(self, request: object, client_address: object) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)  # type: ignore[arg-type]  # as the base has it
            return
        super().process_request(request, client_address)  # type: ignore[arg-type]  # as above

    def process_request_thread(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)  # noqa: S101  # a TCP server's
        self._open.add(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._open.discard(request)
            self._room.release()

    def server_close(self) -> None:
        """Listen no more, and end the connections that browsers keep open."""
        super().server_close()
        for connection in [*self._open]:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """A viewer that went away is no fault of ours."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "lakehouse", ""
    timeout = _PATIENCE

    def __init__(self, *given: object, routes: Mapping[str, Route], token: str) -> None:
        self._routes, self._token = routes, token
        super().__init__(*given)  # type: ignore[arg-type]  # as the base takes them

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_GET  # noqa: N815  # the base's name

    def log_message(self, format: str, *args: object) -> None:  # the base's name
        """Say nothing: a request is no event of a flow."""

    def _answer(self) -> None:
        target = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(target.query).items()}
        if not self._is_of_this_machine():
            self._send(_words(HTTPStatus.BAD_REQUEST, "this server answers for this machine alone"))
        elif self._token and target.path not in OPEN and not self._is_known(query):
            self._send(_words(HTTPStatus.UNAUTHORIZED, "a token is needed: open /?token=TOKEN"))
        elif self._token and "token" in query:
            cookie = f"{_COOKIE}={quote(self._token)}; HttpOnly; SameSite=Strict; Path=/"
            self._send(Answer(b"", status=303), {"Location": "/", "Set-Cookie": cookie})
        else:
            asked = Request(unquote(target.path), query, self.headers.get("Accept", ""))
            self._send(answered(self._routes, asked))

    def _is_of_this_machine(self) -> bool:
        with suppress(ValueError):
            return urlsplit(f"//{self.headers.get('Host', '')}").hostname in _OURS
        return False

    def _is_known(self, query: Mapping[str, str]) -> bool:
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        cookies = SimpleCookie()
        with suppress(CookieError):
            cookies.load(self.headers.get("Cookie", ""))
        held = cookies[_COOKIE].value if _COOKIE in cookies else ""
        given = (bearer, query.get("token", ""), held)
        wanted = (self._token, self._token, quote(self._token))
        return any(hmac.compare_digest(a.encode(), b.encode())
                   for a, b in zip(given, wanted, strict=True))  # fmt: skip

    def _send(self, answer: Answer, more: Mapping[str, str] | None = None) -> None:
        tag = json.dumps(answer.tag) if answer.tag else ""
        is_same = tag and self.headers.get("If-None-Match") == tag
        body = b"" if is_same else answer.body
        self.send_response(304 if is_same else answer.status)
        told = {**HEADERS, **(more or {}), "Content-Type": answer.kind,
                "Cache-Control": "no-cache", "Content-Length": str(len(body))}  # fmt: skip
        if tag:
            told["ETag"] = tag
        for name, value in told.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def answered(routes: Mapping[str, Route], request: Request) -> Answer:
    """What the route of a path answers; of a fault its words, of a defect of ours that alone."""
    route = routes.get(request.path) or next(
        (r for path, r in routes.items() if path[-1] == "/" != path
         and request.path.startswith(path)), None,
    )  # fmt: skip
    if route is None:
        return _words(HTTPStatus.NOT_FOUND, "there is no such page")
    try:
        return route(request)
    except LakehouseError as error:
        told = {"place": error.place, "fault": error.fault, "fix": error.remedy}
        return Answer.json({"error": {n: sayable(text) for n, text in told.items()}}, 503)
    except Exception:  # the page says that; the log says what
        log.exception("a page could not be made", path=sayable(request.path[:200]))
        return _words(HTTPStatus.INTERNAL_SERVER_ERROR, "a fault of ours: the log says more")


def _words(status: HTTPStatus, text: str) -> Answer:
    return Answer(f"{text}\n".encode(), "text/plain; charset=utf-8", int(status))
