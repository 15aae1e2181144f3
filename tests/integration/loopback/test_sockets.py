"""The local realtime server over real sockets and HTTP, with peers that behave badly."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from edge.configuration.settings import Secret
from edge.core.errors import ConfigError, DoorError
from query_service.loopback.connections import ServerLimits
from query_service.loopback.server import RealtimeServer
from query_service.realtime.tokens import client_token, new_api_key
from tests.support.messaging.realtime import client, in_loop, node, now, running_server, server_in_thread
from tests.support.wait import DEADLINE

REPLIES = "imhearing:replies:ann"


@asynccontextmanager
async def raw_socket(server: RealtimeServer, **query: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A WebSocket as a client opens it, with a client token unless `query` has credentials."""
    if not query.keys() & {"key", "accessToken", "none"}:
        query["accessToken"] = client_token(server.api_key, "ann", 60, now())
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{server.endpoint}/", params=query, max_msg_size=0) as opened,
    ):
        yield opened


async def receive(opened: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    message = await opened.receive(DEADLINE)
    assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
    module = msgspec.json if message.type == aiohttp.WSMsgType.TEXT else msgspec.msgpack
    return dict(module.decode(message.data))


@pytest.mark.parametrize("raw", ["", "nonsense", '{"action":15,"messages":7}', b"\xc1", b"\x00" * 1_000])
@in_loop
async def test_malformed_frames_get_an_error_and_affect_no_other_client(raw: str | bytes) -> None:
    async with running_server() as server, client(server, "bob") as bob:
        async with raw_socket(server) as opened:
            assert (await receive(opened))["action"] == 4
            await (opened.send_str(raw) if isinstance(raw, str) else opened.send_bytes(raw))
            error = await receive(opened)
            assert (error["action"], error["error"]["code"]) == (9, 40000)
            assert (await opened.receive(DEADLINE)).type == aiohttp.WSMsgType.CLOSE
            assert opened.close_code == 1008
        assert await asyncio.wait_for(bob.connection.ping(), DEADLINE) > 0


@in_loop
async def test_a_frame_over_the_limit_is_rejected() -> None:
    async with running_server() as server, client(server, "bob") as bob:
        async with raw_socket(server) as opened:
            await receive(opened)
            await opened.send_str("x" * (server.limits.frame_bytes + 1))
            assert (await opened.receive(DEADLINE)).type == aiohttp.WSMsgType.CLOSE
            assert opened.close_code == 1009
        assert await asyncio.wait_for(bob.connection.ping(), DEADLINE) > 0


@pytest.mark.parametrize("form", ["json", "msgpack"])
@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"none": ""}, 40101),
        ({"key": "local.x:wrong"}, 40101),
        ({"accessToken": "a.b.c"}, 40144),
    ],
)
@in_loop
async def test_missing_credentials_get_an_error_and_a_close(query: dict[str, str], code: int, form: str) -> None:
    async with running_server() as server, raw_socket(server, **query, format=form) as opened:
        error = await receive(opened)
        assert (error["action"], error["error"]["code"]) == (9, code)
        assert (await opened.receive(DEADLINE)).type == aiohttp.WSMsgType.CLOSE
        assert len(server.hub.state.connections) == 0


@in_loop
async def test_a_slow_reader_is_dropped_and_others_are_served() -> None:
    limits = ServerLimits(queue_bytes=200_000, message_rate=1_000.0)
    async with running_server(limits) as server, node(server, "porch") as porch, client(server, "ann") as quick:
        heard: asyncio.Queue[Any] = asyncio.Queue()
        await quick.channels.get(REPLIES).subscribe(heard.put_nowait)
        async with raw_socket(server) as slow:
            key = (await receive(slow))["connectionDetails"]["connectionKey"]
            await slow.send_str(json.dumps({"action": 10, "channel": REPLIES}))
            await receive(slow)
            slow._response.connection.transport.pause_reading()  # type: ignore[union-attr]
            [stuck] = [connection for connection in server.hub.state.connections if connection.key == key]
            sent = 0
            while stuck.queue is not None:
                await asyncio.wait_for(porch.channels.get(REPLIES).publish("answer", b"x" * 48_000), DEADLINE)
                sent += 1
                assert sent < 500
            slow._response.close()
        for _ in range(sent):
            assert len((await asyncio.wait_for(heard.get(), DEADLINE)).data) == 48_000


