"""A recorder killed soon after it was stopped, on PulseAudio's virtual microphone."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tests.support.recording.microphone import virtual_microphone, write_noise
from tests.support.recording.recorder_process import running_recorder
from tests.support.spool.recorded import aligned, holes_of, sound_of, streams_of

pytestmark = pytest.mark.slow
OPTIONS = ("recorder.source=microphone", "recorder.record_period=60", "mqtt.host=127.0.0.1", "mqtt.port=1")
STALL = 8.0  # seconds
KILL = 0.5  # seconds later


def test_a_kill_soon_after_a_stall_loses_at_most_the_block_being_encoded(tmp_path: Path) -> None:
    with virtual_microphone() as room:
        with running_recorder(tmp_path / "data", *OPTIONS, environment=room.environment) as recorder:
            recorder.wait_until_recording()
            played = write_noise(tmp_path / "noise.wav", 20, 1)
            player = room.play(tmp_path / "noise.wav")
            time.sleep(3)  # of sound before the stall
            recorder.send(signal.SIGSTOP)
            time.sleep(STALL)  # the stall itself
            recorder.send(signal.SIGCONT)
            time.sleep(KILL)  # when the fault comes
            recorder.kill()
            killed_at = time.time()
        with running_recorder(tmp_path / "data", *OPTIONS, environment=room.environment) as recorder:
            recorder.wait_until_recording()
            assert recorder.end() == 0
        player.terminate()
        player.wait()
    *before, _ = streams_of(recorder.spool)
    sound = np.concatenate([sound_of(recorder.spool, stream.stream_id) for stream in before])
    recorded, wanted = aligned(sound, played)
    assert len(recorded) > (STALL + 2) * 48_000
    assert np.array_equal(recorded, wanted)
    [crash] = [hole for hole in holes_of(recorder.spool) if hole.from_ < hole.to]
    assert crash.cause == "crash"
    assert killed_at - crash.from_ / 1e6 < 0.4  # the block being encoded, the one being captured, and what starts late
