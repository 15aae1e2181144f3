from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.recorder.timing.clock import SLEW_PPM, Belief, StreamClock
from edge.recorder.timing.timekeeper import Timekeeper
from tests.support.kernel_clock import ManualClock

RATE = 48_000
BLOCK = 2_048
CHUNK = 60 * RATE


def _run(clock: StreamClock, seconds: float, ppm: float, jitter: random.Random) -> float:
    """Feeds blocks of a card that is off by `ppm`, delivered up to 45 ms late; gives the worst error in µs."""
    actual = RATE * (1 + ppm / 1e6)
    worst, frame, next_knot = 0.0, 0, CHUNK
    step = BLOCK * 40  # every 40th block: the others tell nothing new
    while frame < seconds * RATE:
        clock.observe(frame, round(frame / actual * 1e6) + jitter.choice([1_000, 44_000]))
        if frame >= next_knot:
            before = clock.knot
            knot = clock.advance(next_knot, 0)
            for probe in (before.frame, next_knot):
                along = (probe - before.frame) / (knot.frame - before.frame)
                believed = before.at + along * (knot.at - before.at)
                worst = max(worst, abs(believed - probe / actual * 1e6))
            next_knot += CHUNK
        frame += step
    return worst


@pytest.mark.parametrize("ppm", [100, -100, 0])
def test_a_drifting_card_stays_within_20_ms_of_true_time_for_a_week(ppm: float) -> None:
    jitter = random.Random(7)
    clock = StreamClock(RATE, 44_000, 0)
    for frame in range(0, RATE, BLOCK):
        clock.observe(frame, round(frame / (RATE * (1 + ppm / 1e6)) * 1e6) + jitter.choice([1_000, 44_000]))
    clock.refine_opening()
    assert _run(clock, 7 * 86_400, ppm, jitter) < 20_000
    assert clock.measured_rate == pytest.approx(RATE * (1 + ppm / 1e6), abs=RATE * 10e-6)


def test_the_stream_start_is_refined_to_the_least_delay() -> None:
    clock = StreamClock(RATE, 900_000, 5_000_000)
    for frame, late in ((0, 900_000), (BLOCK, 400_000), (2 * BLOCK, 10_000), (3 * BLOCK, 30_000)):
        clock.observe(frame, frame * 1_000_000 // RATE + late)
    assert clock.refine_opening() == pytest.approx(5_010_000, abs=1)


@given(
    offsets=st.lists(st.integers(-10_000_000_000, 10_000_000_000), min_size=1, max_size=20),
    delays=st.lists(st.integers(0, 70_000_000), min_size=20, max_size=20),
    chunk=st.integers(1, 500_000),
)
def test_stream_time_never_jumps_or_runs_backwards(offsets: list[int], delays: list[int], chunk: int) -> None:
    clock = StreamClock(RATE, 0, 0)
    for number, (offset, delay) in enumerate(zip(offsets, delays, strict=False)):
        before = clock.knot
        clock.observe(number * chunk, number * chunk * 1_000_000 // RATE + delay)
        knot = clock.advance((number + 1) * chunk, offset)
        nominal = chunk * 1e6 / RATE
        assert knot.at > before.at
        assert abs(knot.at - before.at - nominal) <= nominal * SLEW_PPM / 1e6 + 1
        assert clock.time_of(knot.frame) == knot.at


def test_a_clock_shift_moves_all_later_times() -> None:
    clock = StreamClock(RATE, 0, 0)
    clock.advance(CHUNK, 0)
    clock.shift(3_600_000_000)
    assert clock.time_of(CHUNK) == 3_660_000_000
    assert clock.advance(2 * CHUNK, 3_600_000_000).at == 3_720_000_000


# what to believe

HOUR = 3_600_000_000


@pytest.mark.parametrize(
    ("belief", "wall", "synchronised", "expected"),
    [
        (Belief(0, False), 5, False, (Belief(0, False), None)),
        (Belief(0, False), 3 * HOUR, False, (Belief(3 * HOUR, False), "set")),
        (Belief(0, False), -48 * HOUR, False, (Belief(-48 * HOUR, False), "set")),
        (Belief(0, False), 5, True, (Belief(5, True), "corrected")),
        (Belief(0, False), 3 * HOUR, True, (Belief(3 * HOUR, True), "corrected")),
        (Belief(0, True), 5, True, (Belief(5, True), "followed")),
        (Belief(0, True), 3 * HOUR, True, (Belief(3 * HOUR, True), "moved")),
        (Belief(0, True), 3 * HOUR, False, (Belief(0, True), None)),
    ],
)
def test_the_believed_offset_follows_clock_steps_and_synchronisation(
    belief: Belief, wall: int, synchronised: bool, expected: tuple[Belief, str | None]
) -> None:
    assert belief.revised(wall, synchronised) == expected


def test_the_timekeeper_checks_the_clock_once_a_second() -> None:
    kernel = ManualClock(synchronised=False)
    keeper = Timekeeper(kernel, None)
    assert keeper.revise() is None
    kernel.step_by(-2 * 86_400)
    before = keeper.now()
    assert keeper.revise() is None
    assert keeper.now() == before
    kernel.advance(1)
    assert keeper.revise() == "set"
    assert keeper.now() == kernel.now()
    assert math.isclose(keeper.now() - before, -2 * 86_400e6 + 1e6)
