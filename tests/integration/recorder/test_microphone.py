"""The recorder as a process, on PulseAudio's virtual microphone: what is played is found again, to the sample."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.core.instant import Instant
from edge.core.values import PauseOrder
from edge.spool.spool import Spool
from tests.support.recording.microphone import VirtualMicrophone, virtual_microphone, write_noise
from tests.support.recording.recorder_process import running_recorder
from tests.support.spool.recorded import Sound, aligned, chunks_of, holes_of, sound_of, streams_of
from tests.support.wait import DEADLINE, wait_until

pytestmark = pytest.mark.slow
OPTIONS = ("recorder.source=microphone", "recorder.record_period=5", "mqtt.host=127.0.0.1", "mqtt.port=1")


@pytest.fixture
def room() -> Iterator[VirtualMicrophone]:
    with virtual_microphone() as microphone:
        yield microphone


def mode_is(spool: Spool, mode: str) -> bool:
    state = spool.state.read()
    return state is not None and state.state == mode


def play(room: VirtualMicrophone, folder: Path, seconds: float, seed: int) -> tuple[Sound, subprocess.Popen[bytes]]:
    path = folder / f"noise-{seed}.wav"
    samples = write_noise(path, seconds, seed)
    return samples, room.play(path)


def test_recording_is_bit_exact_even_if_the_process_stalls(room: VirtualMicrophone, tmp_path: Path) -> None:
    with running_recorder(tmp_path / "data", *OPTIONS, environment=room.environment) as recorder:
        recorder.wait_until_recording()
        played, player = play(room, tmp_path, 16, 1)
        wait_until(lambda: len(recorder.spool.chunks.finished()) >= 1, "the first chunk")
        for seconds in (0.3, 5.0):
            recorder.send(signal.SIGSTOP)
            time.sleep(seconds)  # the stall itself
            recorder.send(signal.SIGCONT)
            started = len(recorder.spool.chunks.finished())
            wait_until(lambda: len(recorder.spool.chunks.finished()) > started, "it goes on")  # noqa: B023
        assert player.wait(DEADLINE) == 0
        assert recorder.end() == 0
    [stream] = streams_of(recorder.spool)
    sound = sound_of(recorder.spool, stream.stream_id)
    recorded, wanted = aligned(sound, played)
    assert len(recorded) > 13 * 48_000
    assert np.array_equal(recorded, wanted)
    assert [chunk.frames for chunk in chunks_of(recorder.spool, stream.stream_id)[:-1]] == [240_000] * (
        len(recorder.spool.chunks.finished()) - 1
    )


def test_gaps_by_kill_restart_unplugging_and_pause_have_their_own_causes(
    room: VirtualMicrophone, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    played, player = play(room, tmp_path, 90, 2)
    with running_recorder(data, *OPTIONS, environment=room.environment) as recorder:
        recorder.wait_until_recording(150_000)
        recorder.kill()
    with running_recorder(data, *OPTIONS, environment=room.environment) as recorder:
        recorder.wait_until_recording(150_000)
        assert recorder.end() == 0
    with running_recorder(data, *OPTIONS, environment=room.environment) as recorder:
        spool = recorder.spool
        recorder.wait_until_recording(150_000)
        ordered = Instant.from_seconds(time.time())
        spool.pause.write(PauseOrder())
        wait_until(lambda: mode_is(spool, "paused"), "the pause is noted")
        paused_from = spool.state.read().open_hole.from_  # type: ignore[union-attr]
        spool.pause.remove()
        recorder.wait_until_recording(150_000)
        player.terminate()
        player.wait()
        room.unplug()
        wait_until(lambda: mode_is(spool, "no_device"), "the loss is noticed")
        room.plug_in()
        recorder.wait_until_recording()
        again, player = play(room, tmp_path, 4, 3)
        assert player.wait(DEADLINE) == 0
        assert recorder.end() == 0
    assert [hole.cause for hole in holes_of(spool)] == ["crash", "restart", "paused", "device_lost"]
    assert paused_from <= ordered
    streams = streams_of(spool)
    assert len(streams) == 5
    for stream in streams[:3]:
        second = sound_of(spool, stream.stream_id)[-48_000:]
        assert second.tobytes() in played.tobytes()
    recorded, wanted = aligned(sound_of(spool, streams[-1].stream_id), again)
    assert len(recorded) > 3 * 48_000
    assert np.array_equal(recorded, wanted)
    for hole in holes_of(spool):
        assert hole.from_ < hole.to


@contextlib.contextmanager
def sound_server(room: VirtualMicrophone, socket: Path) -> Iterator[None]:
    """A PulseAudio that listens on `socket`, ended by its process id."""
    options = ["-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--log-level=error"]
    modules = ["-L", "module-native-protocol-unix", "-L", "module-null-sink sink_name=room rate=48000"]
    server = subprocess.Popen(["pulseaudio", *options, *modules], env=os.environ | room.environment)
    try:
        wait_until(socket.exists, "PulseAudio listens")
        yield
    finally:
        server.terminate()
        server.wait(DEADLINE)


def test_a_sound_server_restart_is_a_temporary_device_loss(tmp_path: Path) -> None:
    room, socket = VirtualMicrophone(tmp_path), tmp_path / "pulse" / "native"
    with contextlib.ExitStack() as first:
        first.enter_context(sound_server(room, socket))
        with running_recorder(tmp_path / "data", *OPTIONS, environment=room.environment) as recorder:
            recorder.wait_until_recording()
            first.close()
            wait_until(lambda: mode_is(recorder.spool, "no_device"), "the loss is noticed")
            with sound_server(room, socket):
                recorder.wait_until_recording()
                assert recorder.end() == 0
    [hole] = holes_of(recorder.spool)
    assert hole.cause == "device_lost"
    assert hole.from_ < hole.to
    assert len(streams_of(recorder.spool)) == 2
