"""Which messages are kept for the broker, for how long, and when to reconnect."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.messaging.connection import ReconnectDelays
from edge.messaging.messages import OutboundMessage, Outbox


class Receipt:
    def __init__(self, taken: bool = False) -> None:
        self.taken = taken

    def is_published(self) -> bool:
        return self.taken


def message(name: str, *, qos: int = 1, retain: bool = False, deadline: float | None = None) -> OutboundMessage:
    return OutboundMessage(name, b"", qos, retain, deadline)


def names(messages: list[OutboundMessage]) -> list[str]:
    return [each.topic for each in messages]


def test_waiting_messages_are_taken_once_and_in_order() -> None:
    box = Outbox(10)
    box.hold(message("a"))
    box.hold(message("b"))
    assert names(box.take(0)) == ["a", "b"]
    assert box.take(0) == []


def test_expired_messages_are_dropped_and_fresh_ones_kept() -> None:
    box = Outbox(10)
    box.hold(message("old", deadline=60))
    box.hold(message("new", deadline=90))
    assert names(box.take(60)) == ["new"]


def test_unacknowledged_messages_are_sent_again_before_later_ones() -> None:
    box = Outbox(10)
    box.sent(message("taken"), Receipt(taken=True))
    box.sent(message("in flight"), Receipt())
    box.hold(message("later"))
    box.connection_lost()
    assert names(box.take(0)) == ["in flight", "later"]


def test_retained_and_qos_0_messages_are_not_queued() -> None:
    box = Outbox(10)
    box.hold(message("level", qos=0))
    box.sent(message("state", retain=True), Receipt())
    box.connection_lost()
    assert box.take(0) == []


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 10))
def test_the_outbox_never_exceeds_its_limit(sent: list[bool], limit: int) -> None:
    box = Outbox(limit)
    for number, is_sent in enumerate(sent):
        one = message(str(number))
        box.sent(one, Receipt()) if is_sent else box.hold(one)
        assert len(box) <= 2 * limit
    box.connection_lost()
    assert len(box.take(0)) <= limit


def greatest() -> float:
    """The random number that leaves a delay as it is."""
    return 1.0


def test_reconnect_delays_double_up_to_30_s_with_at_most_half_jitter() -> None:
    delays = ReconnectDelays(greatest)
    found = [delays.after("unreachable", 0.0) for _ in range(9)]
    assert found == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    lowest = ReconnectDelays(lambda: 0.0)
    assert [lowest.after("unreachable", 0.0) for _ in range(9)][-1] == 15


def test_a_stable_connection_resets_the_reconnect_delay() -> None:
    delays = ReconnectDelays(greatest)
    for _ in range(9):
        delays.after("unreachable", 0.0)
    assert delays.after("unreachable", 60.0) == 30
    assert delays.after("lost", 60.0) == 0.5


def test_reconnect_delays_grow_if_connections_are_lost_right_away() -> None:
    delays = ReconnectDelays(greatest)
    assert [delays.after("lost", 0.1) for _ in range(4)] == [0.5, 1, 2, 4]


def test_a_refused_connection_is_retried_slowly() -> None:
    delays = ReconnectDelays(greatest)
    assert delays.after("refused", 0.1) == 15
    assert delays.after("refused", 0.1) == 30


@given(st.floats(0, 1))
def test_reconnect_jitter_is_at_most_half_of_the_delay(chance: float) -> None:
    assert 0.25 <= ReconnectDelays(lambda: chance).after("lost", 0.0) <= 0.5
