"""Commands over MQTT without a broker: where responses go, what is refused, and that an ID is executed once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core import wire
from edge.core.errors import SpoolError, WireError
from edge.messaging.bus import Bus
from edge.messaging.command_server import MAX_CORRELATION, MAX_REQUEST, CommandServer, id_of
from edge.messaging.commands import ChangeHolds, Command, Pause, Rotate, SetLimit
from edge.messaging.events import Response
from edge.messaging.messages import InboundMessage
from edge.messaging.request_pipeline import Refused
from edge.messaging.subscriptions import MessageHandler

BELOW = "imhearing/porch/response/"
PROOF = "the owner's"


class Recorded:
    """Takes the place of a bus: keeps what is sent, lets a test deliver."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Response, bytes | None]] = []
        self.handlers: dict[str, MessageHandler] = {}

    def subscribe_raw(self, topic_filter: str, handler: MessageHandler, *, retain_as_published: bool = False) -> None:
        assert retain_as_published
        self.handlers[topic_filter] = handler

    def send(self, topic: str, payload: bytes, correlation: bytes | None = None, expiry: int | None = None) -> None:
        assert expiry
        self.sent.append((topic, wire.decode(payload, Response), correlation))


class Node:
    """A command server whose commands are carried out at once."""

    def __init__(self, handler: Callable[[Any], dict[str, Any] | None] = lambda _: {}, room: bool = True) -> None:
        self.bus = Recorded()
        self.carried_out: list[Command] = []

        def note(command: Command) -> dict[str, Any] | None:
            self.carried_out.append(command)
            return handler(command)

        def run(call: Callable[[], None]) -> bool:
            if room:
                call()
            return room

        handlers: dict[type[Command], Any] = {Pause: note, Rotate: note, SetLimit: note, ChangeHolds: note}
        CommandServer(cast(Bus, self.bus), "porch", handlers, lambda proof: proof == PROOF, run)

    def deliver(self, verb: str, payload: bytes | dict[str, Any], **envelope: Any) -> Response | None:
        """The answer, if there is one."""
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        before = len(self.bus.sent)
        message = InboundMessage(f"imhearing/porch/request/{verb}", data, envelope.pop("retained", False), **envelope)
        self.bus.handlers[message.topic](message)
        assert len(self.bus.sent) - before in (0, 1)
        return self.bus.sent[-1][1] if len(self.bus.sent) > before else None


def refusal(node: Node, verb: str, payload: bytes | dict[str, Any], **envelope: Any) -> tuple[str, str | None]:
    answer = node.deliver(verb, payload, **envelope)
    assert answer is not None
    assert not answer.ok
    assert answer.error is not None
    assert answer.error.message
    return answer.error.code, answer.error.field


def test_a_command_is_executed_and_answered_under_its_verb() -> None:
    node = Node(lambda _: {"until": None})
    answer = node.deliver("pause", {"id": "a" * 16, "seconds": 60})
    assert answer == Response(id="a" * 16, ok=True, data={"until": None})
    assert node.carried_out == [Pause(id="a" * 16, seconds=60)]
    assert node.bus.sent[0][0] == f"{BELOW}pause"


def test_a_command_is_answered_on_its_response_topic() -> None:
    node = Node()
    node.deliver("rotate", {"id": "a" * 16}, response_topic=f"{BELOW}me/1", correlation=b"\0\xff")
    assert node.bus.sent[0][0] == f"{BELOW}me/1"
    assert node.bus.sent[0][2] == b"\0\xff"


@pytest.mark.parametrize(
    "topic",
    [
        "imhearing/garden/response/x", "imhearing/porch/recorder/state", f"{BELOW}#", f"{BELOW}+/x", f"{BELOW}$x",
        f"{BELOW}a/../b\0", BELOW, "$SYS/x", "", f"{BELOW}{'x' * 300}", f"{BELOW}a//b", f"{BELOW}x\n",
    ],
)  # fmt: skip
def test_a_response_topic_outside_the_nodes_responses_is_refused(topic: str) -> None:
    node = Node()
    assert refusal(node, "rotate", {"id": "a" * 16}, response_topic=topic) == ("bad_request", "response_topic")
    assert node.bus.sent[0][0] == f"{BELOW}rotate"
    assert node.carried_out == []


@pytest.mark.parametrize(
    ("verb", "payload", "code", "field"),
    [
        ("pause", b"", "bad_request", None),
        ("pause", b"\xff\xfe", "bad_request", None),
        ("pause", b"[" * 5_000, "bad_request", None),
        ("pause", b'{"id":"' + b"x" * MAX_REQUEST + b'"}', "bad_request", None),
        ("pause", {}, "bad_request", "id"),
        ("pause", {"id": "short"}, "bad_request", "id"),
        ("pause", {"id": 5}, "bad_request", "id"),
        ("pause", {"id": "a" * 16, "seconds": "long"}, "bad_request", "seconds"),
        ("pause", {"id": "a" * 16, "seconds": 0}, "bad_request", "seconds"),
        ("pause", {"id": "a" * 16, "seconds": 1e300}, "bad_request", "seconds"),
        ("set", {"id": "a" * 16, "metric": "colour", "limit": 1}, "bad_request", "metric"),
        ("set", {"id": "a" * 16, "metric": "oldest_age"}, "bad_request", "limit"),
    ],
)
def test_an_invalid_command_is_answered_with_code_and_field(
    verb: str, payload: bytes | dict[str, Any], code: str, field: str | None
) -> None:
    node = Node()
    assert refusal(node, verb, payload) == (code, field)
    assert node.carried_out == []


def test_oversized_correlation_data_is_refused_and_not_returned() -> None:
    node = Node()
    got = refusal(node, "rotate", {"id": "a" * 16}, correlation=b"x" * (MAX_CORRELATION + 1))
    assert got == ("bad_request", "correlation_data")
    assert node.bus.sent[0][2] is None


