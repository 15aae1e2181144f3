"""Which file is followed, and when there is nothing to hear: from the spool, without a clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.core.ids import chunk_id
from edge.core.instant import Instant
from edge.core.values import PauseOrder, RecorderMode, SpoolState
from edge.spool.spool import Spool
from query_service.sound.live_follower import SILENT_SECONDS, LivePart, NothingLive, SpoolFollower
from tests.support.spool.chunks import BOOT, RATE, START, STREAM, make_chunk, make_stream

OTHER = "20260303T220010Z-wxyz"
RECORDING = SpoolState(
    state="recording", since=START, boot_id=BOOT, ordinal=1, stream_id=STREAM, knot=(2 * RATE, START)
)  # fmt: skip


class Waiting:
    """Each wait takes a second and does the next of `acts`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.acts: list[Callable[[], None]] = []
        self.is_heard = True

    def __call__(self) -> bool:
        self.now += 1
        if self.acts:
            self.acts.pop(0)()
        return self.is_heard


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    """One whose recorder is in the third chunk of a stream."""
    made = Spool(tmp_path / "spool", "porch")
    made.create()
    made.streams.write(make_stream())
    made.state.write(RECORDING)
    begin(made, STREAM, 2)
    with made.recorder_lock.hold():
        yield made


@pytest.fixture
def follower(spool: Spool, waiting: Waiting) -> SpoolFollower:
    return SpoolFollower(spool, waiting, lambda: waiting.now, lambda: START)


def begin(spool: Spool, stream_id: str, seq: int) -> Path:
    part = spool.layout.part_path(chunk_id(stream_id, seq), "flac")
    part.write_bytes(b"")
    return part


def finish(spool: Spool, seq: int) -> None:
    spool.chunks.finish(spool.layout.part_path(chunk_id(STREAM, seq), "flac"), make_chunk(seq))


def more(follower: SpoolFollower, part: LivePart) -> bool:
    return follower.has_more(part, part.path.stat().st_ino)


def test_the_part_after_the_last_finished_chunk_is_followed(follower: SpoolFollower) -> None:
    part = follower.first()
    assert (part.stream.stream_id, part.seq) == (STREAM, 2)
    assert more(follower, part)


def test_a_disk_that_is_slow_to_finish_chunks_delays_nobody(follower: SpoolFollower, spool: Spool) -> None:
    part = follower.first()
    begin(spool, STREAM, 3)
    begin(spool, STREAM, 4)
    assert not more(follower, part)
    assert follower.after(part).seq == 4


def test_between_two_chunks_the_next_one_is_waited_for(follower: SpoolFollower, spool: Spool, waiting: Waiting) -> None:
    part = follower.first()
    inode = part.path.stat().st_ino
    finish(spool, 2)
    assert not follower.has_more(part, inode)
    spool.state.write(replace(RECORDING, knot=(3 * RATE, START)))
    waiting.acts = [lambda: None, lambda: begin(spool, STREAM, 3).touch()]
    assert follower.after(part).seq == 3


def test_another_stream_is_followed_after_a_gap(follower: SpoolFollower, spool: Spool, waiting: Waiting) -> None:
    part = follower.first()
    spool.state.write(replace(RECORDING, state="no_device", stream_id=None, knot=None))
    assert not more(follower, part)

    def opens() -> None:
        spool.streams.write(make_stream(OTHER, rate=16_000))
        begin(spool, OTHER, 0)
        spool.state.write(replace(RECORDING, stream_id=OTHER, knot=(0, START)))

    waiting.acts = [lambda: None, opens]
    other = follower.after(part)
    assert (other.stream.stream_id, other.stream.rate, other.seq) == (OTHER, 16_000, 0)


def test_a_recorder_that_writes_nothing_for_a_while_is_given_up(follower: SpoolFollower, waiting: Waiting) -> None:
    part = follower.first()
    while more(follower, part):
        assert waiting.now <= SILENT_SECONDS
    with pytest.raises(NothingLive, match="nothing was recorded"):
        follower.after(part)


def test_a_recorder_that_goes_on_writing_is_not(follower: SpoolFollower, waiting: Waiting) -> None:
    part = follower.first()
    for _ in range(3 * round(SILENT_SECONDS)):
        follower.has_grown()
        assert more(follower, part)


@pytest.mark.parametrize("until", [None, Instant(START + 1)])
def test_an_ordered_pause_counts_at_once(follower: SpoolFollower, spool: Spool, until: Instant | None) -> None:
    part = follower.first()
    spool.pause.write(PauseOrder(until))
    assert not more(follower, part)
    with pytest.raises(NothingLive, match="paused"):
        follower.after(part)
    with pytest.raises(NothingLive, match="paused"):
        follower.first()


def test_a_pause_that_is_over_counts_no_more(follower: SpoolFollower, spool: Spool) -> None:
    spool.pause.write(PauseOrder(START))
    assert more(follower, follower.first())


def test_an_unreadable_order_counts_as_a_pause(follower: SpoolFollower, spool: Spool) -> None:
    spool.layout.pause_path.write_bytes(b"{")
    with pytest.raises(NothingLive, match="paused"):
        follower.first()


@pytest.mark.parametrize(
    ("state", "reason"),
    [("paused", "paused"), ("no_device", "microphone"), ("disk_full", "disk is full"), ("stopped", "stopped")],
)
def test_without_recording_the_reason_is_named_at_once(
    follower: SpoolFollower, spool: Spool, waiting: Waiting, state: RecorderMode, reason: str
) -> None:
    spool.state.write(replace(RECORDING, state=state, stream_id=None, knot=None))
    with pytest.raises(NothingLive, match=reason):
        follower.first()
    assert waiting.now == 0


def test_once_nobody_listens_nothing_is_waited_for(follower: SpoolFollower, waiting: Waiting) -> None:
    part = follower.first()
    waiting.is_heard = False
    assert not more(follower, part)
    with pytest.raises(NothingLive):
        follower.after(part)
    assert waiting.now == 2
