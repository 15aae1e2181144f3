"""One question through each door of a running node, as raw bytes. Local questions go through the command line."""

from __future__ import annotations

import asyncio
import http.client
import json
from typing import Any, NamedTuple

from ably import AblyRealtime
from ably.types.message import Message
from ably.types.tokendetails import TokenDetails

from tests.support.messaging.mqtt import Client
from tests.support.wait import wait_until

_TOPIC = "imhearing/porch/{}/query"
_SECONDS = 20.0


class HttpAnswer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def over_http(
    port: int, method: str, address: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> HttpAnswer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    try:
        connection.request(method, address, body, headers or {})
        response = connection.getresponse()
        return HttpAnswer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


def over_mqtt(client: Client, questions: dict[str, bytes]) -> dict[str, bytes]:
    """Each response by the name of its question, which comes back as correlation data."""
    for name, question in questions.items():
        client.publish(
            _TOPIC.format("request"), question,
            response_topic=_TOPIC.format("response"), correlation=name.encode(),
        )  # fmt: skip
        wait_until(lambda: name in _answers(client), f"{name} is answered over MQTT", _SECONDS)  # noqa: B023 - at once
    answers = _answers(client)
    return {name: answers[name] for name in questions}


def _answers(client: Client) -> dict[str, bytes]:
    return {(each.correlation or b"").decode(): each.payload for each in client.messages_on(_TOPIC.format("response"))}


def over_ably(endpoint: str, token: str, client_id: str, questions: dict[str, bytes]) -> dict[str, bytes]:
    """The same over Ably, one after the other: what cannot be read has no id by which to tell its answer."""
    return asyncio.run(asyncio.wait_for(_over_ably(endpoint, token, client_id, questions), 3 * _SECONDS))


async def _over_ably(endpoint: str, token: str, client_id: str, questions: dict[str, bytes]) -> dict[str, bytes]:
    async def authenticate(_: object) -> TokenDetails:
        return TokenDetails(token=token, client_id=client_id)

    ably = AblyRealtime(endpoint=f"{endpoint}/", tls=False, auth_callback=authenticate, use_binary_protocol=True)
    came: asyncio.Queue[bytes] = asyncio.Queue()
    try:
        await ably.channels.get(f"imhearing:replies:{client_id}").subscribe(
            lambda message: came.put_nowait(bytes(message.data))
        )
        requests = ably.channels.get("imhearing:requests:porch")
        answers = {}
        for name, question in questions.items():
            await requests.publish(Message(name="query", data=question))
            wanted = _id_of(question)
            async with asyncio.timeout(_SECONDS):
                while _id_of(answer := await came.get()) != wanted:
                    pass  # a reply may come twice
            answers[name] = answer
        return answers
    finally:
        await ably.close()


def _id_of(data: bytes) -> Any:
    try:
        value = json.loads(data)
    except ValueError:
        return ""
    identity = value.get("id", "") if isinstance(value, dict) else ""
    return identity if isinstance(identity, str) else ""
