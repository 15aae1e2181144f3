"""The HTTP door with TLS: real handshakes, silent and plain connections beside them, certificates that are wrong."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from msgspec.structs import replace

from edge.configuration.settings import Http, Secret, Settings
from edge.core.errors import CertificateFault, ConfigError
from query_service.answer.node_answers import NodeAnswers
from query_service.client.http import HttpClient
from query_service.doors import http_listener
from query_service.doors.http import HttpDoor, check_settings
from query_service.doors.page_routes import PageRoutes
from query_service.doors.sessions import password_hash
from query_service.page.link import page_address
from query_service.queries.protocol import Request
from query_service.queries.status import StatusAnswer
from query_service.sound.stream import StreamSource
from tests.support.messaging.http_door import TOKEN, fake_http_door
from tests.support.messaging.odd_brokers import make_certificate
from tests.support.nodes.query_node import QueryNode
from tests.support.silent_peers import silent_peers
from tests.support.wait import DEADLINE

PASSWORD = "correct horse"
HELLO = b"\x16\x03\x01\x02\x00\x01"  # the beginning of a handshake


@pytest.fixture
def http(certificates: Path) -> Http:
    certificate, key = certificates / "server.crt", certificates / "server.key"
    return Http(certificate=str(certificate), key=str(key), owner_password=Secret(password_hash(PASSWORD)))


@pytest.fixture
def settings(tmp_path: Path, http: Http) -> Settings:
    return replace(QueryNode(tmp_path / "data", chunks=3).with_doors(), http=http)


@pytest.fixture
def trusting(certificates: Path) -> ssl.SSLContext:
    """A client that knows the CA, as a browser would."""
    context = ssl.create_default_context(cafile=certificates / "ca.crt")
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # a CA of plain openssl
    return context


@asynccontextmanager
async def door(settings: Settings) -> AsyncIterator[int]:
    http = replace(settings.http, port=0)
    answers = NodeAnswers(settings)
    page = PageRoutes("porch", http, "key", StreamSource(answers.inside, answers.bits_of), "UTC")
    opened = HttpDoor("porch", answers.answer, http, None, page)
    try:
        async with opened.open():
            assert opened.address.startswith("https://127.0.0.1:")
            yield int(opened.address.rpartition(":")[2])
    finally:
        await answers.close()


async def until_closed(readers: list[asyncio.StreamReader], but: int) -> None:
    """Waits until the other side has closed all of these connections `but` a few."""
    waiting = {asyncio.ensure_future(reader.read()) for reader in readers}
    while len(waiting) > but:
        _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def plain(port: int, sent: bytes) -> bytes:
    """All that the other side answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        async with asyncio.timeout(DEADLINE):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def test_a_browser_logs_in_over_tls_and_its_cookie_goes_nowhere_else(
    settings: Settings, trusting: ssl.SSLContext
) -> None:
    async def run() -> None:
        async with door(settings) as port:
            url = f"https://localhost:{port}"
            connector = aiohttp.TCPConnector(ssl=trusting)
            async with aiohttp.ClientSession(url, connector=connector, headers={"Origin": url}) as session:
                async with session.post("/session", json={"password": PASSWORD}) as response:
                    assert response.status == 200
                    cookie = response.headers["Set-Cookie"]
                assert {"Secure", "HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
                async with session.get("/session") as response:
                    assert (await response.json())["role"] == "owner"
                origin = {"Origin": url.replace("https", "http")}
                async with session.post("/session", json={"password": PASSWORD}, headers=origin) as response:
                    assert response.status == 403

    asyncio.run(run())


def test_each_connection_is_served_after_others_have_ended(settings: Settings, trusting: ssl.SSLContext) -> None:
    async def run() -> list[int]:
        async with door(settings) as port:
            url = f"https://localhost:{port}"
            found = []
            for _ in range(5):
                connector = aiohttp.TCPConnector(ssl=trusting, force_close=True)
                async with (
                    aiohttp.ClientSession(url, connector=connector, headers={"Connection": "close"}) as session,
                    session.get("/session") as response,
                ):
                    found.append(response.status)
            return found

    assert asyncio.run(run()) == [200] * 5


@pytest.mark.parametrize("sent", [b"", HELLO, b"GET / HTTP/1.1\r\n"])
def test_many_silent_connections_keep_nobody_waiting(
    http: Http, trusting: ssl.SSLContext, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_listener, "HANDSHAKE_SECONDS", 10 * DEADLINE)

    async def run() -> None:
        async with fake_http_door(replace(http, token=TOKEN)) as url:
            port = int(url.rpartition(":")[2])
            ours = {"Authorization": f"Bearer {TOKEN.reveal()}"}
            connector = aiohttp.TCPConnector(ssl=trusting)
            async with (
                asyncio.timeout(DEADLINE),
                aiohttp.ClientSession(f"https://localhost:{port}", connector=connector, headers=ours) as kept,
                silent_peers(port, 3 * http_listener.MAX_HANDSHAKES, sent) as readers,
            ):
                for _ in range(3):
                    async with kept.get("/status") as response:
                        assert response.status == 422
                await until_closed(readers, but=http_listener.MAX_HANDSHAKES)

    asyncio.run(run())


@pytest.mark.parametrize("sent", [b"", HELLO, b"GET / HTTP/1.1\r\n"])
def test_a_handshake_that_is_not_finished_is_given_up(http: Http, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_listener, "HANDSHAKE_SECONDS", 0.2)

    async def run() -> None:
        async with fake_http_door(http) as url:
            assert b"HTTP/1.1 200" not in await plain(int(url.rpartition(":")[2]), sent)

    asyncio.run(run())


def test_http_on_the_tls_port_leads_to_https(http: Http) -> None:
    async def run() -> None:
        async with fake_http_door(http) as url:
            port = int(url.rpartition(":")[2])
            answer = await plain(port, b"GET /?x=1 HTTP/1.1\r\nHost: localhost:%d\r\n\r\n" % port)
            assert answer.startswith(b"HTTP/1.1 308 ")
            assert b"Location: https://localhost:%d/?x=1\r\n" % port in answer
            answer = await plain(port, b"POST /session HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
            assert answer.startswith(b"HTTP/1.1 400 ")

    asyncio.run(run())


@pytest.mark.parametrize("sent", [b"\x16" * 3_000, HELLO + b"\0" * 600, b"\x80\x2e\x01\x03\x01", b"\xff" * 9_000])
def test_garbage_on_the_tls_port_disturbs_nobody(
    http: Http, trusting: ssl.SSLContext, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with fake_http_door(replace(http, token=TOKEN)) as url:
            port = int(url.rpartition(":")[2])
            await asyncio.gather(*(plain(port, sent) for _ in range(20)))
            connector = aiohttp.TCPConnector(ssl=trusting)
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.get(f"https://localhost:{port}/status") as response,
            ):
                assert response.status == 401

    asyncio.run(run())
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


def test_a_client_that_breaks_off_within_the_handshake_leaves_nothing_behind(http: Http) -> None:
    async def run() -> None:
        async with fake_http_door(http) as url:
            port = int(url.rpartition(":")[2])
            for _ in range(2 * http_listener.MAX_HANDSHAKES):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(HELLO)
                raw = writer.get_extra_info("socket")
                raw.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER: a reset
                writer.transport.abort()
            assert (await plain(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 308")

    asyncio.run(run())


@pytest.mark.parametrize("minimum", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_current_versions_of_tls_are_spoken(http: Http, trusting: ssl.SSLContext, minimum: ssl.TLSVersion) -> None:
    trusting.minimum_version = trusting.maximum_version = minimum

    async def run() -> None:
        async with fake_http_door(replace(http, token=TOKEN)) as url:
            port = int(url.rpartition(":")[2])
            _, writer = await asyncio.open_connection("localhost", port, ssl=trusting)
            assert writer.get_extra_info("ssl_object").version() == {771: "TLSv1.2", 772: "TLSv1.3"}[minimum]
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    asyncio.run(run())


def test_the_nodes_own_client_trusts_the_nodes_certificate(settings: Settings) -> None:
    async def run() -> None:
        async with door(settings) as port:
            client = HttpClient(replace(settings.http, port=port), "porch")
            try:
                assert isinstance(await client.query(Request(id="a", type="status"), DEADLINE), StatusAnswer)
            finally:
                await client.close()

    asyncio.run(run())


def test_the_pages_address_says_https(http: Http) -> None:
    assert page_address(replace(http, port=8480)) == "https://127.0.0.1:8480/"


def test_an_expired_certificate_is_named_in_the_log_and_the_door_opens(
    http: Http, certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_certificate(certificates, "localhost", "DNS:localhost", days=-1)

    async def run() -> None:
        async with fake_http_door(http):
            pass

    asyncio.run(run())
    assert "server.crt: has expired; renew it" in caplog.text


def test_a_door_whose_certificate_cannot_be_used_stays_shut_and_says_why(http: Http) -> None:
    async def run(http: Http) -> None:
        async with fake_http_door(http):
            raise AssertionError("it opened")

    with pytest.raises(CertificateFault, match=r"nowhere\.crt: cannot be read"):
        asyncio.run(run(replace(http, certificate="/nowhere.crt")))
    with pytest.raises(ConfigError, match="without a certificate"):
        check_settings(replace(http, certificate=""))
