"""What comes over MQTT, HTTP and Ably: requests at the node, answers and events at its clients."""

from __future__ import annotations

import asyncio
import functools
import http.client
import io
import json
import queue
import socket
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgpack
from ably.types.message import Message
from rich.console import Console

from commands.show.answer_tables import print_listing
from commands.show.node_view import NodeView
from edge.configuration.settings import Http
from edge.core import wire
from edge.core.errors import ImHearingError, WireError
from edge.messaging import topics
from edge.messaging.command_server import address, check_envelope, check_proof, id_of, read
from edge.messaging.commands import EVERY_REQUEST, Command
from edge.messaging.events import EVENTS, Response
from edge.messaging.messages import InboundMessage
from edge.messaging.owner_proof import proof_check
from edge.messaging.request_pipeline import Refused
from edge.messaging.subscriptions import decode_event
from query_service.client.pending_queries import PendingQueries
from query_service.doors.query_pipeline import QueryPipeline
from query_service.loopback.auth import Authority, TokenRequest
from query_service.loopback.protocol import Action
from query_service.queries.cursors import Cursors
from query_service.queries.protocol import QUERY_TYPES, Answer, Request, range_request, read_answer, read_request
from query_service.queries.values import ErrorAnswer
from query_service.realtime.link import delivery_of
from tests import asyncapi
from tests.fuzz.target import Target, packed, unpacked
from tests.support.messaging.http_door import fake_http_door
from tests.support.wait import DEADLINE
from tests.unit.loopback.hub_world import KEY, REQUESTS, Peer, World

NODE = "porch"
_ANSWERS = Path(__file__).parents[1] / "contract" / "expected" / "answers"
_COMMANDS: tuple[type[Command], ...] = tuple(Command.__subclasses__())
_PROOF = "f4865700.38b79b35c31bd6322ce28758.14d8da229a02b341deb7f2a5"  # by "a key", until 2100
_PROOF_AT = 0xF4865700 - 60.0
_QUERY = {"v": 1, "id": "abcdefgh", "from": "2026-03-03T22:00:00Z", "to": "2026-03-03T22:10:00Z"}


