"""The journal, and what a correction of the clock does to streams, holes and state."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from edge.core.instant import Instant
from edge.core.values import Hole, OpenHole, SpoolState
from edge.recorder.durable.journal import Journal
from edge.recorder.timing.clock import Belief
from edge.recorder.timing.correction import believed_end, correct_streams, corrected_state, corrected_stream, real_holes
from edge.spool.spool import Spool
from tests.support.spool.chunks import BOOT, START, at, make_chunk, make_stream

HOUR = 3_600_000_000


def fresh(tmp_path: Path, **changes: object) -> tuple[Spool, Journal]:
    spool = Spool(tmp_path, "porch")
    state = SpoolState(state="stopped", since=START, boot_id=BOOT, ordinal=4, utc_offset=0)
    return spool, Journal(spool, replace(state, **changes))


def test_gaps_of_different_causes_are_adjacent_until_a_stream_begins(tmp_path: Path) -> None:
    spool, journal = fresh(tmp_path)
    assert journal.holes_until(at(0)) == ()
    journal.hole_opened("stopped", "restart", at(0))
    journal.hole_opened("no_device", "device_lost", at(5))
    journal.hole_opened("no_device", "device_lost", at(7))  # the same goes on
    journal.hole_opened("paused", "paused", at(9))
    holes = (
        Hole("restart", at(0), at(5)),
        Hole("device_lost", at(5), at(9)),
        Hole("paused", at(9), at(20)),
    )
    assert journal.holes_until(at(20)) == holes
    assert Journal(spool, spool.state.read()).holes_until(at(20)) == holes  # type: ignore[arg-type]
    journal.stream_opened(make_stream(knots=((0, at(20)),), ordinal=5))
    state = spool.state.read()
    assert state is not None
    assert (state.state, state.ordinal, state.knot, state.holes, state.open_hole) == (
        "recording", 5, (0, at(20)), (), None,
    )  # fmt: skip


def test_a_knot_is_saved_and_one_after_the_streams_end_is_ignored(tmp_path: Path) -> None:
    spool, journal = fresh(tmp_path)
    journal.stream_opened(make_stream())
    journal.knot_passed(8_000, at(1))
    assert spool.state.read() == journal.state
    assert journal.state.knot == (8_000, at(1))
    journal.hole_opened("stopped", "restart", at(1))
    journal.knot_passed(8_000, at(1))
    assert journal.state.knot is None


def test_a_correction_does_not_move_the_start_of_a_gap_in_an_earlier_boot() -> None:
    state = SpoolState(
        state="stopped", since=at(0), boot_id=BOOT, ordinal=1, utc_offset=0,
        holes=(Hole("paused", at(-50), at(-40)), Hole("power", at(-40), at(-100))),
        open_hole=OpenHole("device_lost", at(-100)), earlier=2,
    )  # fmt: skip
    moved = corrected_state(state, Belief(HOUR, True))
    assert moved.holes == (Hole("paused", at(-50), at(-40)), Hole("power", at(-40), at(3_500)))
    assert moved.open_hole == OpenHole("device_lost", at(3_500))
    assert (moved.since, moved.utc_offset, moved.trusted) == (at(3_600), HOUR, True)
    assert corrected_state(moved, Belief(2 * HOUR, True)).holes == moved.holes  # what is trusted stays
    still_open = replace(state, holes=(), open_hole=OpenHole("power", at(-40)), earlier=1)
    assert corrected_state(still_open, Belief(HOUR, True)).open_hole == OpenHole("power", at(-40))


def test_a_gap_of_negative_length_is_hidden_until_a_correction_makes_it_positive() -> None:
    stream = make_stream(before=(Hole("power", at(0), at(-60)),), earlier=1, uncertain=True)
    assert real_holes(stream.before) == ()
    assert real_holes(corrected_stream(stream, Belief(HOUR, True)).before) == (Hole("power", at(0), at(3_540)),)


@given(st.lists(st.integers(-(10**12), 10**12), max_size=6), st.integers(-(10**12), 10**12))
def test_only_the_last_of_several_clock_corrections_counts(offsets: list[int], true: int) -> None:
    stream = make_stream(uncertain=True, knots=((0, START), (8_000, at(1))), before=(Hole("crash", at(-3), at(0)),))
    chunk = make_chunk(0, b"", uncertain=True)
    once = corrected_stream(stream, Belief(true, True))
    for offset in offsets:
        stream = corrected_stream(stream, Belief(offset, False))
        assert stream.uncertain
        assert believed_end(chunk, stream) == at(1) + offset == stream.knots[1][1]
    stream = corrected_stream(stream, Belief(true, True))
    assert stream == once
    assert (stream.shift, stream.utc_offset, stream.uncertain) == (true, true, False)
    assert stream.before == (Hole("crash", Instant(at(-3) + true), Instant(START + true)),)


def test_only_uncertain_streams_of_this_boot_and_node_are_corrected(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "porch")
    ids = [f"20260303T22000{number}Z-abcd" for number in range(5)]
    each: list[dict[str, object]] = [{}, {"uncertain": False}, {"boot_id": "another"}, {"node": "attic"}, {}]
    for stream_id, changes in zip(ids, each, strict=True):
        spool.streams.write(make_stream(stream_id, **{"uncertain": True, **changes}))
    spool.layout.stream_path("20260303T220009Z-abcd").write_bytes(b"{")
    moved = [stream.stream_id for stream in correct_streams(spool, BOOT, Belief(HOUR, True), running=ids[4])]
    assert moved == [ids[0]]
    assert spool.streams.read(ids[0]).shift == HOUR
    assert spool.streams.read(ids[4]).uncertain
    assert list(correct_streams(spool, BOOT, Belief(HOUR, True), running=ids[4])) == []


def test_a_correction_into_the_future_is_not_applied(tmp_path: Path) -> None:
    """The clock and the monotonic clock were both set back: what was believed then does not fit what is now."""
    spool, stream_id = Spool(tmp_path, "porch"), "20260303T220000Z-abcd"
    spool.streams.write(make_stream(stream_id, uncertain=True, utc_offset=0))
    decades = Belief(57 * 365 * 24 * HOUR, True)
    assert list(correct_streams(spool, BOOT, decades, now=Instant(START + HOUR))) == []
    assert spool.streams.read(stream_id) == make_stream(stream_id, uncertain=True, utc_offset=0)
    believed = Belief(HOUR, True)
    assert [one.shift for one in correct_streams(spool, BOOT, believed, now=Instant(START + HOUR))] == [HOUR]
