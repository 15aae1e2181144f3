"""Live listening to a real recorder: the samples that it writes, over the ends of chunks, and never during a pause."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.core.errors import FetchError
from edge.core.kernel_clock import KernelClock
from query_service.sound.layout import SoundEncrypted
from query_service.sound.live import MOST_LISTENERS, LiveSound, TooManyListeners
from query_service.sound.live_follower import NothingLive
from tests.support.recording.listening import decoders, hear, live_sound, until
from tests.support.recording.microphone import find_samples, write_noise
from tests.support.recording.recorder_process import RecorderProcess, running_recorder

RATE = 16_000
SECONDS = 300.0


@pytest.fixture
def noise(tmp_path: Path) -> np.ndarray:
    return write_noise(tmp_path / "noise.wav", SECONDS, 1, RATE)


def options(folder: Path, *more: str) -> tuple[str, ...]:
    return (f"recorder.source={folder / 'noise.wav'}", "recorder.pace=real", "recorder.record_period=1", *more)


@pytest.fixture
def recorder(tmp_path: Path, noise: np.ndarray) -> Iterator[RecorderProcess]:
    with running_recorder(tmp_path / "data", *options(tmp_path)) as running:
        running.wait_until_recording()
        yield running


def assert_recorded(heard: np.ndarray, noise: np.ndarray) -> None:
    """Each sample as it was played, none left out."""
    place = find_samples(noise, heard)
    assert place >= 0
    np.testing.assert_array_equal(heard, noise[place : place + len(heard)])


@pytest.mark.parametrize("kind", ["flac", "wav"])
def test_every_sample_is_heard_over_the_ends_of_chunks(tmp_path: Path, noise: np.ndarray, kind: str) -> None:
    async def listen(live: LiveSound) -> np.ndarray:
        async with live.listen() as (form, pieces):
            assert (form.rate, form.channels, form.bits) == (RATE, 1, 16)
            return await hear(pieces, form, 4)

    with running_recorder(tmp_path / "data", *options(tmp_path, f"recorder.format={kind}")) as recorder:
        recorder.wait_until_recording()
        assert_recorded(asyncio.run(listen(live_sound(tmp_path / "data"))), noise)


def test_one_child_decodes_for_all_and_ends_when_the_last_one_leaves(
    recorder: RecorderProcess, noise: np.ndarray
) -> None:
    async def run() -> None:
        live = live_sound(recorder.data)
        async with live.listen() as (form, pieces):
            await hear(pieces, form, 0.5)
            async with live.listen() as (other_form, other_pieces):
                assert live.listeners == 2
                assert len(decoders()) == 1
                one, other = await asyncio.gather(hear(pieces, form, 2), hear(other_pieces, other_form, 2))
                assert_recorded(one, noise)
                assert_recorded(other, noise)
            assert live.listeners == len(decoders()) == 1
            assert len(await hear(pieces, form, 0.5))
        assert live.listeners == len(decoders()) == 0

    asyncio.run(run())


def test_a_pause_ends_the_sound_and_nothing_is_heard_until_it_is_over(recorder: RecorderProcess) -> None:
    async def run() -> None:
        live = live_sound(recorder.data)
        async with live.listen() as (form, pieces):
            await hear(pieces, form, 1)
            recorder.spool.pause.order(None, KernelClock())
            await hear(pieces, form, SECONDS)
        assert decoders() == []
        with pytest.raises(NothingLive, match="paused"):
            await first_piece(live)
        recorder.spool.pause.remove()
        await until(lambda: is_recording(recorder), "recording goes on")
        await first_piece(live)

    asyncio.run(run())


async def first_piece(live: LiveSound) -> bytes:
    async with live.listen() as (_, pieces):
        return await anext(pieces)


def is_recording(recorder: RecorderProcess) -> bool:
    state = recorder.spool.state.read()
    return state is not None and state.state == "recording"


def test_an_ordered_pause_counts_before_the_recorder_has_followed_it(recorder: RecorderProcess) -> None:
    async def run() -> None:
        recorder.send(signal.SIGSTOP)
        recorder.spool.pause.order(None, KernelClock())
        with pytest.raises(NothingLive, match="paused"):
            await first_piece(live_sound(recorder.data))

    asyncio.run(run())


def test_the_sound_goes_on_after_a_restart_of_the_recorder(recorder: RecorderProcess, noise: np.ndarray) -> None:
    async def run() -> None:
        live = live_sound(recorder.data)
        async with live.listen() as (form, pieces):
            await hear(pieces, form, 1)
            await asyncio.to_thread(recorder.kill)
            with running_recorder(recorder.data, *options(recorder.data.parent)):
                heard = await hear(pieces, form, 6)
                assert_recorded(heard[-2 * RATE :], noise)
                assert len(decoders()) == 1

    asyncio.run(run())


def test_another_format_ends_the_sound_and_listening_again_gives_the_new_one(recorder: RecorderProcess) -> None:
    async def run() -> None:
        live = live_sound(recorder.data)
        async with live.listen() as (form, pieces):
            await hear(pieces, form, 1)
            await asyncio.to_thread(recorder.end)
            write_noise(recorder.data.parent / "noise.wav", 60, 2, 8_000)
            with running_recorder(recorder.data, *options(recorder.data.parent)) as other:
                await hear(pieces, form, SECONDS)
                other.wait_until_recording()
                async with live.listen() as (new_form, new_pieces):
                    assert new_form.rate == 8_000
                    await anext(new_pieces)

    asyncio.run(run())


def test_without_a_recorder_there_is_nothing_to_hear(recorder: RecorderProcess) -> None:
    async def run() -> None:
        await asyncio.to_thread(recorder.kill)
        with pytest.raises(NothingLive, match="stopped"):
            await first_piece(live_sound(recorder.data))
        assert decoders() == []

    asyncio.run(run())


def test_there_is_a_limit_to_listeners(recorder: RecorderProcess) -> None:
    async def run() -> None:
        live = live_sound(recorder.data)

        async def one_more(left: int) -> None:
            async with live.listen():
                if left:
                    await one_more(left - 1)
                else:
                    with pytest.raises(TooManyListeners):
                        await first_piece(live)
                    assert live.listeners == MOST_LISTENERS

        await one_more(MOST_LISTENERS - 1)
        await first_piece(live)

    asyncio.run(run())


def test_what_is_encrypted_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    async def run() -> type[FetchError]:
        try:
            await first_piece(live_sound(tmp_path, is_encrypted=True))
        except FetchError as problem:
            return type(problem)
        raise AssertionError("it was heard")

    assert asyncio.run(run()) is SoundEncrypted
    assert decoders() == []


def test_a_listener_who_takes_in_nothing_holds_up_nobody_and_then_hears_what_is_new(
    recorder: RecorderProcess, noise: np.ndarray
) -> None:
    async def run() -> None:
        live = live_sound(recorder.data)
        async with live.listen() as (form, pieces), live.listen() as (_, slow_pieces):
            heard = await hear(pieces, form, 6)
            assert_recorded(heard, noise)
            late = await hear(slow_pieces, form, 1)
            assert_recorded(late, noise)
            assert find_samples(noise, late) > find_samples(noise, heard) + 2 * RATE

    asyncio.run(run())
