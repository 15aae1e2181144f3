"""HTTP requests to the local realtime server: history, presence, identity and errors, by the Python SDK and without."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from ably import AblyRealtime
from ably.rest.channel import Channel as RestChannel
from ably.types.message import Message
from ably.types.presence import Presence
from ably.types.tokendetails import TokenDetails
from ably.util.exceptions import AblyException

from query_service.loopback.server import RealtimeServer
from query_service.realtime import tokens
from query_service.realtime.tokens import client_token
from tests.support.messaging.realtime import connected, details, in_loop, now, running_server, sdk
from tests.support.wait import DEADLINE

BOTH = pytest.mark.parametrize("binary", [True, False], ids=["msgpack", "json"])


async def soon(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, DEADLINE)


@asynccontextmanager
async def keyholder(server: RealtimeServer, name: str = "key", **options: Any) -> AsyncIterator[AblyRealtime]:
    """The SDK with a token that permits everything to one client."""

    def auth() -> TokenDetails:
        return details(tokens._sign(server.api_key, name, {"*": ["*"]}, 3_600, now()), name, 3_600)

    async with connected(sdk(server, auth, **options)) as ably:
        yield ably


@asynccontextmanager
async def http(server: RealtimeServer) -> AsyncIterator[aiohttp.ClientSession]:
    key = base64.b64encode(server.api_key.reveal().encode()).decode()
    async with aiohttp.ClientSession(
        f"http://{server.endpoint}", headers={"Authorization": f"Basic {key}"}, raise_for_status=False
    ) as session:
        yield session


@BOTH
@in_loop
async def test_the_sdk_pages_through_a_history(binary: bool) -> None:
    async with running_server() as server, keyholder(server, use_binary_protocol=binary) as ably:
        channel = ably.channels.get("a:b,c")
        for number in range(5):
            await soon(RestChannel.publish(channel, "n", str(number)))
        for direction, order in (("forwards", "01234"), ("backwards", "43210")):
            page, texts = await soon(channel.history(direction=direction, limit=2)), []
            while page:
                texts.append("".join(item.data for item in page.items))
                page = await soon(page.next())
            assert texts == [order[:2], order[2:4], order[4:]]
        page = await soon(channel.history(limit=2))
        await soon(RestChannel.publish(channel, "n", "later"))
        again = await soon((await soon(page.next())).first())
        assert [item.data for item in again.items][-1] in ("4", "3")


@in_loop
async def test_a_history_is_limited_by_start_and_end() -> None:
    async with running_server() as server, keyholder(server) as ably, http(server) as session:
        channel = ably.channels.get("a")
        moments = []
        for number in range(3):
            await soon(RestChannel.publish(channel, "n", str(number)))
            page = await soon(channel.history(limit=1))
            moments.append(round(page.items[0].timestamp))
            async with session.get("/time") as response:
                while (await response.json())[0] <= moments[-1]:
                    async with session.get("/time") as response:  # noqa: PLW2901
                        pass
        page = await soon(channel.history(start=moments[1], end=moments[1]))
        assert [item.data for item in page.items] == ["1"]
        page = await soon(channel.history(start=moments[1]))
        assert [item.data for item in page.items] == ["2", "1"]


@in_loop
async def test_a_history_until_the_attachment_ends_where_the_subscription_begins() -> None:
    async with running_server() as server, keyholder(server) as ably, http(server) as session:
        channel = ably.channels.get("a")
        await soon(RestChannel.publish(channel, "n", "before"))
        await soon(channel.attach())
        serial = channel._RealtimeChannel__attach_serial
        await soon(channel.publish("n", "after"))
        for name in ("from_serial", "fromSerial"):
            async with session.get("/channels/a/messages", params={name: serial}) as response:
                assert [message["data"] for message in await response.json()] == ["before"]
        async with session.get("/channels/a/messages?untilAttach=false") as response:  # so sent by the JavaScript SDK
            assert [message["data"] for message in await response.json()] == ["after", "before"]


@in_loop
async def test_a_token_request_may_hold_its_numbers_as_text() -> None:
    """As from a server that answers at a client's authUrl with what was in the query."""
    async with running_server() as server, http(server) as session:
        name = server.api_key.reveal().partition(":")[0]
        path, numbers = f"/keys/{name}/requestToken", {"ttl": "60000", "timestamp": str(now() // 1000)}
        async with session.post(path, json={"keyName": name, **numbers}) as response:
            answer = await response.json()
            assert (response.status, answer["expires"] - answer["issued"]) == (201, 60_000)
        async with session.post(path, json={"keyName": name, **numbers, "ttl": "soon"}) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (400, 40001)


@BOTH
@in_loop
async def test_the_sdk_lists_members_and_changes_of_presence(binary: bool) -> None:
    async with (
        running_server() as server,
        keyholder(server, "ann", use_binary_protocol=binary) as ann,
        keyholder(server, "bob") as bob,
        keyholder(server, "cid") as cid,
    ):
        for ably in (ann, bob, cid):
            await soon(ably.channels.get("a").presence.enter({"of": ably.auth.client_id}))
        await soon(bob.channels.get("a").presence.leave())
        presence = Presence(ann.channels.get("a"))
        page, found = await soon(presence.get(limit=1)), []
        while page:
            found += [(item.client_id, item.data, item.action) for item in page.items]
            page = await soon(page.next())
        assert sorted(found) == [("ann", {"of": "ann"}, 1), ("cid", {"of": "cid"}, 1)]
        page = await soon(presence.history(direction="forwards"))
        assert [(item.client_id, item.action) for item in page.items] == [
            ("ann", 2),
            ("bob", 2),
            ("cid", 2),
            ("bob", 3),
        ]


@in_loop
async def test_members_can_be_selected_by_client_and_connection() -> None:
    async with (
        running_server() as server,
        keyholder(server, "ann") as ann,
        keyholder(server, "bob") as bob,
        http(server) as session,
    ):
        for ably in (ann, bob):
            await soon(ably.channels.get("a").presence.enter("x"))
        cases: list[tuple[dict[str, str], list[str]]] = [
            ({"clientId": "bob"}, ["bob"]),
            ({"connectionId": str(ann.connection.connection_manager.connection_id)}, ["ann"]),
            ({"connectionId": "other"}, []),
        ]
        for params, found in cases:
            async with session.get("/channels/a/presence", params=params) as response:
                assert [member["clientId"] for member in await response.json()] == found
        token = client_token(server.api_key, "ann", 60, now())
        async with session.get("/channels/a/presence", headers={"Authorization": f"Bearer {token}"}) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (401, 40160)


@in_loop
async def test_a_repeated_publish_over_http_is_delivered_once() -> None:
    async with running_server() as server, keyholder(server) as ably:
        channel = ably.channels.get("a")
        for _ in range(2):
            await soon(RestChannel.publish(channel, Message(id="unique", name="n", data="x")))
            await soon(RestChannel.publish(channel, [Message(id="base:0", data="y"), Message(id="base:1", data="z")]))
        page = await soon(channel.history(direction="forwards"))
        assert [(item.id, item.data) for item in page.items] == [("unique", "x"), ("base:0", "y"), ("base:1", "z")]
        with pytest.raises(AblyException) as refused:
            await soon(RestChannel.publish(channel, [Message(id="one", data="y"), Message(id="two", data="z")]))
        assert refused.value.code == 40031


@in_loop
async def test_the_client_id_in_the_header_is_the_publishers() -> None:
    ann, bob = (base64.b64encode(name).decode() for name in (b"ann", b"bob"))
    async with running_server() as server, http(server) as session:
        for headers, body, status, code in (
            ({"X-Ably-ClientId": ann}, {"data": "implied"}, 201, None),
            ({"X-Ably-ClientId": ann}, {"data": "x", "clientId": "bob"}, 400, 40012),
            ({"X-Ably-ClientId": "%"}, {"data": "x"}, 400, 40012),
            ({"X-Ably-ClientId": base64.b64encode(b"*").decode()}, {"data": "x"}, 400, 40012),
        ):
            async with session.post("/channels/a/messages", json=body, headers=headers) as response:
                assert (response.status, (await response.json()).get("error", {}).get("code")) == (status, code)
        async with session.get("/channels/a/messages") as response:
            assert [message["clientId"] for message in await response.json()] == ["ann"]
        token = client_token(server.api_key, "ann", 60, now())
        headers = {"X-Ably-ClientId": bob, "Authorization": f"Bearer {token}"}
        async with session.post("/channels/a/messages", json={"data": "x"}, headers=headers) as response:
            assert (await response.json())["error"]["code"] == 40102


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/stats", 404, 40400),
        ("POST", "/push/publish", 404, 40400),
        ("POST", "/messages", 404, 40400),
        ("GET", "/channels", 404, 40400),
        ("GET", "/channels/a", 404, 40400),
        ("GET", "/channels/a/messages/0001", 404, 40400),
        ("POST", "/keys/x/revokeTokens", 404, 40400),
        ("GET", "/sse", 404, 40400),
        ("GET", "/ä", 404, 40400),
        ("GET", "/comet/connect", 404, 40400),
        ("PUT", "/time", 405, 40500),
        ("OPTIONS", "/channels/a/messages", 405, 40500),
        ("GET", "/", 400, 40000),
        ("GET", "/channels/a/messages?envelope=json", 400, 40003),
        ("GET", "/channels/a/messages?untilAttach=true", 400, 40003),  # the SDKs send from_serial
        ("GET", "/channels/a/messages?format=html", 400, 40003),
        ("GET", "/channels/a/messages?limit=1&limit=2", 400, 40003),
        ("POST", "/channels/a/messages?enveloped=false", 400, 40003),
    ],
)
@in_loop
async def test_what_is_not_offered_is_refused_in_ablys_format(method: str, path: str, status: int, code: int) -> None:
    async with running_server() as server, http(server) as session, session.request(method, path) as response:
        error = (await response.json())["error"]
        assert (response.status, error["statusCode"], error["code"]) == (status, status, code)
        assert error["message"]
        assert error["href"] == f"https://help.ably.io/error/{code}"
        assert response.headers["X-Ably-Errorcode"] == str(code)
        assert (response.headers.get("Allow") is not None) == (status == 405)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"connectionKey": "x"}, 40006),
        ({"extras": {"push": {}}}, 40032),
        ({"extras": {"ephemeral": True}}, 40032),
        ({"action": 1, "serial": "x"}, 40000),
    ],
)
@in_loop
async def test_parts_of_a_message_that_would_be_ignored_are_refused(message: dict[str, Any], code: int) -> None:
    body = {"data": "x", **message}
    async with (
        running_server() as server,
        http(server) as session,
        session.post("/channels/a/messages", json=body) as response,
    ):
        assert (await response.json())["error"]["code"] == code


@in_loop
async def test_links_hold_no_credentials() -> None:
    async with running_server() as server, aiohttp.ClientSession(f"http://{server.endpoint}") as session:
        query = {"key": server.api_key.reveal(), "limit": "1"}
        for _ in range(2):
            async with session.post("/channels/a/messages", params={"key": query["key"]}, json={"data": "x"}) as posted:
                assert posted.status == 201
        async with session.get("/channels/a/messages", params=query) as response:
            links = response.headers.getall("Link")
        assert [re.findall(r'rel="(\w+)"', link) for link in links] == [["first"], ["current"], ["next"]]
        assert not any("key" in link for link in links)
