"""Events are decoded once for all subscribers; invalid ones never reach a handler."""

from __future__ import annotations

import contextlib
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from edge.core import wire
from edge.core.errors import WireError
from edge.core.instant import Instant
from edge.messaging.events import Event, GapFound, LevelMeasured
from edge.messaging.messages import InboundMessage
from edge.messaging.subscriptions import Subscription, Subscriptions, decode_event

LEVEL = LevelMeasured(
    at=Instant(0), node="porch", laeq=-42.0, lafmax=-38.5, lcpeak=-20.0, unit="dBFS", calibrated=False
)  # fmt: skip
GAP = GapFound(at=Instant(0), node="porch", started_at=Instant(0), ended_at=Instant(5), cause="restart")


class Heard:
    """A handler that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[Event, bool]] = []

    def __call__(self, event: Event, retained: bool) -> None:
        self.events.append((event, retained))


def message(event: Event, payload: bytes | None = None, retained: bool = False) -> InboundMessage:
    return InboundMessage(event.topic, wire.encode(event) if payload is None else payload, retained)


def subscribed() -> tuple[Subscriptions, Heard]:
    """To levels, where a filter covers only the topic that it equals."""
    subscriptions, heard = Subscriptions(str.__eq__), Heard()
    subscriptions.add(Subscription(LEVEL.topic, subscriptions.decoding(LevelMeasured, heard)))
    return subscriptions, heard


def test_a_handler_receives_its_events_with_their_retained_flag() -> None:
    subscriptions, heard = subscribed()
    subscriptions.dispatch(message(LEVEL))
    subscriptions.dispatch(message(GAP))
    subscriptions.dispatch(message(LEVEL, retained=True))
    assert heard.events == [(LEVEL, False), (LEVEL, True)]


def test_two_handlers_of_one_event_share_one_subscription() -> None:
    subscriptions, first = subscribed()
    second = Heard()
    subscriptions.add(Subscription(LEVEL.topic, subscriptions.decoding(LevelMeasured, second)))
    subscriptions.dispatch(message(LEVEL))
    assert first.events == second.events == [(LEVEL, False)]
    assert [each.topic_filter for each in subscriptions] == [LEVEL.topic]


def test_a_handler_that_raises_is_logged_and_the_next_is_called(caplog: pytest.LogCaptureFixture) -> None:
    subscriptions, heard = Subscriptions(str.__eq__), Heard()

    def fail(_event: LevelMeasured, _retained: bool) -> None:
        raise ZeroDivisionError

    for handler in (fail, heard):
        subscriptions.add(Subscription(LEVEL.topic, subscriptions.decoding(LevelMeasured, handler)))
    subscriptions.dispatch(message(LEVEL))
    assert heard.events
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    "payload", [b"{}", b"\xff", b"[" * 7_000, b'{"laeq": "loud"}', wire.encode(replace(LEVEL, node="shed"))]
)
def test_an_undecodable_event_is_logged_once_and_dropped(payload: bytes, caplog: pytest.LogCaptureFixture) -> None:
    subscriptions, heard = subscribed()
    for _ in range(3):
        subscriptions.dispatch(message(LEVEL, payload))
    assert [(record.levelno, LEVEL.topic in record.message) for record in caplog.records] == [(logging.WARNING, True)]
    subscriptions.dispatch(message(LEVEL))
    assert heard.events == [(LEVEL, False)]


def test_a_cleared_retained_event_is_ignored_silently(caplog: pytest.LogCaptureFixture) -> None:
    subscriptions, heard = subscribed()
    subscriptions.dispatch(message(LEVEL, b""))
    assert not heard.events
    assert not caplog.records


@pytest.mark.parametrize(
    "topic", ["imhearing/porch/recorder/nothing", "elsewhere/porch/recorder/level", "imhearing", "imhearing/porch", ""]
)
def test_foreign_topics_carry_no_event(topic: str) -> None:
    assert decode_event(topic, wire.encode(LEVEL)) is None


@pytest.mark.parametrize("topic", ["imhearing/other/recorder/level", "imhearing//recorder/level"])
def test_an_event_on_another_nodes_topic_is_refused(topic: str) -> None:
    with pytest.raises(WireError, match="node"):
        decode_event(topic, wire.encode(LEVEL))


@given(st.binary(max_size=200))
def test_any_payload_is_decoded_or_raises_wire_error(payload: bytes) -> None:
    with contextlib.suppress(WireError):
        decode_event(LEVEL.topic, payload)
