"""An HTTP proxy in front of a real store that makes chosen requests fail, or answers them itself."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
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
    "corrupted",  # the answer has another byte in the middle
    "without_range",  # the answer is the whole object, from `folder`
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


DAY = 86_400.0


class Reply(NamedTuple):
    """An answer of the proxy's own, by a clock that is `ahead` seconds ahead of ours."""

    status: int
    body: str = ""
    content_type: str = "application/xml"
    ahead: float = 0.0


def refusal(status: int, code: str, message: str = "", more: str = "") -> Reply:
    """As S3 words it; `more` elements besides code and message."""
    return Reply(status, f"<Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>")


LOGIN_PAGE = Reply(200, "<!DOCTYPE html><html><body><p>Welcome! Please sign in.<br></body></html>", "text/html")


class Request(NamedTuple):
    method: str
    path: str
    query: str
    headers: Mapping[str, str] = {}  # names in lower case

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
        self.choose: Callable[[Request], Fault | Reply | None] = lambda _: None
        self.seen: list[tuple[Request, Fault | Reply | None]] = []
        self.ended = threading.Event()
        self.folder: Path | None = None  # where the store keeps its objects as files
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

    def judge(self, request: Request) -> Fault | Reply | None:
        with self._lock:
            fault = self.choose(request)
            self.seen.append((request, fault))
            return fault


@contextlib.contextmanager
def running_proxy(settings: S3, certificate: Path | None = None) -> Iterator[tuple[FaultProxy, S3]]:
    """A proxy in front of the store in `settings`, and settings that use the proxy.

    `certificate`: a folder with `server.crt` and `server.key`, for localhost; the proxy then speaks TLS.
    """
    proxy = FaultProxy(settings.endpoint_url)

    class Handler(_Handler):
        faults = proxy

    server = _Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    url = f"http://127.0.0.1:{server.server_port}"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate / "server.crt", certificate / "server.key")
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        url = f"https://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy, replace(settings, endpoint_url=url)
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
        headers = {name.lower(): value for name, value in self.headers.items()}
        fault = self.faults.judge(Request(self.command, parts.path, parts.query, headers))
        length = int(self.headers.get("Content-Length", 0))
        if fault == "reset_body":
            self.rfile.read(length // 2)
            self._reset()
            return
        body = self.rfile.read(length)
        if fault == "stall":
            self.faults.ended.wait()
            self._reset()
        elif isinstance(fault, Reply):
            self._reply(fault)
        elif fault == "without_range":
            self._send_whole(parts.path)
        elif fault in _REFUSALS:
            status, code = _REFUSALS[fault]
            self._reply(refusal(status, code, "so it was wanted")._replace(ahead=-DAY if fault == "skewed" else 0.0))
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
        if fault == "corrupted" and data:
            data = _with_one_bit_flipped(data)
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

    def _reply(self, reply: Reply) -> None:
        body = reply.body.encode()
        self.send_response_only(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Date", self.date_time_string(time.time() + reply.ahead))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_whole(self, path: str) -> None:
        assert self.faults.folder is not None
        data = (self.faults.folder.parent / path.lstrip("/")).read_bytes()
        self.send_response_only(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _reset(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


def _with_one_bit_flipped(data: bytes) -> bytes:
    flipped = bytearray(data)
    flipped[len(flipped) // 2] ^= 1
    return bytes(flipped)
