"""Commands over MQTT, the node's side: `request/<verb>` -> a typed command -> its answer on `response/<verb>`.

Or on the MQTT 5 response topic, with the correlation data, where that stands below this node's `response/`. A command
is carried out once for each id; whoever sends it again gets the same answer. Retained ones are ignored: nobody knows
how old they are. A command that was not understood is answered with a code and, where one is at fault, the field.
On `request/owner/<verb>`, a command must carry the owner's proof: what sends it there has no right of its own.
"""

from __future__ import annotations

import logging
import math
import queue
import re
import threading
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

from msgspec import Meta, Struct

from edge.core import wire
from edge.core.errors import ImHearingError, WireError
from edge.messaging import topics
from edge.messaging.bus import Bus
from edge.messaging.commands import Command, OwnerProof
from edge.messaging.events import ErrorBody, Response
from edge.messaging.messages import InboundMessage
from edge.messaging.request_pipeline import Refused, ReplayCache, Reply, RequestPipeline, Ticket, busy

log = logging.getLogger(__name__)

MAX_REQUEST = 8_192  # bytes of payload
MAX_CORRELATION = 1_024  # bytes
ANSWER_SECONDS = 60  # an answer that could not be delivered by then is not wanted any more
_WAITING = 500  # requests; more are answered `busy`
_REMEMBERED = 1_000  # answers
_EVERYBODY = ""  # MQTT does not name the sender of a message
_LEVELS = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+){0,7}", re.ASCII)

Handler = Callable[[Any], dict[str, Any] | None]
Call = Callable[[], None]
IsProof = Callable[[str], bool]


class Incoming(NamedTuple):
    verb: str
    payload: bytes
    answer_topic: str
    correlation: bytes | None


class _AnyId(Struct, frozen=True):
    id: Annotated[str, Meta(max_length=128)] = ""


def address(message: InboundMessage, node: str) -> Incoming | None:
    """The requested verb and where to answer; None for a retained request, which is not answered."""
    verb = message.topic.removeprefix(topics.request(node, ""))
    if message.retained:
        return None
    below = topics.response(node)
    topic, correlation = f"{below}{verb}", message.correlation
    if message.response_topic is not None and _is_below(below, message.response_topic):
        topic = message.response_topic
    if correlation is not None and len(correlation) > MAX_CORRELATION:
        correlation = None
    return Incoming(verb, message.payload, topic, correlation)


def check_envelope(message: InboundMessage, node: str) -> None:
    """Whether the answer may go where the sender wants it. Raises Refused."""
    wanted, below = message.response_topic, topics.response(node)
    if wanted is not None and not _is_below(below, wanted):
        raise Refused("bad_request", f"the response topic must stand below {below}", "response_topic")
    if message.correlation is not None and len(message.correlation) > MAX_CORRELATION:
        raise Refused("bad_request", f"more than {MAX_CORRELATION} bytes of correlation data", "correlation_data")


def read(payload: bytes, wanted: type[Command]) -> Command:
    """The command in `payload`. Raises Refused."""
    if len(payload) > MAX_REQUEST:
        raise Refused("bad_request", f"larger than {MAX_REQUEST} bytes")
    try:
        return wire.decode(payload, wanted)
    except WireError as problem:
        raise Refused("bad_request", str(problem)[:300], problem.field) from None


def check_proof(payload: bytes, is_proof: IsProof) -> None:
    """Raises Refused unless the owner made the command in `payload`, which has been read."""
    try:
        if is_proof(wire.decode(payload, OwnerProof).proof):
            return
    except WireError:
        pass
    message = (
        "this takes a valid proof of the owner: log in again, by password or `imhearing page link`, on a node"
        " with [http] owner_key"
    )
    raise Refused("forbidden", message, "proof")


def id_of(payload: bytes) -> str:
    """The request's id for an answer; empty where there is none that can be read."""
    try:
        return wire.decode(payload, _AnyId).id if len(payload) <= MAX_REQUEST else ""
    except WireError:
        return ""


