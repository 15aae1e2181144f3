"""Continuity against a simulated sound card: whatever stalls there were, each loss is reported where it happened."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge.recorder.capture.blocks import Block
from edge.recorder.timing.clock import StreamClock
from edge.recorder.timing.continuity import Break, Continuity

RATE = 1_000  # frames per second: a frame is a millisecond, and its sample is its number
FRAGMENT = 10  # frames that the card writes at once
BLOCK = 100  # frames
JITTER = 12  # ms: of a fragment, and of the process
LEAST = BLOCK * 5 // 4 + JITTER  # ms: a smaller loss cannot be distinguished from jitter
NEARBY = 2 * RATE  # losses that are too short to be distinguished from jitter may add up over longer times


class Stall(NamedTuple):
    """The process runs for `run` seconds, then stands still for `stop` seconds."""

    run: float
    stop: float


class Delivery(NamedTuple):
    """What a process got of a card."""

    blocks: list[Block]
    lost: list[int]  # ms of what did not fit into the buffer, by fragment


def deliver(room: float, speed: float, stalls: list[Stall], lateness: list[int], undisturbed: float = 5.0) -> Delivery:
    """A card whose ring buffer holds `room` seconds, keeps the oldest and drops what finds no room; and a process that
    reads blocks at `speed` times real time while there is a backlog, `lateness` ms late otherwise, and runs for
    `undisturbed` seconds before the first stall."""
    script = [Stall(undisturbed, 0.0), *stalls, Stall(2.5 + room / (speed - 1), 0.0)]
    edges = np.cumsum([0.0] + [part for stall in script for part in stall]) * 1000
    runs = list(zip(edges[0::2], edges[1::2], strict=False))
    capacity = round(room * RATE)
    buffer: list[int] = []
    lost: list[int] = []
    blocks: list[Block] = []
    ready = 0.0  # ms: when the process can take the next block
    for now in range(FRAGMENT, int(edges[-1]) + FRAGMENT, FRAGMENT):
        first = now - FRAGMENT
        if len(buffer) + FRAGMENT > capacity:
            lost.append(first)
        else:
            buffer += range(first, now)
        while len(buffer) >= BLOCK:
            late = lateness[len(blocks) % len(lateness)] if len(buffer) < BLOCK + FRAGMENT else 0
            at = max(ready, float(now)) + late
            run = next(((begin, end) for begin, end in runs if at < end), None)
            if run is None or max(at, run[0]) >= now + FRAGMENT:
                break
            at = max(at, run[0])
            samples = np.array(buffer[:BLOCK], np.int32)[:, None]
            del buffer[:BLOCK]
            blocks.append(Block(samples, round(at * 1000) - BLOCK * 1000))
            ready = at + BLOCK / speed
    return Delivery(blocks, lost)


def streams_of(blocks: list[Block]) -> tuple[list[list[Block]], list[Break]]:
    """The blocks that go on, by stream, and what is reported to be missing between these."""
    continuity = Continuity(RATE)
    streams: list[list[Block]] = [[]]
    breaks: list[Break] = []
    for item in [item for block in blocks for item in continuity.add(block)] + list(continuity.flush()):
        if isinstance(item, Break):
            breaks.append(item)
            streams.append([])
        else:
            streams[-1].append(item)
    return streams, breaks


def faults_of(delivery: Delivery) -> list[str]:
    """What is wrong with what Continuity tells of a delivery; empty: nothing."""
    streams, breaks = streams_of(delivery.blocks)
    faults = []
    out = [block for stream in streams for block in stream]
    if [id(block.samples) for block in out] != [id(block.samples) for block in delivery.blocks]:
        faults.append("blocks are lost, doubled or in another order")
    sound = np.concatenate([block.samples[:, 0] for block in out])
    jumps = [(place + 1, int(step) - 1) for place, step in enumerate(np.diff(sound)) if step != 1]
    borders = [int(end) for end in np.cumsum([sum(len(block.samples) for block in stream) for stream in streams])[:-1]]
    for near, reported in _groups(borders, breaks):
        real = sum(length for place, length in jumps if min(abs(place - border) for border in near) <= BLOCK)
        if not real or abs(real - reported) > LEAST:
            faults.append(f"reported are {reported:.0f} ms at frames {near}, where {real} are missing")
    for before, after in pairwise([0, *borders, len(sound)]):
        inside = [(place, length) for place, length in jumps if before + BLOCK < place < after - BLOCK]
        hidden = max(
            (sum(more for there, more in inside if 0 <= there - place <= NEARBY) for place, _ in inside), default=0
        )
        if hidden > LEAST:
            faults.append(f"{hidden} ms are missing within the stream from frame {before} to {after}")
    for stream in streams:
        for block in stream[:-1]:  # a break within a block is reported at one of its ends
            true = int(block.samples[-1, 0]) - BLOCK + 1
            if abs(block.captured_at / 1000 - true) > LEAST:
                faults.append(f"frame {true} is reported to be of {block.captured_at / 1000:.0f}")
                break
    return faults


def _groups(borders: list[int], breaks: list[Break]) -> list[tuple[list[int], float]]:
    """Borders, and the ms reported to be missing at them: those next to each other together."""
    groups: list[tuple[list[int], float]] = []
    for border, reported in zip(borders, breaks, strict=True):
        if groups and border - groups[-1][0][-1] <= 2 * BLOCK:
            near, before = groups.pop()
            groups.append(([*near, border], before + reported.missing / 1000))
        else:
            groups.append(([border], reported.missing / 1000))
    return groups


def test_two_long_stalls_in_quick_succession_are_two_gaps() -> None:
    """A server that keeps 22 s of stereo, stopped for 28 s, running for 0.3 s, stopped for 28 s."""
    delivery = deliver(22.0, 500.0, [Stall(0, 28), Stall(0.3, 28)], [0])
    assert faults_of(delivery) == []
    _, breaks = streams_of(delivery.blocks)
    assert [round(reported.missing / 1e6) for reported in breaks] == [6, 6]


SECONDS = st.one_of(st.floats(0.0, 0.6), st.floats(0.05, 12.0))
STALLS = st.lists(st.builds(Stall, SECONDS, SECONDS), max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    room=st.floats(0.5, 8.0),
    speed=st.sampled_from([2.0, 3.0, 5.0, 20.0, 100.0, 1000.0]),
    stalls=STALLS,
    lateness=st.lists(st.integers(0, JITTER), min_size=1, max_size=5),
)
@example(room=1.0, speed=20.0, stalls=[Stall(0, 1.875), Stall(0.125, 0.125), Stall(0, 2)], lateness=[0])
@example(
    room=0.5, speed=3.0, stalls=[Stall(0, 1.625), Stall(0, 0.0625), Stall(0, 0.25), Stall(0.5, 0.5625)], lateness=[0]
)
def test_every_loss_is_reported_where_it_happened_after_any_sequence_of_stalls(
    room: float, speed: float, stalls: list[Stall], lateness: list[int]
) -> None:
    assert faults_of(deliver(room, speed, stalls, lateness)) == []


def test_a_stall_without_a_loss_does_not_shift_stream_time() -> None:
    """The rate of the card is fitted against what blocks tell of their capture: not against how long they waited."""
    delivery = deliver(50.0, 500.0, [Stall(120, 40), Stall(200, 0)], [0, 3, 9])
    continuity, clock, frame, off = Continuity(RATE), StreamClock(RATE, 0, 0), 0, 0
    for item in [item for block in delivery.blocks for item in continuity.add(block)]:
        assert isinstance(item, Block)
        clock.observe(frame, item.captured_at)
        frame += len(item.samples)
        if frame % (20 * RATE) == 0:
            off = max(off, abs(clock.advance(frame, 0).at - frame * 1_000))
    assert frame > 350 * RATE
    assert off < 20_000


@settings(max_examples=150, deadline=None)
@given(
    undisturbed=st.floats(0.0, 0.5),
    stop=st.floats(0.0, 7.0),
    speed=st.sampled_from([2.0, 3.0, 5.0, 20.0, 100.0, 1000.0]),
    lateness=st.lists(st.integers(0, JITTER), min_size=1, max_size=5),
)
def test_a_stall_while_the_source_is_opened_does_not_shift_where_the_stream_begins(
    undisturbed: float, stop: float, speed: float, lateness: list[int]
) -> None:
    """The opening is refined once, after a second of sound, whatever comes later."""
    delivery = deliver(8.0, speed, [Stall(0, stop)], lateness, undisturbed)
    [stream], [] = streams_of(delivery.blocks)
    assert [id(block.samples) for block in stream] == [id(block.samples) for block in delivery.blocks]
    clock = StreamClock(RATE, stream[0].captured_at, 0)
    for block in stream:
        frame = int(block.samples[0, 0])
        clock.observe(frame, block.captured_at)
        if frame + BLOCK >= RATE:
            break
    assert abs(clock.refine_opening() / 1000) <= LEAST
