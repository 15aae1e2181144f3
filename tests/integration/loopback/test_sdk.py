"""The official Python SDK against the local realtime server, as our node and our clients use it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from ably import AblyRealtime
from ably.rest.channel import Channel as RestChannel
from ably.types.channelmode import ChannelMode
from ably.types.channeloptions import ChannelOptions
from ably.types.message import Message
from ably.types.tokendetails import TokenDetails
from ably.util.exceptions import AblyException

from edge.core.instant import MICROSECONDS, Instant
from query_service.loopback.channel_actions import publish
from query_service.loopback.connections import ServerLimits
from query_service.loopback.protocol import AblyMessage as WireMessage
from query_service.loopback.server import RealtimeServer
from query_service.realtime.tokens import client_token
from tests.support.messaging.realtime import (
    client,
    client_auth,
    connected,
    details,
    in_loop,
    node,
    node_auth,
    now,
    running_server,
    sdk,
)
from tests.support.wait import DEADLINE

REQUESTS, REPLIES, NODES = "imhearing:requests:porch", "imhearing:replies:ann", "imhearing:nodes"
BOTH = pytest.mark.parametrize("binary", [True, False], ids=["msgpack", "json"])


async def soon(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, DEADLINE)


async def until(condition: Callable[[], object], what: str) -> None:
    """Asks until it is true, with a deadline."""
    for _ in range(int(DEADLINE / 0.01)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"waited {DEADLINE:g} s in vain until {what}")


async def listen(ably: AblyRealtime, channel: str, options: ChannelOptions | None = None) -> asyncio.Queue[Message]:
    heard: asyncio.Queue[Message] = asyncio.Queue()
    await soon(ably.channels.get(channel, options).subscribe(heard.put_nowait))
    return heard


@BOTH
@in_loop
async def test_a_request_and_its_answer_are_delivered(binary: bool) -> None:
    async with (
        running_server() as server,
        node(server, "porch", use_binary_protocol=binary) as porch,
        client(server, "ann", use_binary_protocol=not binary) as ann,
    ):
        questions = await listen(porch, REQUESTS)
        answers = await listen(ann, REPLIES)
        headers = {"headers": {"id": "r1", "v": "1", "deadline": "10"}}
        await soon(ann.channels.get(REQUESTS).publish(Message(name="query", data=b'{"v":1}', extras=headers)))
        question = await soon(questions.get())
        assert (question.name, question.client_id, question.extras) == ("query", "ann", headers)
        page = bytes(range(250)) * 192  # 48 kB: the largest answer
        await soon(porch.channels.get(f"imhearing:replies:{question.client_id}").publish("answer", page))
        answer = await soon(answers.get())
        assert isinstance(answer.data, bytearray)
        assert answer.data == page
        assert answer.client_id == "porch"


@in_loop
async def test_a_client_cannot_receive_another_clients_replies() -> None:
    async with running_server() as server, node(server, "porch") as porch, client(server, "ann") as ann:
        foreign = ann.channels.get("imhearing:replies:bob")
        with pytest.raises(AblyException) as refused:
            await soon(foreign.attach())
        assert refused.value.code == 40160
        own = await listen(ann, REPLIES)
        await soon(porch.channels.get("imhearing:replies:bob").publish("answer", b"bob's"))
        await soon(porch.channels.get(REPLIES).publish("answer", b"ann's"))
        assert (await soon(own.get())).data == b"ann's"
        assert own.empty()


@in_loop
async def test_subscribing_without_the_capability_delivers_nothing() -> None:
    async with running_server() as server, client(server, "ann") as ann, client(server, "bob") as bob:
        heard = await listen(ann, REQUESTS)
        assert ann.channels.get(REQUESTS).modes == [ChannelMode.PUBLISH]
        await soon(bob.channels.get(REQUESTS).publish("query", b"bob's"))
        await soon(ann.connection.ping())
        assert heard.empty()


@in_loop
async def test_only_nodes_can_answer_and_announce_themselves() -> None:
    async with running_server() as server, client(server, "ann") as ann:
        for channel in (REPLIES, "imhearing:events:porch", NODES, "other"):
            with pytest.raises(AblyException) as refused:
                await soon(ann.channels.get(channel).publish("answer", b"false"))
            assert refused.value.code == 40160


@in_loop
async def test_a_client_cannot_overwrite_its_tokens_client_id() -> None:
    """The stamp is the server's: a token's client id cannot be overwritten in the message."""
    async with running_server() as server, node(server, "porch") as porch, client(server, "ann") as ann:
        questions = await listen(porch, REQUESTS)
        manager = ann.connection.connection_manager
        forged = {"action": 15, "channel": REQUESTS, "messages": [{"name": "query", "data": "x", "clientId": "bob"}]}
        with pytest.raises(AblyException) as refused:
            await soon(manager.send_protocol_message(forged))
        assert refused.value.code == 40012
        assert questions.empty()


@in_loop
async def test_presence_shows_nodes_entering_and_leaving() -> None:
    async with running_server() as server, client(server, "ann") as ann:
        seen: asyncio.Queue[Any] = asyncio.Queue()
        nodes = ann.channels.get(NODES)
        await soon(nodes.presence.subscribe(seen.put_nowait))
        async with node(server, "porch") as porch:
            await soon(porch.channels.get(NODES).presence.enter({"node": "porch", "version": "1.0"}))
            entered = await soon(seen.get())
            assert (entered.client_id, entered.data) == ("porch", {"node": "porch", "version": "1.0"})
            async with client(server, "bob", use_binary_protocol=False) as bob:  # who comes later sees it as well
                [member] = await soon(bob.channels.get(NODES).presence.get())
                assert member.client_id == "porch"
        assert (await soon(seen.get())).action == 3
        assert await soon(nodes.presence.get()) == []


@in_loop
async def test_presence_survives_a_broken_socket() -> None:
    async with running_server() as server, node(server, "porch") as porch, client(server, "ann") as ann:
        await soon(porch.channels.get(NODES).presence.enter({"node": "porch"}))
        seen: asyncio.Queue[Any] = asyncio.Queue()
        await soon(ann.channels.get(NODES).presence.subscribe("leave", seen.put_nowait))
        backs = [asyncio.ensure_future(ably.connection.once_async("connected")) for ably in (porch, ann)]
        server.cut_sockets()
        await soon(asyncio.gather(*backs))
        for ably in (porch, ann):
            await until(lambda ably=ably: ably.channels.get(NODES).state == "attached", "attached again")  # type: ignore[misc]
        assert [member.client_id for member in await soon(ann.channels.get(NODES).presence.get())] == ["porch"]
        assert seen.empty()


@BOTH
@in_loop
async def test_a_broken_socket_loses_no_message(binary: bool) -> None:
    async with running_server() as server, client(server, "ann", use_binary_protocol=binary) as ann:
        replies = await listen(ann, REPLIES)
        [connection] = list(server.hub.state.connections)
        back = asyncio.ensure_future(ann.connection.once_async("connected"))
        server.cut_sockets()

        def reply(number: int) -> None:
            message = WireMessage(data=str(number).encode())
            publish(server.hub.state, REPLIES, [message], None, str(number))

        for number in range(5):  # the server has not noticed: these go to the broken socket
            reply(number)
        while connection.queue is not None:
            await asyncio.sleep(0)
        for number in range(5, 20):  # and these while nobody listens
            reply(number)
        await soon(back)
        assert [int((await soon(replies.get())).data) for _ in range(20)] == list(range(20))
        assert ann.connection.connection_manager.connection_id == connection.id
        await soon(ann.connection.ping())
        assert replies.empty()


@in_loop
async def test_messages_published_across_broken_sockets_arrive_once() -> None:
    async with running_server() as server, node(server, "porch") as porch, client(server, "ann") as ann:
        questions = await listen(porch, REQUESTS)
        tasks = []
        for number in range(30):
            tasks.append(asyncio.create_task(ann.channels.get(REQUESTS).publish("query", str(number))))
            if number % 10 == 5:
                await asyncio.sleep(0)  # let it reach the socket before it breaks
                server.cut_sockets()
            await asyncio.sleep(0.01)
        await soon(asyncio.gather(*tasks))
        got = [(await soon(questions.get())).data for _ in range(30)]
        assert sorted(got, key=int) == [str(number) for number in range(30)]
        await soon(porch.connection.ping())
        assert questions.empty()


@in_loop
async def test_an_unknown_resume_key_is_reported_and_the_client_continues() -> None:
    async with running_server() as server, client(server, "ann") as ann:
        replies = await listen(ann, REPLIES)
        first = ann.connection.connection_manager.connection_id
        reasons: list[Any] = []
        ann.connection.on("connected", lambda change: reasons.append(change.reason))
        server.cut_sockets(forget=True)
        await until(lambda: reasons, "connected again")
        assert reasons[0].code == 80018
        assert ann.connection.connection_manager.connection_id != first
        await until(lambda: ann.channels.get(REPLIES).state == "attached", "attached again")
        async with node(server, "porch") as porch:
            await soon(porch.channels.get(REPLIES).publish("answer", b"still here"))
        assert (await soon(replies.get())).data == b"still here"


@in_loop
async def test_a_token_is_renewed_on_the_open_socket() -> None:
    async with running_server(ServerLimits(reauth_seconds=2.0)) as server, node(server, "porch") as porch:
        lives = itertools.chain([4], itertools.repeat(60))

        def auth() -> TokenDetails:
            return client_auth(server, "ann", next(lives))()

        async with connected(sdk(server, auth)) as ann:
            replies = await listen(ann, REPLIES)
            [connection] = [c for c in server.hub.state.connections if c.grant.client_id == "ann"]
            first, outbox = connection.grant.expires_ms, connection.queue
            await until(lambda: connection.grant.expires_ms != first, "the SDK sent a new token when asked")
            await until(lambda: ann.channels.get(REPLIES).state == "attached", "attached again")
            await soon(porch.channels.get(REPLIES).publish("answer", b"after"))
            assert (await soon(replies.get())).data == b"after"
            assert connection.queue is outbox


@in_loop
async def test_an_expired_token_is_replaced() -> None:
    async with running_server() as server:
        made: list[TokenDetails] = []

        def auth() -> TokenDetails:
            issued = now() if made else Instant(now() - 120 * MICROSECONDS)
            made.append(details(client_token(server.api_key, "ann", 60, issued), "ann", 60))
            return made[-1]

        async with connected(sdk(server, auth)) as ann:
            assert len(made) == 2
            assert await soon(ann.connection.ping()) > 0


@in_loop
async def test_a_token_of_another_key_fails_permanently() -> None:
    async with running_server() as server, running_server() as other:
        ann = sdk(server, node_auth(other, "porch"))
        await until(lambda: ann.connection.state == "failed", "the SDK gives up")
        assert ann.connection.error_reason.code == 40101
        await soon(ann.close())


@in_loop
async def test_a_key_authenticates_over_the_socket() -> None:
    async with running_server() as server:
        holder = AblyRealtime(server.api_key.reveal(), endpoint=f"{server.endpoint}/", tls=False, client_id="ann")
        async with connected(holder):
            heard = await listen(holder, "anything")
            await soon(holder.channels.get("anything").publish("hello", {"a": 1}))
            message = await soon(heard.get())
            assert (message.data, message.client_id) == ({"a": 1}, "ann")


@in_loop
async def test_a_signed_token_request_is_exchanged_over_http() -> None:
    async with running_server() as server:
        ably = AblyRealtime(
            server.api_key.reveal(),
            endpoint=f"{server.endpoint}/",
            tls=False,
            use_token_auth=True,
            query_time=True,
        )
        async with connected(ably):
            assert ably.auth.token_details.expires > now() // 1000
            assert await soon(ably.connection.ping()) > 0


@BOTH
@in_loop
async def test_messages_can_be_published_and_read_back_over_http(binary: bool) -> None:
    async with running_server() as server:
        ably = AblyRealtime(
            server.api_key.reveal(),
            endpoint=f"{server.endpoint}/",
            tls=False,
            use_token_auth=True,
            use_binary_protocol=binary,
        )
        async with connected(ably):
            heard = await listen(ably, "a:b")
            await soon(RestChannel.publish(ably.channels.get("a:b"), "hello", b"\x00\xff"))
            assert (await soon(heard.get())).data == b"\x00\xff"
            page = await soon(ably.channels.get("a:b").history())
            assert [(item.name, item.data) for item in page.items] == [("hello", b"\x00\xff")]


@in_loop
async def test_rewind_delivers_earlier_messages() -> None:
    async with running_server() as server, node(server, "porch") as porch, client(server, "ann") as ann:
        events = porch.channels.get("imhearing:events:porch")
        for number in range(3):
            await soon(events.publish("state", str(number)))
        heard = await listen(ann, "imhearing:events:porch", ChannelOptions(params={"rewind": "2"}))
        assert [(await soon(heard.get())).data for _ in range(2)] == ["1", "2"]
        assert heard.empty()


@pytest.mark.slow
@in_loop
async def test_clients_reconnect_to_a_restarted_server() -> None:
    async with running_server() as server:
        async with client(server, "ann") as ann:
            replies = await listen(ann, REPLIES)
            await server.stop()
            await until(lambda: ann.connection.state != "connected", "the end is noticed")
            again = RealtimeServer(server.api_key, server.port)
            await again.start()
            await until(lambda: ann.connection.state == "connected", "it is back")
            await until(lambda: ann.channels.get(REPLIES).state == "attached", "attached again")
            async with node(again, "porch") as porch:
                await soon(porch.channels.get(REPLIES).publish("answer", b"new"))
            assert (await soon(replies.get())).data == b"new"
        await again.stop()


@in_loop
async def test_messages_above_the_rate_are_rejected_not_dropped_silently() -> None:
    async with running_server(ServerLimits(message_rate=5.0)) as server, client(server, "ann") as ann:
        channel = ann.channels.get(REQUESTS)
        outcomes = await soon(
            asyncio.gather(*(channel.publish("query", str(n)) for n in range(8)), return_exceptions=True)
        )
        refused = [outcome for outcome in outcomes if isinstance(outcome, AblyException)]
        assert refused
        assert {problem.code for problem in refused} <= {42911}
