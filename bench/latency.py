"""From a loud sample to the MQTT message that tells of it, over a real broker.

`python -m bench.latency [--events 500] [--microphone]`. Without `--microphone` a file played in real time is the
source: a block is there the moment its last frame is, so the device's own share is the wait for that; with it,
PulseAudio's virtual microphone, whose buffering comes on top. The loud samples are found again in what was recorded.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from bench.programs import MICROPHONE, require
from edge.configuration.settings import Mqtt, Recorder
from edge.messaging.bus import Bus
from edge.messaging.events import SoundHeard
from tests.support.messaging.broker import running_broker
from tests.support.recording.microphone import virtual_microphone
from tests.support.recording.recorder_process import running_recorder
from tests.support.spool.recorded import chunks_of, sound_of, streams_of

RATE = 48_000
_BURST = 0.06  # seconds
_LEAD = 8  # seconds, in which the recorder opens the device
_QUIET = 0.3
_PLAYER_HOLDS = 40  # ms: with a player that holds its usual 2 s, the null sink runs 0.13 % slow, as no sound card does


def write_bursts(path: Path, events: int) -> float:
    """Loud bursts at uneven times; gives the file's seconds."""
    dice = np.random.default_rng(4)
    tone = (20_000 * np.sin(2 * np.pi * 1_000 * np.arange(round(_BURST * RATE)) / RATE + 1)).astype(np.int16)
    pieces = [np.zeros(_LEAD * RATE, np.int16)]
    for _ in range(events):
        pieces += [tone, np.zeros(round(dice.uniform(0.75, 0.95) * RATE), np.int16)]
    sound = np.concatenate([*pieces, np.zeros(RATE, np.int16)])
    soundfile.write(path, sound, RATE, subtype="PCM_16")
    return len(sound) / RATE


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=500)
    parser.add_argument("--microphone", action="store_true")
    parser.add_argument("--block-ms", type=int, default=Recorder().block_ms)
    options = parser.parse_args()
    if options.microphone:
        require(*MICROPHONE)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        seconds = write_bursts(folder / "bursts.wav", options.events)
        broker = stack.enter_context(running_broker())
        heard: list[tuple[int, SoundHeard]] = []
        bus = Bus(Mqtt(host=broker.host, port=broker.port), "porch", "control")
        bus.subscribe(SoundHeard, lambda sound, _: _hear(heard, sound))
        bus.start()
        stack.callback(bus.stop)
        bus.wait_connected(10)
        settings = [
            f"mqtt.host={broker.host}", f"mqtt.port={broker.port}",
            "thresholds.sound_level=-20", "levels.hold_seconds=0",
            f"recorder.block_ms={options.block_ms}",
            f"recorder.source={'microphone' if options.microphone else folder / 'bursts.wav'}",
        ]  # fmt: skip
        room = stack.enter_context(virtual_microphone()) if options.microphone else None
        environment = room.environment if room else None
        # the player comes first: the null sink runs ahead by what its most hurried client asks for, a change of which
        # is no sound card's either
        player = room.play(folder / "bursts.wav", holds=_PLAYER_HOLDS) if room else None
        with running_recorder(folder / "data", *settings, environment=environment) as recorder:
            recorder.wait_until_recording()
            print(f"{options.events} events take {seconds:.0f} s", flush=True)
            if player is not None:
                player.wait()
            else:
                time.sleep(seconds)
            time.sleep(1)
            recorder.end()
        [stream] = streams_of(recorder.spool)
        loud = _loud_frames(sound_of(recorder.spool, stream.stream_id))
        chunks = chunks_of(recorder.spool, stream.stream_id)
        knots = [(chunk.first_frame, chunk.started_at) for chunk in chunks]
        knots.append((chunks[-1].end_frame, chunks[-1].ended_at))
        times = [float(at) for at in np.interp(loud, [frame for frame, _ in knots], [at for _, at in knots])]
        block = options.block_ms * RATE // 1000
        waits = [(block - frame % block) / RATE * 1e3 for frame in loud]
        _report(times, waits, heard)


def _hear(heard: list[tuple[int, SoundHeard]], sound: SoundHeard) -> None:
    if sound.event == "started":
        heard.append((time.time_ns() // 1000, sound))


def _loud_frames(sound: np.ndarray) -> list[int]:
    """Where each burst begins."""
    loud = np.flatnonzero(np.abs(sound.astype(np.int32)) > 10_000)
    first = np.concatenate([[True], np.diff(loud) > _QUIET * RATE])
    return [int(frame) for frame in loud[first]]


def _report(times: list[float], waits: list[float], heard: list[tuple[int, SoundHeard]]) -> None:
    latencies = [(now - at) / 1e3 for at, (now, _) in zip(times, heard, strict=True)]
    whole = np.array(latencies)
    ours = whole - np.array(waits)
    for name, values in (
        ("loud sample to message", whole),
        ("of that, wait for the block", np.array(waits)),
        ("ours", ours),
    ):
        middle, high = np.percentile(values, [50, 99])
        print(
            f"{name:28} median {middle:6.1f} ms, p99 {high:6.1f} ms, most {values.max():6.1f} ms ({len(values)} events)"
        )


if __name__ == "__main__":
    main()
