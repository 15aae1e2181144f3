"""Byte ranges from servers that do not do what they should."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from edge.core.errors import FetchError, StoreSilent
from edge.core.values import Where
from edge.embedded import ports
from query_service.sound import download
from query_service.sound.download import LinkRefused, downloads

DATA = bytes(range(256)) * 40
MEMBER = DATA[1_000:3_000]
WHERE = Where("20260303T220000Z-abcd-000000-0123abcd", "a.flac", 1_000, len(MEMBER), hashlib.sha256(MEMBER).hexdigest())
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.add_routes([web.get("/archive.zip", handler)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/archive.zip"
    finally:
        await runner.cleanup()


def get(handler: Handler, target: Path, where: Where = WHERE) -> int:
    """Fetches the member; gives the bytes that were read."""

    async def run() -> int:
        async with serving(handler) as url, downloads() as downloader:
            await downloader.member(url, where, target)
            return downloader.bytes_read

    return asyncio.run(run())


async def ranged(request: web.Request) -> web.Response:
    span = request.http_range
    return web.Response(status=206, body=DATA[span])


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_FIRST_PAUSE", 0.01)


def test_only_the_members_bytes_are_downloaded(tmp_path: Path) -> None:
    assert get(ranged, tmp_path / "a") == len(MEMBER)
    assert (tmp_path / "a").read_bytes() == MEMBER


def test_a_response_with_the_whole_object_is_rejected(tmp_path: Path) -> None:
    async def everything(_request: web.Request) -> web.Response:
        return web.Response(body=DATA)

    with pytest.raises(FetchError, match="answered 200"):
        get(everything, tmp_path / "a")


@pytest.mark.parametrize("body", [MEMBER[:-1], MEMBER + b"x", b"\0" + MEMBER[1:], b""])
def test_bytes_that_do_not_match_the_manifest_are_rejected(tmp_path: Path, body: bytes) -> None:
    tries = []

    async def other(_request: web.Request) -> web.Response:
        tries.append(1)
        return web.Response(status=206, body=body)

    with pytest.raises(FetchError, match=r"a\.flac: cannot be read"):
        get(other, tmp_path / "a")
    assert len(tries) == 3


def test_an_endless_response_is_cut_off_after_the_requested_bytes(tmp_path: Path) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(status=206)
        await response.prepare(request)
        while sent < 50_000_000:
            await response.write(b"x" * 65_536)
            sent += 65_536
        return response

    with pytest.raises(FetchError, match="more than requested"):
        get(endless, tmp_path / "a")
    assert sent < 20_000_000


def test_an_unreachable_store_is_reported_with_a_hint_for_up(tmp_path: Path) -> None:
    port = ports.choose(None)

    async def run() -> None:
        async with downloads() as downloader:
            await downloader.member(f"http://127.0.0.1:{port}/archive.zip", WHERE, tmp_path / "a")

    with pytest.raises(StoreSilent) as caught:
        asyncio.run(run())
    assert str(caught.value) == (
        f"a.flac: cannot be read: no object store answers at 127.0.0.1:{port} (connection refused);"
        " that of `imhearing up` runs while that does: start it with the same --data"
    )


def test_temporary_download_errors_are_retried(tmp_path: Path) -> None:
    tries = []

    async def moody(request: web.Request) -> web.StreamResponse:
        tries.append(1)
        if len(tries) == 1:
            return web.Response(status=503)
        if len(tries) == 2 and request.transport is not None:
            request.transport.abort()
        return await ranged(request)

    get(moody, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == MEMBER
    assert len(tries) == 3


def test_an_interrupted_download_resumes_where_it_stopped(tmp_path: Path) -> None:
    ranges = []

    async def breaking(request: web.Request) -> web.StreamResponse:
        """The line breaks four times, each time after 300 bytes more."""
        ranges.append(request.headers["Range"])
        if len(ranges) > 4:
            return await ranged(request)
        response = web.StreamResponse(status=206, headers={"Content-Length": str(len(DATA[request.http_range]))})
        await response.prepare(request)
        await response.write(DATA[request.http_range][:300])
        if request.transport is not None:
            await asyncio.sleep(0.05)
            request.transport.close()
        return response

    assert get(breaking, tmp_path / "a") == len(MEMBER)
    assert (tmp_path / "a").read_bytes() == MEMBER
    assert ranges == [f"bytes={start}-2999" for start in (1_000, 1_300, 1_600, 1_900, 2_200)]


def test_a_damaged_download_is_repeated_from_its_start(tmp_path: Path) -> None:
    ranges = []

    async def damaging(request: web.Request) -> web.Response:
        ranges.append(request.headers["Range"])
        return web.Response(status=206, body=b"x" * len(MEMBER)) if len(ranges) == 1 else await ranged(request)

    assert get(damaging, tmp_path / "a") == 2 * len(MEMBER)
    assert (tmp_path / "a").read_bytes() == MEMBER
    assert ranges == ["bytes=1000-2999"] * 2


def test_a_download_that_receives_nothing_is_given_up_after_three_attempts(tmp_path: Path) -> None:
    tries = []

    async def dead(request: web.Request) -> web.StreamResponse:
        tries.append(1)
        response = web.StreamResponse(status=206, headers={"Content-Length": str(len(MEMBER))})
        await response.prepare(request)
        if request.transport is not None:
            request.transport.close()
        return response

    with pytest.raises(FetchError, match=r"a\.flac: cannot be read"):
        get(dead, tmp_path / "a")
    assert len(tries) == 3


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_an_expired_or_refused_link_raises_link_refused(tmp_path: Path, status: int) -> None:
    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=status)

    with pytest.raises(LinkRefused, match=str(status)):
        get(refuse, tmp_path / "a")


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/a", "archive.zip"])
def test_only_http_links_are_followed(tmp_path: Path, url: str) -> None:
    async def run() -> None:
        async with downloads() as downloader:
            await downloader.member(url, WHERE, tmp_path / "a")

    with pytest.raises(FetchError, match="not one to a web address"):
        asyncio.run(run())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_from_the_store_are_not_followed(tmp_path: Path, status: int) -> None:
    paths = []

    async def elsewhere(request: web.Request) -> web.Response:
        paths.append(request.path_qs)
        return web.Response(status=status, headers={"Location": "/archive.zip?internal=1"})

    with pytest.raises(FetchError, match=rf"a\.flac: the store sends elsewhere \({status}\)"):
        get(elsewhere, tmp_path / "a")
    assert paths == ["/archive.zip"]


def test_a_member_name_with_line_breaks_stays_on_one_line(tmp_path: Path) -> None:
    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=403)

    forged = Where(WHERE.archive, "a\nimhearing: all is well\r\n.flac", 0, 1, "0" * 64)
    with pytest.raises(LinkRefused) as refused:
        get(refuse, tmp_path / "a", forged)
    assert len(str(refused.value).splitlines()) == 1
