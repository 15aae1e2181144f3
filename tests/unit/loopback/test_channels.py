"""Histories stay within their limits, and a serial identifies exactly the missed messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query_service.loopback.channels import Channel, Channels
from query_service.loopback.connections import Rate, ServerLimits
from query_service.loopback.protocol import AblyMessage, Action, Frame, PresenceMessage, Refusal

LIMITS = ServerLimits(
    history_messages=5, history_bytes=5_000, history_total_bytes=8_000, channels=3, history_seconds=120
)


def channels() -> Channels:
    return Channels(LIMITS, 1_795_326_248_000)


def publish(all_of: Channels, name: str, data: str, now: float = 0.0) -> str:
    frame = Frame(action=Action.MESSAGE, messages=[AblyMessage(data=data)])
    all_of.record(all_of.open(name, now), frame, now)
    assert frame.channel_serial is not None
    return frame.channel_serial


def texts(channel: Channel, number: int | None) -> list[str]:
    assert number is not None
    return [message.data for kept in channel.since(number) for message in kept.frame.messages or []]


def test_resuming_from_a_serial_delivers_what_came_after_it() -> None:
    all_of = channels()
    serials = [publish(all_of, "a", text) for text in "xyz"]
    channel = all_of.open("a", 0)
    assert serials == sorted(serials)
    assert texts(channel, all_of.resumable(channel, serials[0])) == ["y", "z"]
    assert texts(channel, all_of.resumable(channel, serials[2])) == []


def test_a_channel_is_not_resumed_if_messages_may_be_missing() -> None:
    all_of = channels()
    first = publish(all_of, "a", "0")
    for text in "12345":
        publish(all_of, "a", text)
    channel = all_of.open("a", 0)
    assert all_of.resumable(channel, first) is not None  # the first left the history, yet what came after is all there
    second = publish(all_of, "a", "6")
    assert all_of.resumable(channel, first) is None
    assert all_of.resumable(channel, second) is not None
    for wrong in (None, "", "rubbish", "0000000000001-000000000001", second + "0", all_of.serial(99)):
        assert all_of.resumable(channel, wrong) is None


def test_a_recreated_channel_does_not_resume_older_serials() -> None:
    all_of = channels()
    old = publish(all_of, "a", "lost")
    all_of.expire(200.0)
    assert all_of.find("a") is None
    assert all_of.size == 0
    publish(all_of, "b", "meanwhile", 200.0)
    assert all_of.resumable(all_of.open("a", 200.0), old) is None


def test_messages_older_than_the_history_limit_are_dropped() -> None:
    all_of = channels()
    publish(all_of, "a", "old", 0.0)
    publish(all_of, "a", "young", 100.0)
    all_of.expire(121.0)
    channel = all_of.open("a", 121.0)
    assert [kept.at for kept in channel.history] == [100.0]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3_000)), max_size=40))
def test_histories_stay_within_their_limits_and_sizes_add_up(published: list[tuple[str, int]]) -> None:
    all_of = channels()
    for name, size in published:
        publish(all_of, name, "x" * size)
        histories = [channel.history for channel in all_of]
        sizes = [sum(kept.size for kept in history) for history in histories]
        assert [channel.history.size for channel in all_of] == sizes
        assert all(len(history) <= LIMITS.history_messages for history in histories)
        assert all(size <= LIMITS.history_bytes for size in sizes)
        assert all_of.size == sum(sizes) <= LIMITS.history_total_bytes


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2_000)), max_size=30), st.data())
def test_a_resume_delivers_everything_or_is_refused(published: list[tuple[str, int]], data: st.DataObject) -> None:
    all_of = channels()
    start = all_of.serial(all_of.open("a", 0).head)
    serials = [
        (name, publish(all_of, name, f"{index:04d}" + "x" * size)) for index, (name, size) in enumerate(published)
    ]
    seen = data.draw(st.sampled_from([start, *(serial for _, serial in serials)]))
    channel = all_of.open("a", 0)
    number = all_of.resumable(channel, seen)
    expected = [f"{index:04d}" for index, (name, serial) in enumerate(serials) if name == "a" and serial > seen]
    if number is None:
        assert channel.history.size < sum(size + 500 for name, size in published if name == "a")
    else:
        assert [text[:4] for text in texts(channel, number)] == expected


def test_rewind_works_by_count_and_by_time() -> None:
    all_of = channels()
    for index, text in enumerate("wxyz"):
        publish(all_of, "a", text, now=float(index * 60))
    channel = all_of.open("a", 180.0)

    def rewound(param: str) -> str:
        return "".join(message.data for kept in channel.rewound(param, 180.0) for message in kept.frame.messages or [])

    assert [rewound(param) for param in ("0", "1", "3", "99", "0s", "60s", "1m", "2m")] == [
        "", "z", "xyz", "wxyz", "z", "yz", "yz", "xyz",
    ]  # fmt: skip
    for wrong in ("", "-1", "1h", "1.5m", "one", "٣"):
        with pytest.raises(Refusal, match="rewind"):
            channel.rewound(wrong, 180.0)


def test_channel_names_are_checked_and_idle_channels_are_evicted() -> None:
    all_of = channels()
    for name in ("", ":a", "[meta]log", "a\nb", "x" * 256):
        with pytest.raises(Refusal, match="channel name"):
            all_of.open(name, 0.0)
    for now, name in enumerate("abcd"):
        all_of.open(name, float(now))
    assert sorted(channel.name for channel in all_of) == ["b", "c", "d"]
    for channel in all_of:
        channel.enter(PresenceMessage(connection_id="1", client_id="ann"), LIMITS)
    with pytest.raises(Refusal) as refused:
        all_of.open("e", 9.0)
    assert refused.value.info.code == 90021


def test_presence_members_are_limited_in_number_and_bytes() -> None:
    channel = Channel("a", 0, LIMITS)
    limits = ServerLimits(members=2, members_bytes=100)
    for client_id in ("ann", "bob", "ann"):
        channel.enter(PresenceMessage(connection_id="1", client_id=client_id, data="x" * 20), limits)
    for client_id, data in (("cid", ""), ("bob", "x" * 90)):
        with pytest.raises(Refusal) as refused:
            channel.enter(PresenceMessage(connection_id="1", client_id=client_id, data=data), limits)
        assert refused.value.info.code == 91003
    assert len(channel.members) == 2


def test_the_rate_limit_applies_to_any_second() -> None:
    rate = Rate(50.0)
    assert sum(rate.allow(1000.0) for _ in range(80)) == 50
    assert not rate.allow(1000.01)
    assert sum(rate.allow(1000.0 + step / 100) for step in range(101)) == 50
    assert not rate.allow(2000.0, cost=51)
    assert rate.allow(2000.0, cost=50)
