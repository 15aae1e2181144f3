"""`imhearing token`, and tokens that expire within seconds."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

import imhearing
from edge.configuration.settings import Secret, Settings
from edge.core.errors import DoorError
from query_service import api
from query_service.client.ably import AblyClient
from query_service.doors.ably import AblyDoor
from query_service.loopback.connections import ServerLimits
from query_service.queries.protocol import Answer, Request, new_id
from query_service.queries.values import refusal
from query_service.realtime.link import Delivery, Link
from query_service.realtime.tokens import claims_of, client_token, node_token
from tests.support.messaging import realtime
from tests.support.messaging.realtime import in_loop, now, running_server
from tests.support.nodes.all_doors import END
from tests.support.spool.chunks import START
from tests.support.wait import DEADLINE


def run_imhearing(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, imhearing.__file__, *arguments],
        env=os.environ | environment, capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip


def test_the_token_command_prints_a_token_that_can_query(fleet: Settings, tmp_path: Path) -> None:
    here = ["--data", str(tmp_path), "--set", f"ably.endpoint={fleet.ably.endpoint}"]
    key = fleet.ably.api_key.reveal()
    made = run_imhearing("token", "--client", "grandma", "--ttl", "90s", *here, IMHEARING_ABLY_API_KEY=key)
    assert made.returncode == 0, made.stderr
    token = made.stdout.removesuffix("\n")
    claims = claims_of(token)
    assert claims.client_id == "grandma"
    assert 80 < claims.exp - time.time() <= 90
    assert token not in made.stderr
    assert f"only valid on this machine, with --set ably.endpoint={fleet.ably.endpoint}" in made.stderr
    span = ["--from", str(START), "--to", str(END)]
    queried = run_imhearing(
        "query", "--via", "ably", "--node", "all", "--json", *span, *here, IMHEARING_ABLY_TOKEN=token
    )
    assert queried.returncode == 0, queried.stderr
    assert sorted(json.loads(queried.stdout)["answers"]) == ["porch", "shed"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--client", "*"], 2, "client id '*'"),
        (["--client", "a b"], 2, "client id"),
        (["--client", ""], 2, "client id"),
        (["--client", "x", "--ttl", "soon"], 2, "not a duration"),
        (["--client", "x", "--ttl", "400d"], 2, "--ttl 400d"),
        ([], 2, "--client"),
    ],
)
def test_the_token_command_rejects_invalid_clients_and_lifetimes(
    arguments: list[str], code: int, message: str, tmp_path: Path
) -> None:
    done = run_imhearing("token", *arguments, "--data", str(tmp_path), IMHEARING_ABLY_API_KEY="app.key:secret")
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "secret" not in done.stderr


def test_the_token_command_needs_an_ably_key(tmp_path: Path) -> None:
    done = run_imhearing("token", "--client", "x", "--data", str(tmp_path), IMHEARING_ABLY_API_KEY="")
    assert (done.returncode, done.stdout) == (78, "")
    assert "api_key" in done.stderr


@in_loop
async def test_a_nodes_expiring_token_is_renewed_repeatedly_on_the_open_connection() -> None:
    """On the open connection, which lives on: what is sent to it meanwhile arrives."""
    made: list[float] = []
    heard: list[Delivery] = []
    async with running_server(ServerLimits(reauth_seconds=0)) as server:  # it does not ask for a new one by itself

        def token() -> str:
            made.append(time.monotonic())
            return node_token(server.api_key, "porch", 3, now())

        link = Link(server.endpoint, token, 3)
        await link.open()
        await link.subscribe("imhearing:requests:porch", heard.append)
        connection = link._client.connection.connection_manager.connection_id
        keeping = asyncio.create_task(link.keep())
        async with realtime.client(server, "ann") as ann:
            sent = 0
            while len(made) < 6:
                assert not keeping.done(), keeping.exception()
                await ann.channels.get("imhearing:requests:porch").publish("query", b"{}")
                sent += 1
                await asyncio.sleep(0.3)
            async with asyncio.timeout(DEADLINE):
                while len(heard) < sent:
                    await asyncio.sleep(0.02)
        assert link._client.connection.connection_manager.connection_id == connection
        assert len(heard) == sent
        keeping.cancel()
        await link.close()


@in_loop
async def test_a_clients_expiring_token_is_renewed_too() -> None:
    async with running_server(ServerLimits(reauth_seconds=0)) as server:

        async def answer(request: Request, client: str) -> Answer:
            return refusal(request.id, "porch", "encrypted", "made up")

        def token() -> str:
            return node_token(server.api_key, "porch", 60, now())

        door = AblyDoor("porch", answer, lambda: Link(server.endpoint, token, 60))
        running = asyncio.create_task(door.run())
        await asyncio.wait_for(door.opened(), DEADLINE)
        asking = AblyClient(
            server.endpoint, "porch", "ann", lambda: client_token(server.api_key, "ann", 5, now()), 5
        )  # fmt: skip
        await asking.open()
        for _ in range(14):  # past the token's expiry
            await asking.query(Request(id=new_id(), type="status"), DEADLINE)
            await asyncio.sleep(0.5)
        await asking.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_an_outage_does_not_flood_the_log_with_tracebacks(caplog: pytest.LogCaptureFixture) -> None:
    """The SDK leaves a failed task behind at each attempt: not a traceback for each."""

    async def run() -> None:
        async with running_server() as server:
            token = node_token(server.api_key, "porch", 60, now())
            link = Link(server.endpoint, lambda: token, 60)
            await link.open()
        await asyncio.sleep(3)
        await link.close()
        del link
        gc.collect()
        await asyncio.sleep(0.1)

        async def ours() -> None:
            raise ValueError("a fault of our own")

        task = asyncio.create_task(ours())
        await asyncio.wait({task})
        del task
        gc.collect()

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    tracebacks = [record for record in caplog.records if record.name == "asyncio"]
    assert ["a fault of our own" in (record.exc_text or str(record.exc_info)) for record in tracebacks] == [True]


def test_a_client_whose_connection_is_lost_says_so_at_once_and_logs_no_traceback(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("query_service.realtime.link._AWAY_SECONDS", 0.5)  # instead of 20

    async def run() -> None:
        async with running_server() as server:
            client = AblyClient(server.endpoint, "porch", "ann", lambda: client_token(server.api_key, "ann", 60, now()))
            await client.open()
        with pytest.raises(DoorError, match="offline"):
            await client.query(Request(id=new_id(), type="status"), DEADLINE)
        await client.close()
        del client
        gc.collect()
        await asyncio.sleep(0.1)

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    assert [record for record in caplog.records if record.name == "asyncio"] == []


def test_a_malformed_token_is_refused_before_anything_is_sent() -> None:
    for text in ("", "a.b.c", "a", "e30.e30.x", "\x00.\x00.\x00"):
        with pytest.raises(DoorError, match="imhearing token"):
            claims_of(text)
    with pytest.raises(DoorError, match="imhearing token"):
        api.query(Settings(ably=replace(Settings().ably, token=Secret("x"))), "ably", node="porch", type="status")