@in_loop
async def test_http_errors_have_ablys_format() -> None:
    async with running_server() as server, aiohttp.ClientSession(f"http://{server.endpoint}") as http:
        token = client_token(server.api_key, "ann", 60, now())
        key = base64.b64encode(server.api_key.reveal().encode()).decode()
        name = server.api_key.reveal().partition(":")[0]
        cases: list[tuple[str, str, dict[str, str], Any, int]] = [
            ("GET", "/channels/a/messages", {}, None, 40101),
            ("GET", "/channels/a/messages", {"Authorization": f"Bearer {token}"}, None, 40160),
            ("POST", "/channels/a/messages", {"Authorization": f"Bearer {token}"}, "{}", 40160),
            ("POST", "/channels/a/messages", {"Authorization": f"Basic {key}"}, "nonsense", 40001),
            (
                "POST",
                "/channels/a/messages",
                {"Authorization": f"Basic {key}"},
                '{"data":"' + "x" * 65_537 + '"}',
                40009,
            ),
            ("GET", "/channels/a/messages?limit=x", {"Authorization": f"Basic {key}"}, None, 40003),
            ("POST", f"/keys/{name}/requestToken", {}, json.dumps({"keyName": name}), 40101),
            ("POST", "/keys/other/requestToken", {}, json.dumps({"keyName": name}), 40003),
        ]
        for method, path, headers, body, code in cases:
            async with http.request(method, path, headers=headers, data=body) as response:
                assert (path, (await response.json())["error"]["code"]) == (path, code)
                assert 400 <= response.status < 500
        async with http.get("/") as response:
            assert response.status == 400  # a WebSocket is expected here
        async with http.post(
            f"/keys/{name}/requestToken", headers={"Authorization": f"Basic {key}"}, json={"keyName": name}
        ) as response:
            assert (await response.json())["keyName"] == name
            assert response.status == 201
        async with http.post(
            "/channels/a/messages", headers={"Authorization": f"Basic {key}"}, data=b"x" * 300_000
        ) as r:
            assert r.status == 413


@in_loop
async def test_the_log_describes_the_server_and_contains_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with running_server() as server, raw_socket(server, key=server.api_key.reveal()) as opened:
        await receive(opened)
        async with raw_socket(server, key="local.x:wrong") as other:
            await receive(other)
    ours = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("ably"))
    assert "for this machine only" in ours
    assert "[ably] api_key" in ours
    assert server.api_key.reveal().partition(":")[2] not in ours
    assert "rejected a connection" in ours


@in_loop
async def test_the_server_listens_on_loopback_only_and_reports_failures() -> None:
    with pytest.raises(DoorError, match="listens on loopback only"):
        RealtimeServer(new_api_key(), host="0.0.0.0")  # noqa: S104
    with pytest.raises(ConfigError, match="name:secret"):
        RealtimeServer(Secret(""))
    async with running_server() as server:
        with pytest.raises(DoorError, match=f"127.0.0.1:{server.port}: cannot listen"):
            await RealtimeServer(new_api_key(), server.port).start()


def test_the_server_runs_in_a_thread() -> None:
    with server_in_thread() as server, socket.create_connection(("127.0.0.1", server.port), DEADLINE) as tcp:
        tcp.sendall(b"GET /time HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert tcp.recv(100).startswith(b"HTTP/1.1 200")


def test_the_process_stops_on_a_signal_and_stays_small(tmp_path: Path) -> None:
    # a node does not have it, and PyJWT loads it where it is installed, as here for other tests
    (tmp_path / "cryptography.py").write_text("raise ModuleNotFoundError")
    code = (
        "import os, logging; logging.basicConfig(level=logging.INFO)\n"
        "from edge.configuration.settings import Secret\n"
        "from query_service.loopback.server import main\n"
        "raise SystemExit(main(0, Secret(os.environ['IMHEARING_ABLY_API_KEY'])))\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(tmp_path), "IMHEARING_ABLY_API_KEY": new_api_key().reveal()}
    with subprocess.Popen([sys.executable, "-c", code], env=environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "realtime server on 127.0.0.1:" in process.stderr.readline()
        with open(f"/proc/{process.pid}/status") as status:  # noqa: PTH123
            [resident] = [int(line.split()[1]) for line in status if line.startswith("VmRSS:")]
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
    assert resident < 45 * 1024  # kB
