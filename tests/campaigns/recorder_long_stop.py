"""Stops the recorder for longer than the sound server keeps its sound, and compares the gaps it reports with the truth.

`python -m tests.campaigns.recorder_long_stop [--stop SECONDS] [--stops N] [--between SECONDS] [--channels N]`.
The server keeps 44 s of mono, 22 s of stereo. Exit code 0: every gap right within 50 ms, or within a block with several
stops.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from edge.core.values import Hole
from tests.support.recording.microphone import virtual_microphone, write_noise
from tests.support.recording.recorder_process import running_recorder
from tests.support.spool.recorded import Sound, holes_of, sound_of, streams_of

RATE = 48_000
_NEAR = 0.3  # seconds of sound: three blocks, of each of which a full server keeps a bit
_BLOCK = 0.1  # seconds
OPTIONS = ("recorder.source=microphone", "recorder.record_period=10", "mqtt.host=127.0.0.1", "mqtt.port=1")


def main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--stop", type=float, default=60.0)
    arguments.add_argument("--stops", type=int, default=1)
    arguments.add_argument("--between", type=float, default=0.3, help="seconds that it runs between two stops")
    arguments.add_argument("--channels", type=int, default=1)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name, virtual_microphone() as room:
        folder = Path(name)
        played = write_noise(folder / "noise.wav", options.stops * (options.stop + options.between) + 40, 1)
        channels = f"recorder.channels={options.channels}"
        with running_recorder(folder / "data", *OPTIONS, channels, environment=room.environment) as recorder:
            recorder.wait_until_recording()
            player = room.play(folder / "noise.wav")
            time.sleep(10)
            stops = [_stop(recorder.process, options.stop)]
            while len(stops) < options.stops:
                time.sleep(options.between)
                stops.append(_stop(recorder.process, options.stop))
            player.wait(60)
            recorder.end()
        streams, holes = streams_of(recorder.spool), holes_of(recorder.spool)
        lengths = ", ".join(f"{seconds:.3f} s" for seconds in stops)
        print(f"stopped for {lengths}: {len(streams)} streams, holes {[hole.cause for hole in holes]}")  # noqa: T201
        sounds = [sound_of(recorder.spool, stream.stream_id) for stream in streams]
        mono = [np.ascontiguousarray(sound[:, 0]) if sound.ndim > 1 else sound for sound in sounds]
        return _judge(played, mono, holes, 0.05 if options.stops == 1 else _BLOCK)


def _stop(process: subprocess.Popen[bytes], seconds: float) -> float:
    began = time.monotonic()
    process.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    process.send_signal(signal.SIGCONT)
    return time.monotonic() - began


def _judge(played: Sound, sounds: list[Sound], holes: list[Hole], tolerance: float) -> int:
    """The missing samples by the noise itself. A server that is full drops in several bites, some milliseconds of sound
    apart: what is missing near the end of a stream or the beginning of the next belongs to the hole between them."""
    lengths = np.cumsum([0] + [len(sound) for sound in sounds])
    runs = [
        (int(lengths[number]) + place, there, length)
        for number, sound in enumerate(sounds)
        for place, there, length in _runs(sound, played)
    ]
    missing = [0.0] * len(holes)
    for before, after in pairwise(runs):
        jump = (after[1] - before[1] - before[2]) / RATE
        if not jump or before[1] + before[2] < RATE:
            continue  # a sink swallows some of the first moments of what is played into it
        distances = [abs(after[0] - int(border)) / RATE for border in lengths[1:-1]]
        nearest = min(range(len(distances)), key=distances.__getitem__, default=None)
        if nearest is None or distances[nearest] > _NEAR:
            print(f"{jump:.4f} s are missing INSIDE a stream")  # noqa: T201
            return 1
        print(f"{jump:.4f} s are missing, {distances[nearest]:.3f} s of sound from the end of stream {nearest}")  # noqa: T201
        missing[nearest] += jump
    reported = [(hole.to - hole.from_) / 1e6 for hole in holes]
    for real, measured, hole in zip(missing, reported, holes, strict=True):
        off = (measured - real) * 1e3
        print(f"missing {real:.4f} s, reported {measured:.4f} s ({hole.cause}), off by {off:.1f} ms")  # noqa: T201
    return 0 if all(abs(measured - real) <= tolerance for measured, real in zip(reported, missing, strict=True)) else 1


def _runs(sound: Sound, played: Sound) -> list[tuple[int, int, int]]:
    """(place in sound, place in played, length) of each uninterrupted run of played samples."""
    haystack, runs, place = played.tobytes(), [], 0
    while place + 64 <= len(sound):
        found = haystack.find(sound[place : place + 64].tobytes())
        if found < 0 or found % 2 or not sound[place : place + 64].any():
            place += 32
            continue
        there = found // 2
        length = min(len(sound) - place, len(played) - there)
        same = sound[place : place + length] == played[there : there + length]
        length = length if same.all() else int(same.argmin())
        runs.append((place, there, length))
        place += length
    return runs


if __name__ == "__main__":
    sys.exit(main())