def test_a_service_subscribes_to_the_topics_of_its_own_commands_and_no_others() -> None:
    verbs = ("pause", "owner/pause", "rotate", "owner/rotate", "set", "owner/hold")
    assert set(Node().bus.handlers) == {f"imhearing/porch/request/{verb}" for verb in verbs}


def test_an_owners_command_is_executed_with_a_proof_and_answered_under_its_verb() -> None:
    node = Node()
    answer = node.deliver("owner/pause", {"id": "a" * 16, "seconds": 60, "proof": PROOF})
    assert answer == Response(id="a" * 16, ok=True, data={})
    assert node.carried_out == [Pause(id="a" * 16, seconds=60)]
    assert node.bus.sent[0][0] == f"{BELOW}owner/pause"


@pytest.mark.parametrize("verb", ["owner/pause", "owner/rotate", "owner/hold"])
@pytest.mark.parametrize(
    "proof",
    [{}, *({"proof": value} for value in ("", None, "another's", f"{PROOF} ", PROOF.upper(), [PROOF], 1, "x" * 300))],
)
def test_without_the_owners_proof_nothing_is_executed_and_no_answer_repeated(verb: str, proof: dict[str, Any]) -> None:
    node = Node(lambda _: {"holds": ["secret"]})
    assert refusal(node, verb, {"id": "b" * 16, **proof}) == ("forbidden", "proof")
    assert node.carried_out == []
    node.deliver(verb, {"id": "a" * 16, "proof": PROOF})
    assert refusal(node, verb, {"id": "a" * 16, **proof}) == ("forbidden", "proof")
    assert len(node.carried_out) == 1


def test_a_refusal_by_the_handler_is_answered_with_its_code() -> None:
    def refuse(command: Command) -> dict[str, Any]:
        raise Refused("on_hold", "kept", "from")

    assert refusal(Node(refuse), "rotate", {"id": "a" * 16}) == ("on_hold", "from")


def test_a_retained_command_is_ignored() -> None:
    node = Node()
    assert node.deliver("pause", {"id": "a" * 16}, retained=True) is None
    assert node.carried_out == []


def test_a_repeated_command_is_executed_once_and_answered_the_same() -> None:
    count = iter(range(1_000))
    node = Node(lambda _: {"n": next(count)})
    answers = [node.deliver("rotate", {"id": "a" * 16}) for _ in range(100)]
    assert len(node.carried_out) == 1
    assert {wire.encode(answer) for answer in answers} == {wire.encode(answers[0])}


def test_a_failed_command_is_not_executed_again() -> None:
    def fail(command: Command) -> dict[str, Any]:
        raise SpoolError("no room")

    node = Node(fail)
    assert refusal(node, "rotate", {"id": "a" * 16}) == ("internal", None)
    assert refusal(node, "rotate", {"id": "a" * 16}) == ("internal", None)
    assert len(node.carried_out) == 1


def test_a_command_with_a_used_id_and_different_fields_is_refused() -> None:
    node = Node()
    node.deliver("pause", {"id": "a" * 16, "seconds": 5})
    assert refusal(node, "pause", {"id": "a" * 16, "seconds": 6}) == ("bad_request", "id")
    assert len(node.carried_out) == 1


def test_a_field_rejected_by_the_handler_is_named_in_the_response() -> None:
    def fail(command: Command) -> dict[str, Any]:
        raise WireError("limit: too much", "limit")

    assert refusal(Node(fail), "rotate", {"id": "a" * 16}) == ("bad_request", "limit")


def test_an_exception_in_a_handler_is_answered_as_internal_error() -> None:
    def fail(command: Command) -> dict[str, Any]:
        raise ZeroDivisionError

    assert refusal(Node(fail), "rotate", {"id": "a" * 16}) == ("internal", None)


def test_a_command_that_exceeds_the_queue_is_answered_as_busy() -> None:
    assert refusal(Node(room=False), "rotate", {"id": "a" * 16}) == ("busy", None)


def test_a_command_evicted_from_the_replay_cache_is_executed_again() -> None:
    node = Node()
    for number in range(1_001):
        node.deliver("rotate", {"id": f"{number:016}"})
    node.deliver("rotate", {"id": f"{1_000:016}"})
    assert len(node.carried_out) == 1_001
    node.deliver("rotate", {"id": f"{0:016}"})
    assert len(node.carried_out) == 1_002


_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20) | st.integers(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)
_fields = st.fixed_dictionaries(
    {}, optional={"id": _json, "seconds": _json, "metric": _json, "limit": _json, "on": _json, "proof": _json}
)


@given(
    st.sampled_from(["pause", "rotate", "set", "owner/pause", "owner/rotate", "owner/hold"]),
    st.binary(max_size=200) | _fields.map(lambda fields: json.dumps(fields).encode()),
    st.none() | st.text(max_size=40) | st.text(max_size=10).map(lambda tail: BELOW + tail),
    st.none() | st.binary(max_size=50),
)
def test_any_message_gets_at_most_one_response_on_the_nodes_own_topics(
    verb: str, payload: bytes, response_topic: str | None, correlation: bytes | None
) -> None:
    node = Node()
    answer = node.deliver(verb, payload, response_topic=response_topic, correlation=correlation)
    for topic, _, _ in node.bus.sent:
        assert topic.startswith(BELOW)
        assert not set("#+$\0") & set(topic)
    if answer is not None:
        assert answer.ok is (answer.error is None)
        assert len(node.carried_out) == (1 if answer.ok else 0)


@given(st.binary(max_size=100))
def test_the_id_of_any_payload_is_text(payload: bytes) -> None:
    assert isinstance(id_of(payload), str)
