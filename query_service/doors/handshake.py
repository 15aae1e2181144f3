"""What comes before TLS: somebody who does not speak it gets an answer that a browser understands."""

from __future__ import annotations

import asyncio
import re
import socket

_TLS = b"\x16"  # a handshake record begins so: RFC 8446, 5.1
_MOST = 8_192  # bytes of a request's head
_HEAD = re.compile(
    rb"(?:GET|HEAD) (/[!-~]*) HTTP/1\.[01]\r\n(?:.*\r\n)*?host: *([A-Za-z0-9.:\[\]-]+) *\r\n", re.IGNORECASE
)
_HINT = b"This port speaks TLS: the address begins with https://\n"


async def speaks_tls(taken: socket.socket) -> bool:
    """Whether the other side begins a handshake. Waits for its first byte; takes none."""
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()

    def on_readable() -> None:
        if not readable.done():
            readable.set_result(None)

    loop.add_reader(taken, on_readable)
    try:
        await readable
    finally:
        loop.remove_reader(taken)
    return taken.recv(1, socket.MSG_PEEK) == _TLS


async def refuse_plain(taken: socket.socket) -> None:
    """Answers a request that came without TLS. OSError."""
    loop, head = asyncio.get_running_loop(), b""
    while b"\r\n\r\n" not in head and len(head) < _MOST and (piece := await loop.sock_recv(taken, _MOST)):
        head += piece
    if head:
        await loop.sock_sendall(taken, plain_answer(head))


def plain_answer(head: bytes) -> bytes:
    """Leads a browser to the same address with https://; others learn what is wrong."""
    found = _HEAD.match(head)
    where = b"308 Permanent Redirect\r\nLocation: https://" + found[2] + found[1] if found else b"400 Bad Request"
    return b"HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (
        where, len(_HINT), _HINT,
    )  # fmt: skip
