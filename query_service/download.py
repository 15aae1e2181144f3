"""Byte ranges of stored archives: the only file of the client that speaks HTTP."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from edge.errors import FetchError
from edge.model import Where

_PIECE = 262_144
_TRIES = 3
_FIRST_PAUSE = 0.5  # seconds, doubled each time


class LinkRefused(FetchError):
    """The store does not honour the link, or not any more: ask the node for another."""


class Downloader:
    """Fetches members of archives; counts the bytes that it read."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self.bytes_read = 0

    async def member(self, url: str, where: Where, target: Path) -> None:
        """Writes the member's bytes, and no others, to `target`, once their SHA-256 has been found right.

        LinkRefused when the store says no; FetchError when it stays away, or sends something else, three times.
        """
        pause = _FIRST_PAUSE
        for attempt in range(1, _TRIES + 1):
            try:
                await self._once(url, where, target)
            except (aiohttp.ClientError, TimeoutError, _Damaged) as problem:
                if attempt == _TRIES:
                    reason = str(problem) or type(problem).__name__
                    raise FetchError(f"{where.member}: cannot be read from the store ({reason})") from None
                await asyncio.sleep(pause)
                pause *= 2
            else:
                return

    async def _once(self, url: str, where: Where, target: Path) -> None:
        if not url.startswith(("https://", "http://")):
            raise FetchError(f"{where.member}: its link is not one to a web address")
        last = where.offset + where.length - 1
        async with self._session.get(url, headers={"Range": f"bytes={where.offset}-{last}"}) as response:
            if 400 <= response.status < 500:
                raise LinkRefused(f"{where.member}: the store refuses the link ({response.status} {response.reason})")
            # rclone's server answers 200, but sends the range, and says so
            ranged = response.headers.get("Content-Range", "").startswith(f"bytes {where.offset}-{last}/")
            if response.status != 206 and not (response.status == 200 and ranged):
                raise _Damaged(f"the store answered {response.status} to a request for a range of bytes")
            digest, size = hashlib.sha256(), 0
            with target.open("wb") as file:
                async for piece in response.content.iter_chunked(_PIECE):
                    size += len(piece)
                    self.bytes_read += len(piece)
                    if size > where.length:
                        raise _Damaged("the store sent more than was asked for")
                    digest.update(piece)
                    file.write(piece)
        if size != where.length or digest.hexdigest() != where.sha256:
            raise _Damaged("what came is not what was stored: its SHA-256 differs")


class _Damaged(Exception):
    """The answer is not the bytes that were asked for."""


@asynccontextmanager
async def downloads() -> AsyncIterator[Downloader]:
    """A downloader whose connections are kept for its life."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=30)
    # no unpacking on the way: a range is of the bytes as they lie in the store
    async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session:
        yield Downloader(session)
