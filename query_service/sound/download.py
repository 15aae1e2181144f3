"""Byte ranges of stored archives: the only file of the client that speaks HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import aiohttp

from edge.core.backoff import Backoff
from edge.core.errors import FetchError, StoreSilent
from edge.core.values import Where
from query_service.client.http import explain, is_loopback_url

_PIECE = 262_144
_TRIES = 3
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0  # seconds


class LinkRefused(FetchError):
    """The store does not honour the link, or not any more: ask the node for another."""


class _Part:
    """What has come of a member, on disk and in its hash."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    def add(self, piece: bytes) -> None:
        self._digest.update(piece)
        self._file.write(piece)
        self.size += len(piece)

    def is_all_of(self, where: Where) -> bool:
        return self.size == where.length and self._digest.hexdigest() == where.sha256

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._digest, self.size = hashlib.sha256(), 0


class Downloader:
    """Fetches members of archives; counts the bytes that it read."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self.bytes_read = 0

    async def member(self, url: str, where: Where, target: Path) -> None:
        """Writes the member's bytes, and no others, to `target`; they are whole once their SHA-256 was found right.

        Where the line breaks it goes on from there. LinkRefused when the store says no; StoreSilent when three times in
        a row not a byte comes; FetchError when three times something else than what was stored comes.
        """
        silent = damaged = 0
        backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        with target.open("wb") as file:
            part = _Part(file)
            while True:
                before = part.size
                try:
                    await self._go_on(url, where, part)
                except _WrongAnswer as problem:
                    damaged += 1
                    reason = str(problem)
                    part.restart()
                except (aiohttp.ClientError, TimeoutError) as problem:
                    reason = explain(problem)
                    silent = silent + 1 if part.size == before else 0
                    if silent == _TRIES and isinstance(problem, aiohttp.ClientConnectorError):
                        raise _not_there(url, where, reason) from None
                else:
                    return
                if _TRIES in (silent, damaged):
                    kind = StoreSilent if silent == _TRIES else FetchError
                    raise kind(f"{_named(where)}: cannot be read from the store ({reason})")
                await asyncio.sleep(backoff.next_delay())

    async def _go_on(self, url: str, where: Where, part: _Part) -> None:
        if not url.startswith(("https://", "http://")):
            raise FetchError(f"{_named(where)}: its link is not one to a web address")
        first, last = where.offset + part.size, where.offset + where.length - 1
        if first <= last:
            await self._read(url, where, part, first, last)
        if not part.is_all_of(where):
            raise _WrongAnswer("what came is not what was stored: its SHA-256 differs")

    async def _read(self, url: str, where: Where, part: _Part, first: int, last: int) -> None:
        async with self._session.get(
            url, headers={"Range": f"bytes={first}-{last}"}, allow_redirects=False
        ) as response:
            if 300 <= response.status < 400:  # a link may be of anybody's making: it leads to the store or nowhere
                raise FetchError(
                    f"{_named(where)}: the store sends elsewhere ({response.status}), which is not followed; check [s3]"
                    " endpoint_url and s3_region on the node"
                )
            if 400 <= response.status < 500:
                raise LinkRefused(f"{_named(where)}: the store refuses the link ({response.status} {response.reason})")
            if response.status >= 500:
                raise aiohttp.ClientError(f"the store answered {response.status} {response.reason}")
            # rclone's server answers 200, but sends the range, and says so
            ranged = response.headers.get("Content-Range", "").startswith(f"bytes {first}-{last}/")
            if response.status != 206 and not (response.status == 200 and ranged):
                raise _WrongAnswer(f"the store answered {response.status} to a request for a range of bytes")
            async for piece in response.content.iter_chunked(_PIECE):
                self.bytes_read += len(piece)
                if part.size + len(piece) > where.length:
                    raise _WrongAnswer("the store sent more than requested")
                part.add(piece)


def _not_there(url: str, where: Where, reason: str) -> StoreSilent:
    remedy = "is there a way to it from here?"
    if "certificate" in reason.lower():
        remedy = "for a CA of your own, set [s3] ca_file"
    elif is_loopback_url(url):
        remedy = "that of `imhearing up` runs while that does: start it with the same --data"
    return StoreSilent(
        f"{_named(where)}: cannot be read: no object store answers at {urlsplit(url).netloc} ({reason}); {remedy}"
    )


def _named(where: Where) -> str:
    """Its name as given by the node, on one line."""
    return " ".join(where.member.split())[:200]


class _WrongAnswer(Exception):
    """The answer is not the requested bytes."""


def _trusting(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(ca_file)
    except OSError as problem:
        text = problem.strerror or str(problem)
        raise FetchError(f"[s3] ca_file = {ca_file}: cannot be used ({text}); set it to the CA's certificate") from None
    return context


@asynccontextmanager
async def downloads(ca_file: str = "") -> AsyncIterator[Downloader]:
    """A downloader whose connections are kept for its life. `ca_file`: CA certificates to trust besides the system's.

    FetchError when that file cannot be used.
    """
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=30)
    # no unpacking on the way: a range is of the bytes as they lie in the store
    connector = aiohttp.TCPConnector(ssl=_trusting(ca_file)) if ca_file else None
    async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False, connector=connector) as session:
        yield Downloader(session)