class CommandServer:
    """Takes the commands of one service and answers each once.

    `handlers` carry out a command and give what came of it; what they raise is answered. They run one after another
    where `run` puts them (False: no room), or in a thread of its own. Only their own topics are subscribed to: a filter
    such as `request/#` would also deliver whatever else is retained there, on every connection. `is_proof` tells the
    owner's proof from any other text.
    """

    def __init__(
        self,
        bus: Bus,
        node: str,
        handlers: Mapping[type[Command], Handler],
        is_proof: IsProof,
        run: Callable[[Call], bool] | None = None,
    ) -> None:
        self._bus, self._node, self._is_proof = bus, node, is_proof
        self._handlers = {verb: each for each in handlers.items() for verb in each[0].requests()}
        self._pipeline = RequestPipeline(_WAITING, replays=ReplayCache(_REMEMBERED, seconds=math.inf), in_turn=True)
        self._run = run or _own_thread(f"requests-{node}")
        for verb in self._handlers:
            bus.subscribe_raw(topics.request(node, verb), self._received, retain_as_published=True)

    def _received(self, message: InboundMessage) -> None:
        incoming = address(message, self._node)
        if incoming is None:
            log.debug("ignored on %.100r, retained: %s", message.topic, message.retained)
            return
        wanted, handler = self._handlers[incoming.verb]
        try:
            check_envelope(message, self._node)
            command = read(incoming.payload, wanted)
            if incoming.verb != wanted.VERB:
                check_proof(incoming.payload, self._is_proof)
            self._admit(incoming, command, handler)
        except Refused as refused:
            error = Response(id=id_of(incoming.payload), ok=False, error=refused.body)
            self._send(incoming, wire.encode(error))

    def _admit(self, incoming: Incoming, command: Command, handler: Handler) -> None:
        ticket = self._pipeline.admit(_EVERYBODY, (command.VERB, command.id), wire.encode(command))
        if ticket is not None and not self._run(lambda: self._carry_out(incoming, ticket, command, handler)):
            self._pipeline.withdraw(ticket)
            raise busy()

    def _carry_out(self, incoming: Incoming, ticket: Ticket, command: Command, handler: Handler) -> None:
        try:
            data = self._pipeline.answer_now(ticket, lambda: Reply(wire.encode(_outcome(command, handler))))
            self._send(incoming, data)
        finally:
            self._pipeline.release(ticket)

    def _send(self, incoming: Incoming, data: bytes) -> None:
        self._bus.send(incoming.answer_topic, data, incoming.correlation, ANSWER_SECONDS)


def _outcome(command: Command, handler: Handler) -> Response:
    try:
        data = handler(command)
    except Refused as refused:
        return Response(id=command.id, ok=False, error=refused.body)
    except WireError as problem:
        return Response(id=command.id, ok=False, error=ErrorBody("bad_request", str(problem), problem.field))
    except (ImHearingError, OSError) as problem:
        log.warning("%s could not be carried out: %s", command.VERB, problem)
        return Response(id=command.id, ok=False, error=ErrorBody("internal", str(problem)))
    except Exception:  # the edge of a message
        log.exception("%s could not be carried out", command.VERB)
        return Response(id=command.id, ok=False, error=ErrorBody("internal", "the node failed; its log says why"))
    log.info("carried out: %s", command.VERB)
    return Response(id=command.id, ok=True, data=data or {})


def _is_below(below: str, topic: str) -> bool:
    return topic.startswith(below) and len(topic) <= 256 and _LEVELS.fullmatch(topic[len(below) :]) is not None


def _own_thread(name: str) -> Callable[[Call], bool]:
    waiting: queue.SimpleQueue[Call] = queue.SimpleQueue()

    def work() -> None:
        while True:
            waiting.get()()

    def put(call: Call) -> bool:
        waiting.put(call)  # bounded by admission
        return True

    threading.Thread(target=work, name=name, daemon=True).start()
    return put
