"""The rights of each role over Ably, each tried on each channel; docs/security.md has the same table."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from ably import AblyRealtime
from ably.types.channelmode import ChannelMode
from ably.util.exceptions import AblyException

from edge.core import wire
from edge.messaging.events import ErrorBody
from query_service.client.ably import AblyClient
from query_service.loopback.server import RealtimeServer
from query_service.queries.protocol import Request, new_id
from query_service.queries.status import Backlog, RecorderReport, StatusAnswer
from query_service.queries.values import ErrorAnswer
from query_service.realtime.tokens import client_token
from tests.support.messaging import realtime
from tests.support.messaging.realtime import in_loop, running_server
from tests.support.wait import DEADLINE

DOCUMENT = Path(__file__).parents[3] / "docs" / "security.md"
OPERATIONS = ("publish", "subscribe", "presence")
# role -> channel -> what it may do there; whatever is not named is refused
ROLES: dict[str, dict[str, set[str]]] = {
    "node porch": {
        "imhearing:requests:porch": {"subscribe"},
        "imhearing:requests:all": {"subscribe"},
        "imhearing:replies:ann": {"publish"},
        "imhearing:replies:bob": {"publish"},
        "imhearing:nodes": {"presence", "subscribe"},
        "imhearing:events:porch": {"publish"},
        # a star at the end stands for any number of segments; no client id has a colon, so nobody listens there
        "imhearing:replies:ann:more": {"publish"},
    },
    "client ann": {
        "imhearing:requests:porch": {"publish"},
        "imhearing:requests:shed": {"publish"},
        "imhearing:requests:all": {"publish"},
        "imhearing:replies:ann": {"subscribe"},
        "imhearing:nodes": {"subscribe"},
        "imhearing:events:porch": {"subscribe"},
        "imhearing:events:shed": {"subscribe"},
    },
}
CHANNELS = (
    "imhearing:requests:porch",
    "imhearing:requests:shed",
    "imhearing:requests:all",
    "imhearing:replies:ann",
    "imhearing:replies:bob",
    "imhearing:nodes",
    "imhearing:events:porch",
    "imhearing:events:shed",
    "imhearing:replies",
    "imhearing:replies:ann:more",
    "imhearing:other",
    "elsewhere",
)


@asynccontextmanager
async def connected_as(server: RealtimeServer, role: str) -> AsyncIterator[AblyRealtime]:
    kind, name = role.split()
    async with (realtime.node if kind == "node" else realtime.client)(server, name) as ably:
        yield ably


async def tried(ably: Any, channel_name: str, operation: str) -> bool:
    """Whether the server lets this client do that."""
    channel = ably.channels.get(channel_name)
    try:
        async with asyncio.timeout(DEADLINE):
            match operation:
                case "publish":
                    await channel.publish("query", b"{}")
                case "presence":
                    await channel.presence.enter({"node": "x"})
                case _:
                    await channel.attach()
                    return ChannelMode.SUBSCRIBE in (channel.modes or [])
    except AblyException as refused:
        if refused.code not in (40160, 90001):  # not permitted; a channel that failed for this reason
            raise
        return False
    return True


@pytest.mark.parametrize("role", ROLES)
def test_each_ably_role_has_exactly_the_documented_rights(role: str) -> None:
    @in_loop
    async def run() -> None:
        found: dict[str, set[str]] = {}
        async with running_server() as server:
            for operation in OPERATIONS:
                # a connection each: an attachment that was refused would colour what comes next
                async with connected_as(server, role) as ably:
                    for channel in CHANNELS:
                        if await tried(ably, channel, operation):
                            found.setdefault(channel, set()).add(operation)
        assert found == ROLES[role]

    run()


@pytest.mark.parametrize("role", ROLES)
def test_each_ably_role_receives_only_what_it_may_subscribe_to(role: str) -> None:
    """Subscribing without the right succeeds in the SDK: what counts is what arrives."""

    @in_loop
    async def run() -> None:
        heard: list[tuple[str, str]] = []
        async with running_server() as server, connected_as(server, role) as ably:
            for name in CHANNELS:
                channel = ably.channels.get(name)
                try:
                    await asyncio.wait_for(
                        channel.subscribe(lambda message, name=name: heard.append((name, message.data))), 10
                    )
                except AblyException:
                    continue
            allowed = {name for name, rights in ROLES[role].items() if "subscribe" in rights}
            async with realtime.node(server, "porch") as node, realtime.client(server, "bob") as client:
                for name in CHANNELS:
                    for speaker in (node, client):
                        try:
                            await asyncio.wait_for(speaker.channels.get(name).publish("x", name), DEADLINE)
                        except AblyException:
                            continue
            async with asyncio.timeout(DEADLINE):
                while {name for name, _ in heard} < (allowed - {"imhearing:nodes", "imhearing:events:shed"}):
                    await asyncio.sleep(0.01)
        assert {name for name, _ in heard} <= allowed
        assert all(name == data for name, data in heard)

    run()


def test_a_client_cannot_publish_under_another_client_id() -> None:
    @in_loop
    async def run() -> None:
        async with running_server() as server, realtime.client(server, "ann") as ann:
            from ably.types.message import Message  # noqa: PLC0415

            forged = Message(name="query", data=b"{}", client_id="bob")
            with pytest.raises(AblyException):
                await asyncio.wait_for(ann.channels.get("imhearing:requests:porch").publish(forged), DEADLINE)

    run()


@in_loop
async def test_a_client_ignores_an_answer_in_another_nodes_name() -> None:
    """It may publish on any client's channel, and hears what is asked of all: so whose word it is must be held to."""

    def status(request: Any, node: str) -> StatusAnswer:
        return StatusAnswer(
            id=request["id"],
            node=node,
            at=realtime.now(),
            version=f"said by {node}",
            uptime=1.0,
            recorder=RecorderReport(
                state="recording", since=None, alive=True, stream_id=None, device=None, rate=None, channels=None
            ),
            spool=Backlog(0, 0, 0),
            disk_free=1,
            last_chunk=None,
            clock=None,
            catalog="ready",
        )

    async with running_server() as server, realtime.node(server, "shed") as shed:

        async def answer(message: Any) -> None:
            replies = shed.channels.get(f"imhearing:replies:{message.client_id}")
            request = wire.decode(message.data, dict[str, Any])
            nameless = ErrorAnswer(id=request["id"], error=ErrorBody("internal", "from nobody"))
            for reply in (status(request, "porch"), nameless, status(request, "shed")):
                await replies.publish("answer", wire.encode(reply))

        for name in ("all", "shed"):
            await shed.channels.get(f"imhearing:requests:{name}").subscribe(answer)
        ann = AblyClient(
            server.endpoint, "shed", "ann", lambda: client_token(server.api_key, "ann", 3_600, realtime.now())
        )
        await ann.open()
        try:
            heard = await ann.query_all(Request(id=new_id(), type="status"), ["porch", "shed"], 1.5)
            assert {name: getattr(reply, "version", "") for name, reply in heard.items()} == {"shed": "said by shed"}
            reply = await ann.query(Request(id=new_id(), type="status"), DEADLINE)
            assert isinstance(reply, StatusAnswer)
            assert reply.node == "shed"
        finally:
            await ann.close()


def table() -> str:
    """The matrix as docs/security.md has it."""
    lines = ["| channel | node `porch` | client `ann` |", "|---|---|---|"]
    for channel in CHANNELS[:8]:
        rights = (", ".join(sorted(ROLES[role].get(channel, ()))) or "-" for role in ROLES)
        lines.append(f"| `{channel}` | {' | '.join(rights)} |")
    lines.append("| any other | - | - |")
    return "\n".join(lines)


def test_the_ably_rights_in_security_md_are_up_to_date() -> None:
    assert table() in DOCUMENT.read_text(), "put this into docs/security.md:\n" + table()


if __name__ == "__main__":
    print(table())  # noqa: T201
