from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.recorder.capture.blocks import Block
from edge.recorder.timing.continuity import Break, Continuity

RATE = 48_000
FRAMES = 2_048
BLOCK = FRAMES * 1_000_000 // RATE  # µs


class Card:
    """A sound card behind a server that keeps `room` seconds for a client that does not read."""

    def __init__(self, jitter: tuple[int, ...] = (1_000, 44_000), room: float = 43.0) -> None:
        self._jitter = jitter
        self._room = round(room * 1e6) // BLOCK
        self.number = 0  # of the next block that the card captures: its true time is number * BLOCK
        self.truth: list[int] = []  # true block numbers, as delivered

    def deliver(self, count: int) -> list[Block]:
        """Blocks as they come."""
        blocks = []
        for _ in range(count):
            blocks.append(self._block(self.number, self.number * BLOCK + self._jitter[self.number % len(self._jitter)]))
            self.number += 1
        return blocks

    def stop(self, seconds: float, drain: int = 50) -> list[Block]:
        """We do not read for `seconds`; then the backlog comes in a burst, `drain` µs a block."""
        first, last = self.number, self.number + round(seconds * 1e6) // BLOCK
        arrival = last * BLOCK
        kept = list(range(first, min(last, first + self._room)))
        blocks = [self._block(number, arrival + place * drain - BLOCK) for place, number in enumerate(kept)]
        self.number = last
        return blocks

    def lose(self, seconds: float) -> None:
        self.number += round(seconds * 1e6) // BLOCK

    def _block(self, number: int, captured_at: int, lost: bool = False) -> Block:
        self.truth.append(number)
        return Block(np.full((FRAMES, 1), number % 30_000, np.int16), captured_at, lost)


class PunctualCard:
    """Delivers blocks of `frames` frames on time, and loses what it is told to without a word."""

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._length = frames * 1_000_000 // RATE
        self._lost = 0

    def deliver(self, count: int, first: int = 0) -> list[Block]:
        return [
            Block(np.full((self._frames, 1), number % 30_000, np.int16), number * self._length + self._lost)
            for number in range(first, first + count)
        ]

    def lose(self, microseconds: int) -> None:
        self._lost += microseconds


def through(blocks: list[Block]) -> tuple[list[int], list[tuple[int, int]]]:
    """Numbers of the blocks that came through, and (place, missing) of each break."""
    continuity = Continuity(RATE)
    out: list[int] = []
    breaks: list[tuple[int, int]] = []
    items = [item for block in blocks for item in continuity.add(block)] + list(continuity.flush())
    for item in items:
        if isinstance(item, Break):
            breaks.append((len(out), item.missing))
        else:
            out.append(int(item.samples[0, 0]))
    return out, breaks


@pytest.mark.parametrize("jitter", [(1_000, 44_000), (0,), (1_000, 44_000, 100_000), (90_000, 0, 0, 60_000)])
def test_jitter_is_no_gap_and_nothing_is_held_back(jitter: tuple[int, ...]) -> None:
    card = Card(jitter)
    continuity = Continuity(RATE)
    for block in card.deliver(2_000):
        assert list(continuity.add(block)) == [block]


@pytest.mark.parametrize("seconds", [0.2, 0.3, 1.0, 5.0, 40.0])
def test_a_stall_without_loss_is_no_gap(seconds: float) -> None:
    card = Card()
    blocks = card.deliver(300) + card.stop(seconds) + card.deliver(300)
    out, breaks = through(blocks)
    assert out == card.truth
    assert breaks == []


@pytest.mark.parametrize("seconds", [44.0, 60.0, 90.0])
@pytest.mark.parametrize("suspect", [None, 300, 310])
def test_samples_dropped_by_the_sound_server_are_one_gap_of_the_right_length(
    seconds: float, suspect: int | None
) -> None:
    card = Card()
    blocks = card.deliver(300) + card.stop(seconds) + card.deliver(300)
    if suspect is not None:  # a driver that wakes up says that it lost something at the burst's beginning
        blocks[suspect] = blocks[suspect]._replace(suspect=True)
    out, breaks = through(blocks)
    assert out == [number % 30_000 for number in card.truth]
    [(place, missing)] = breaks
    jump = next(i for i in range(1, len(card.truth)) if card.truth[i] != card.truth[i - 1] + 1)
    assert abs(place - jump) <= 1
    assert abs(missing - (card.truth[jump] - card.truth[jump - 1] - 1) * BLOCK) < 50_000


def test_a_small_stall_just_before_a_long_one_does_not_misplace_the_loss() -> None:
    card = Card()
    blocks = card.deliver(300) + card.stop(0.4) + card.deliver(5) + card.stop(60) + card.deliver(300)
    out, breaks = through(blocks)
    assert out == [number % 30_000 for number in card.truth]
    [(place, _)] = breaks
    jump = next(i for i in range(1, len(card.truth)) if card.truth[i] != card.truth[i - 1] + 1)
    assert abs(place - jump) <= 1


def test_a_slowly_draining_backlog_is_split_where_the_loss_is() -> None:
    card, continuity = Card(), Continuity(RATE)
    stop, drained = 60.0, 40  # seconds; blocks captured while the backlog drained, delivered at its end
    blocks = card.deliver(300) + card.stop(stop, drain=1_000)
    late = blocks[-1].captured_at
    more = [
        Block(np.full((FRAMES, 1), number % 30_000, np.int16), late + place * 1_000)
        for place, number in enumerate(range(card.number, card.number + drained), 1)
    ]
    first_new, card.number = card.number, card.number + drained
    blocks += more + card.deliver(300)
    items = [item for block in blocks for item in continuity.add(block)]
    place = next(index for index, item in enumerate(items) if isinstance(item, Break))
    after = items[place + 1]
    assert isinstance(after, Block)
    assert abs(int(after.samples[0, 0]) - first_new % 30_000) <= 1


