"""An HTTP proxy in front of a real store that makes chosen requests fail."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from msgspec.structs import replace

from edge.configuration.settings import S3

Fault = Literal[
    "error",  # 500
    "slow_down",  # 503
    "denied",
    "exists",
    "skewed",
    "no_bucket",
    "reset_body",  # the connection is reset in the middle of the request
    "reply_lost",  # the store did what was asked, and nobody hears of it
    "stall",  # no answer until the proxy ends
    "wrong_etag",
    "truncated",  # the answer ends in the middle
]
FAULTS: tuple[Fault, ...] = ("error", "slow_down", "reset_body", "reply_lost", "wrong_etag", "truncated")

_REFUSALS = {
    "error": (500, "InternalError"),
    "slow_down": (503, "SlowDown"),
    "denied": (403, "AccessDenied"),
    "exists": (412, "PreconditionFailed"),
    "skewed": (403, "RequestTimeTooSkewed"),
    "no_bucket": (404, "NoSuchBucket"),
}


class Request(NamedTuple):
    method: str
    path: str
    query: str

    @property
    def name(self) -> str:
        """The S3 operation: `PUT`, `PUT part`, `POST start`, `POST complete`, `GET`, `GET list`, ..."""
        kinds = {"partNumber": "part", "uploads": "start" if self.method == "POST" else "list", "uploadId": "upload"}
        for key, kind in kinds.items():
            if re.search(rf"(^|&){key}(=|&|$)", self.query):
                return f"{self.method} {'complete' if (self.method, kind) == ('POST', 'upload') else kind}"
        return f"{self.method} list" if "list-type" in self.query else self.method


class FaultProxy:
    """`choose` returns a fault or None for each request; `seen` lists all requests."""

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream)
        self.choose: Callable[[Request], Fault | None] = lambda _: None
        self.seen: list[tuple[Request, Fault | None]] = []
        self.ended = threading.Event()
        self._lock = threading.Lock()

    def fail_once(self, name: str, fault: Fault) -> None:
        """Only the next request of this name fails."""
        left = [fault]
        self.choose = lambda request: left.pop() if left and request.name == name else None

    def fail_always(self, fault: Fault, name: str | None = None) -> None:
        self.choose = lambda request: fault if name in (None, request.name) else None

    def heal(self) -> None:
        self.choose = lambda _: None

    def names(self) -> list[str]:
        return [request.name for request, _ in self.seen]

    def judge(self, request: Request) -> Fault | None:
        with self._lock:
            fault = self.choose(request)
            self.seen.append((request, fault))
            return fault


@contextlib.contextmanager
def running_proxy(settings: S3) -> Iterator[tuple[FaultProxy, S3]]:
    """A proxy in front of the store in `settings`, and settings that use the proxy."""
    proxy = FaultProxy(settings.endpoint_url)

    class Handler(_Handler):
        faults = proxy

    server = _Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy, replace(settings, endpoint_url=f"http://127.0.0.1:{server.server_port}")
    finally:
        proxy.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Ignores clients that were killed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faults: FaultProxy

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        fault = self.faults.judge(Request(self.command, parts.path, parts.query))
        length = int(self.headers.get("Content-Length", 0))
        if fault == "reset_body":
            self.rfile.read(length // 2)
            self._reset()
            return
        body = self.rfile.read(length)
        if fault == "stall":
            self.faults.ended.wait()
            self._reset()
        elif fault in _REFUSALS:
            self._refuse(*_REFUSALS[fault])
        else:
            self._forward(body, fault)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _handle

    def _forward(self, body: bytes, fault: Fault | None) -> None:
        upstream = self.faults.upstream
        connection = http.client.HTTPConnection(upstream.hostname or "", upstream.port, timeout=30)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("expect", "connection"):
                    connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            data = response.read()
        except OSError:
            self._reset()
            return
        finally:
            connection.close()
        if fault == "reply_lost":
            self._reset()
            return
        self._answer(response, data, fault)

    def _answer(self, response: http.client.HTTPResponse, data: bytes, fault: Fault | None) -> None:
        if fault == "wrong_etag":
            data = re.sub(rb"(<ETag>[^0-9a-f]*)[0-9a-f]{32}", rb"\g<1>" + b"0" * 32, data)
        self.send_response_only(response.status)
        for name, value in response.getheaders():
            if name.lower() in ("transfer-encoding", "connection", "content-length"):
                continue
            self.send_header(name, f'"{"0" * 32}"' if fault == "wrong_etag" and name.lower() == "etag" else value)
        length = response.headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length)
        self.end_headers()
        if fault == "truncated":
            self.wfile.write(data[: len(data) // 2])
            self._reset()
        elif self.command != "HEAD":
            self.wfile.write(data)

    def _refuse(self, status: int, code: str) -> None:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>so it was wanted</Message></Error>".encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Date", "Sun, 22 Nov 2026 00:00:00 GMT")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _reset(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
