"""Which frames of a file each interval fills."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.instant import MICROSECONDS, Instant
from query_service.queries.values import Cut, Future, Gap, Interval, Pending
from query_service.sound.layout import Layout, NoSound, SoundChanges, SoundEncrypted, lay_out
from tests.support.spool.chunks import STREAM

RATE = 8_000


def sound(start: int, frames: int, *, rate: int = RATE, encrypted: bool = False) -> Pending:
    end = start + frames * MICROSECONDS // rate
    return Pending(
        from_=Instant(start), to=Instant(end), uncertain=False, chunk_id=f"{STREAM}-000000", rate=rate, channels=1,
        format="flac", first_frame=0, frames=frames + 10, laeq=None, lafmax=None, unit=None, cut=Cut(5, frames),
        encrypted=encrypted,
    )  # fmt: skip


def gap(start: int, end: int) -> Gap:
    return Gap(from_=Instant(start), to=Instant(end), cause="unknown")


@st.composite
def layouts(draw: st.DrawFn) -> tuple[int, Layout]:
    """The end of a range that begins at 0, and its layout."""
    intervals: list[Interval] = []
    reached = 0
    for seconds in draw(st.lists(st.integers(1, 4), min_size=1, max_size=6)):
        is_sound = not intervals or draw(st.booleans())
        end = reached + seconds * MICROSECONDS
        intervals.append(sound(reached, seconds * RATE) if is_sound else gap(reached, end))
        reached = end
    return reached, lay_out(Instant(0), [(interval, {}) for interval in intervals])


@given(layouts())
def test_the_parts_follow_each_other_and_last_as_long_as_the_range(made: tuple[int, Layout]) -> None:
    end, layout = made
    assert layout.frames == end * RATE // MICROSECONDS
    reached = 0
    for part in layout.parts:
        assert part.first == reached
        reached += part.frames


@given(layouts(), st.data())
def test_two_halves_hold_the_same_frames_as_the_whole(made: tuple[int, Layout], data: st.DataObject) -> None:
    _, layout = made
    middle = data.draw(st.integers(0, layout.frames))
    halves = (*layout.between(0, middle), *layout.between(middle, layout.frames))

    def frames(parts: object) -> list[tuple[bool, int]]:
        found = []
        for part in parts:  # type: ignore[attr-defined]
            has_sound = isinstance(part.interval, Pending)
            first = part.interval.cut.first if has_sound else part.first
            found += [(has_sound, first + offset) for offset in range(part.frames)]
            assert not has_sound or part.interval.cut.frames == part.frames
        return found

    assert frames(halves) == frames(layout.parts)


def test_silence_lasts_until_the_first_frame_at_or_after_its_end() -> None:
    layout = lay_out(Instant(0), [(gap(0, 1), {}), (sound(1, RATE), {}), (gap(1_000_001, 1_000_002), {})])
    assert [part.frames for part in layout.parts] == [1, RATE, 0]


def test_the_future_is_no_part_of_a_file() -> None:
    future = Future(from_=Instant(MICROSECONDS), to=Instant(9 * MICROSECONDS))
    assert lay_out(Instant(0), [(sound(0, RATE), {}), (future, {})]).frames == RATE


def test_what_cannot_be_one_file_is_refused_with_the_time_of_the_change() -> None:
    with pytest.raises(NoSound):
        lay_out(Instant(0), [(gap(0, 5), {})])
    with pytest.raises(SoundEncrypted, match="--identity"):
        lay_out(Instant(0), [(sound(0, RATE, encrypted=True), {})])
    with pytest.raises(SoundChanges, match=r"8000 Hz, 1 channel.* to 48000 Hz.* at 1970-01-01T00:00:01") as refused:
        lay_out(Instant(0), [(sound(0, RATE), {}), (sound(MICROSECONDS, 48_000, rate=48_000), {})])
    assert refused.value.at == MICROSECONDS