@pytest.mark.parametrize("flag", ["lost_before", "suspect"])
@pytest.mark.parametrize("seconds", [0.1, 0.5])
def test_a_flagged_overflow_is_a_gap_at_its_block(flag: str, seconds: float) -> None:
    card = Card()
    before = card.deliver(300)
    card.lose(seconds)
    after = card.deliver(300)
    first = after[0]
    after[0] = first._replace(lost_before=True) if flag == "lost_before" else first._replace(suspect=True)
    out, breaks = through(before + after)
    assert out == card.truth
    [(place, missing)] = breaks
    assert place == 300
    assert abs(missing - seconds * 1e6) < 50_000


def test_blocks_dropped_by_the_block_queue_are_a_gap_of_any_length() -> None:
    blocks = Card().deliver(600)
    blocks[300] = blocks[300]._replace(lost_before=True)
    _, breaks = through(blocks)
    assert [place for place, _ in breaks] == [300]


def test_an_overflow_reported_without_a_loss_is_no_gap() -> None:
    card = Card()
    blocks = card.deliver(300) + card.stop(0.3) + card.deliver(300)
    blocks[300] = blocks[300]._replace(suspect=True)
    out, breaks = through(blocks)
    assert out == card.truth
    assert breaks == []


def test_a_flag_on_the_first_block_costs_no_sample() -> None:
    card = Card()
    blocks = card.deliver(100)
    blocks[0] = blocks[0]._replace(lost_before=True)
    out, breaks = through(blocks)
    assert out == card.truth
    assert [place for place, _ in breaks] in ([], [0])


def test_two_losses_in_a_row_are_both_reported() -> None:
    card = Card(room=5)
    blocks = card.deliver(300) + card.stop(10) + card.deliver(300) + card.stop(12) + card.deliver(300)
    _, breaks = through(blocks)
    assert [round(missing / 1e6) for _, missing in breaks] == [5, 7]


def test_no_more_than_16_mb_of_blocks_are_held_back() -> None:
    continuity = Continuity(RATE)
    card = Card()
    for block in card.deliver(300):
        list(continuity.add(block))
    held = most = 0
    for number in range(20_000):  # each one later than the one before: never calm
        block = Block(np.zeros((FRAMES, 8), np.int32), (300 + number) * BLOCK + 200_000 + number * 10_000)
        out = [item for item in continuity.add(block) if isinstance(item, Block)]
        held += block.samples.nbytes - sum(item.samples.nbytes for item in out)
        most = max(most, held)
    assert most < 17_000_000


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["run", "stop", "lose"]), st.floats(0.05, 8.0)),
        min_size=1,
        max_size=8,
    )
)
def test_every_block_is_passed_on_once_and_in_order(script: list[tuple[str, float]]) -> None:
    card = Card(room=3)
    blocks = card.deliver(100)
    for what, seconds in script:
        if what == "run":
            blocks += card.deliver(round(seconds * 1e6) // BLOCK)
        elif what == "stop":
            blocks += card.stop(seconds)
        else:
            card.lose(seconds)
    out, breaks = through(blocks)
    assert out == [number % 30_000 for number in card.truth]
    assert len(breaks) <= len(script)


@pytest.mark.parametrize("seconds", [1.5, 3.0])
@pytest.mark.parametrize("late", [35_000, 80_000, 200_000])
def test_late_blocks_of_a_busy_machine_are_no_gap_once_it_catches_up(seconds: float, late: int) -> None:
    """Seen with every core loaded: after a stall all blocks come later than before, for a second or more."""
    card = Card((0, 10_000))
    calm, stall = card.deliver(300), card.stop(0.3)
    tardy = [
        block._replace(captured_at=block.captured_at + late) for block in card.deliver(round(seconds * RATE / FRAMES))
    ]
    out, breaks = through([*calm, *stall, *tardy, *card.deliver(300)])
    assert out == card.truth
    assert breaks == []


@pytest.mark.parametrize("lost", [0.09, 0.2, 0.5])
def test_a_small_loss_is_reported_once_it_is_certain(lost: float) -> None:
    card = Card((0, 10_000))
    calm, stall = card.deliver(300), card.stop(0.3)
    card.lose(lost)
    out, breaks = through([*calm, *stall, *card.deliver(300)])
    assert out == card.truth
    [(place, missing)] = breaks
    assert abs(missing - round(lost * 1e6) // BLOCK * BLOCK) < 26_000
    assert 290 <= place <= 320


@pytest.mark.parametrize("milliseconds", [20, 40, 80, 160, 400])
@pytest.mark.parametrize("excess", [20, 60, 200])
def test_a_loss_without_a_stall_or_a_flag_is_reported(milliseconds: int, excess: int) -> None:
    """From 100 ms on, or a block and a quarter where that is longer; again and again."""
    card = PunctualCard(milliseconds * RATE // 1000)
    lost = max(100, milliseconds * 5 // 4) + excess
    blocks: list[Block] = []
    each = 12_000 // milliseconds
    for first in range(0, 4 * each, each):
        blocks += card.deliver(each, first)
        card.lose(lost * 1000)
    _, breaks = through(blocks)
    assert [round(missing / 1000) for _, missing in breaks] == pytest.approx([lost] * 3, abs=1)