def _filled(value: Any, key: str = "") -> Any:
    """An expected answer of the contract, with values in the place of those that differ from run to run."""
    if isinstance(value, dict):
        return {name: _filled(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(each) for each in value]
    if isinstance(value, str) and value.startswith("<"):
        if value == "<time>" or key in ("at", "since", "from", "to"):
            return "2026-03-03T22:00:00.000000Z"
        return "0" * 64 if key == "sha256" else 1
    return value


def _answers() -> list[bytes]:
    found = [json.dumps(_filled(json.loads(file.read_text())["answer"])).encode() for file in _ANSWERS.glob("*.json")]
    return [data for data in found if len(data) < 5_000]


def _mqtt(data: bytes) -> None:
    """Topic, response topic, payload, correlation."""
    topic, response_topic, payload, correlation, *_ = [*unpacked(data), b"", b"", b"", b""]
    message = InboundMessage(
        topic.decode(errors="replace"), payload, False, response_topic.decode(errors="replace") or None, correlation
    )
    view = NodeView()
    event = decode_event(message.topic, message.payload)
    if event is not None:
        view.apply(event)
    if message.topic.startswith(topics.response(NODE)):
        wire.decode(payload, Response)
    incoming = address(message, NODE)
    if incoming is not None:
        _carried_out(message, incoming.verb)


def _carried_out(message: InboundMessage, verb: str) -> None:
    id_of(message.payload)
    try:
        check_envelope(message, NODE)
        for command in _COMMANDS:
            if verb in command.requests():
                read(message.payload, command)
                if verb != command.VERB:
                    check_proof(message.payload, proof_check("a key", lambda: _PROOF_AT))
    except Refused as refused:
        wire.encode(refused.body)
        raise WireError(str(refused)) from None
    if verb == "query":
        _request(message.payload)


def _request(data: bytes) -> None:
    """A query, and the cursor in it."""
    pipeline = QueryPipeline(NODE, _nothing, 4)
    wire.encode(pipeline.admit("ann", data, 10.0))
    request = read_request(data, NODE)
    if isinstance(request, ErrorAnswer):
        wire.encode(request)
    elif QUERY_TYPES[request.type].has_range:
        for wanted in (int, tuple[float, int, str]):
            try:
                Cursors("a key").read(range_request(request, NODE), wanted)
            except ImHearingError:
                continue


async def _nothing(request: Request, _sender: str) -> Answer:
    raise NotImplementedError(request.id)


def _answer(data: bytes) -> None:
    """An answer, as `imhearing query` shows it."""
    PendingQueries().receive(data, NODE)
    answer = read_answer(data)
    wire.encode(answer)
    if not isinstance(answer, ErrorAnswer) and QUERY_TYPES[answer.type].listing is not None:
        print_listing(answer, Console(file=io.StringIO(), width=100), utc=len(data) % 2 == 0)


def _ably_client(data: bytes) -> None:
    """One frame in MessagePack, as the SDK hands its messages to the door and to the client."""
    try:
        frame = msgpack.unpackb(data, raw=False)
    except Exception:  # the SDK logs whatever its libraries raise
        return
    messages = frame.get("messages") if isinstance(frame, dict) else None
    for encoded in messages if isinstance(messages, list) else []:
        delivery = delivery_of(_decoded(encoded))
        _request(delivery.data)
        PendingQueries().receive(delivery.data, delivery.client_id or "")


def _decoded(encoded: Any) -> Any:
    try:
        return Message.from_encoded(encoded)
    except Exception as problem:  # likewise
        raise WireError(str(problem)) from None


@functools.cache
def _http_door() -> tuple[str, int]:
    """A door that answers, for as long as the process runs."""
    started: queue.Queue[str] = queue.Queue()

    async def serve() -> None:
        async with fake_http_door(Http()) as url:
            started.put(url)
            await asyncio.Event().wait()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    parts = urlsplit(started.get(timeout=DEADLINE))
    return parts.hostname or "", parts.port or 0


def _http(data: bytes) -> None:
    """The address of a GET, or the body of a POST: answered with anything but an internal error, or dropped."""
    address_part, body, *_ = [*unpacked(data), b"", b""]
    path = address_part.replace(b"\r", b"").replace(b"\n", b"").replace(b" ", b"%20")
    head = b"GET /%s HTTP/1.1" % path if not body else b"POST /query HTTP/1.1"
    length = b"\r\nContent-Type: application/json\r\nContent-Length: %d" % len(body)
    with socket.create_connection(_http_door(), timeout=DEADLINE) as connection:
        connection.sendall(head + b"\r\nHost: localhost" + length + b"\r\nConnection: close\r\n\r\n" + body)
        response = http.client.HTTPResponse(connection)
        try:
            response.begin()
        except (http.client.HTTPException, ConnectionError):
            return
        response.read()
    if response.status == 500:
        raise RuntimeError("internal server error")


@functools.cache
def _world() -> World:
    return World(frame_rate=1e9, message_rate=1e9)


def _ably_server(data: bytes) -> None:
    """Query of the socket, then frames; the first byte says in which encoding."""
    world = _world()
    world.now = 1_795_326_248.0
    first, token, *frames = [*unpacked(data), b"", b""]
    binary = first[:1] == b"m"
    peer = Peer(world, {"key": KEY.reveal(), "clientId": "ann"})
    peer.connection.form = "msgpack" if binary else "json"
    try:
        for frame in frames:
            world.hub.receive(peer.connection, frame if binary else frame.decode(errors="replace"))
            if peer.connection.queue is None:
                break
        world.advance(1)
    finally:
        world.hub.forget_all()
    authority, text = Authority(KEY), token.decode(errors="replace")
    for check in (
        lambda: authority.from_query({"accessToken": text}, 0),
        lambda: authority.from_header(text, 0),
        lambda: authority.from_header(f"Bearer {text}", 0),
        lambda: authority.issue(wire.decode(token, TokenRequest), 0, trusted=True),
    ):
        try:
            check()
        except ImHearingError:
            continue


def _event_seeds() -> list[bytes]:
    return [
        packed(event.topic_of(NODE).encode(), b"", json.dumps(asyncapi.example(event)).encode(), b"")
        for event in EVENTS
    ]


def _command_seeds() -> list[bytes]:
    seeds = []
    for command in _COMMANDS:
        payload = json.dumps({**asyncapi.example(command), "proof": _PROOF}).encode()
        for verb in command.requests():
            topic = topics.request(NODE, verb).encode()
            seeds.append(packed(topic, topics.response(NODE, "x").encode(), payload, b"12"))
    assert len(seeds) >= len(EVERY_REQUEST) - 1
    return seeds


def _request_seeds() -> list[bytes]:
    extra: dict[str, dict[str, object]] = {
        "coverage": {"limit": 10, "cursor": "AAAAAAAAAAAAAAAAMTc3MjU3NTIwMDAwMDAwMA"},
        "sounds": {"min_level": -30.5, "order": "time"},
        "levels": {"step": 60, "urls": False},
        "days": {"zone": "Europe/Berlin"},
        "states": {},
        "extent": {},
        "status": {},
        "clip": {},
    }
    return [json.dumps({**_QUERY, "type": kind, **more}).encode() for kind, more in extra.items()]


def _frames() -> list[dict[str, Any]]:
    message = {"name": "query", "data": "{}", "extras": {"headers": {"deadline": 5}}, "encoding": "utf-8"}
    coded, member = {"data": "e30=", "encoding": "base64"}, {"action": 2, "data": "x", "clientId": "ann"}
    return [
        {"action": Action.ATTACH, "channel": REQUESTS, "flags": 1 << 17 | 1 << 18, "params": {"rewind": "15s"}},
        {"action": Action.MESSAGE, "channel": REQUESTS, "msgSerial": 0, "messages": [message, coded]},
        {"action": Action.PRESENCE, "channel": "imhearing:nodes", "msgSerial": 1, "presence": [member]},
        {"action": Action.SYNC, "channel": "imhearing:nodes"},
        {"action": Action.HEARTBEAT, "id": "1"},
        {"action": Action.AUTH, "auth": {"accessToken": "a.b.c"}},
        {"action": Action.DETACH, "channel": REQUESTS},
        {"action": Action.CLOSE},
    ]  # fmt: skip


def _server_seeds() -> list[bytes]:
    token = b"eyJhbGciOiJIUzI1NiIsImtpZCI6ImFwcC5rZXkifQ.eyJleHAiOjF9.AAAA"
    request = json.dumps({"keyName": "app.key", "ttl": 3_600_000, "capability": '{"*":["*"]}', "nonce": "1"}).encode()
    in_json = [json.dumps(frame).encode() for frame in _frames()]
    in_msgpack = [msgpack.packb(frame) for frame in _frames()]
    return [packed(b"j", token, *in_json), packed(b"m", request, *in_msgpack), packed(b"j", b"Basic YTpi", in_json[1])]


def _client_seeds() -> list[bytes]:
    payloads: list[object] = [*_request_seeds(), *_answers()[:3], "text", {"a": [1, 2.5, None]}]
    messages = [
        {"name": "query", "data": data, "clientId": "ann", "extras": {"headers": {"id": "x"}}} for data in payloads
    ]
    return [msgpack.packb({"action": 15, "channel": REQUESTS, "messages": [message]}) for message in messages]


def targets() -> list[Target]:
    requests, query = _request_seeds(), topics.request(NODE, "query").encode()
    over_mqtt = [packed(query, b"", request, b"") for request in requests]
    by_address = b"coverage?from=2026-03-03T22:00:00Z&to=2026-03-03T22:10:00%2B01:00&limit=10&urls=true"
    over_http = [packed(by_address, b""), *(packed(b"", request) for request in requests)]
    return [
        Target("mqtt", _mqtt, [*_event_seeds(), *_command_seeds(), *over_mqtt], is_packed=True),
        Target("answer", _answer, _answers()),
        Target("http", _http, over_http, (), is_packed=True),
        Target("ably server", _ably_server, _server_seeds(), is_packed=True),
        Target("ably client", _ably_client, _client_seeds()),
    ]
