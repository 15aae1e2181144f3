"""Ten minutes in real time on the virtual microphone while every core is kept busy: nothing may be missing.

`python -m tests.campaigns.recorder_busy [--minutes 10] [--burners N] [--block-ms N]`. Exit code 0: bit for bit what
was played, in one stream.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.support.recording.microphone import virtual_microphone, write_noise
from tests.support.recording.recorder_process import running_recorder
from tests.support.spool.recorded import aligned, holes_of, sound_of, streams_of

_PLAYER_HOLDS = 8_000  # ms: the player too is kept waiting, and must not run dry


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory() as name, virtual_microphone() as room:
        folder = Path(name)
        played = write_noise(folder / "noise.wav", options.minutes * 60, 21)
        settings = ["recorder.source=microphone", "mqtt.host=127.0.0.1", "mqtt.port=1"]
        if options.block_ms:
            settings.append(f"recorder.block_ms={options.block_ms}")
        with running_recorder(folder / "data", *settings, environment=room.environment) as recorder:
            recorder.wait_until_recording()
            loads = []
            with busy_cores(options.burners):
                player = room.play(folder / "noise.wav", holds=_PLAYER_HOLDS)
                while _still_plays(player):
                    loads.append(os.getloadavg()[0])
            recorder.end()
        streams, holes = streams_of(recorder.spool), holes_of(recorder.spool)
        _say(f"load {min(loads):.1f} to {max(loads):.1f}; {len(streams)} streams, {len(holes)} holes: {holes}")
        sound = np.concatenate([sound_of(recorder.spool, stream.stream_id) for stream in streams])
        found, wanted = aligned(sound, played)
        wrong = np.flatnonzero(found != wanted)
        _say(f"{len(found)} of {len(played)} samples compared, {len(wrong)} differ{_place(wrong)}")
        whole = len(found) > len(played) - 48_000  # a sink swallows the first moments of what is played into it
        return 0 if whole and not len(wrong) and len(streams) == 1 and not holes else 1


@contextlib.contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """`count` processes that do nothing as fast as they can."""
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def _still_plays(player: subprocess.Popen[bytes]) -> bool:
    try:
        player.wait(5)
    except subprocess.TimeoutExpired:
        return True
    return False


def _place(wrong: np.ndarray) -> str:
    return f", the first {wrong[0] / 48_000:.3f} s into them" if len(wrong) else ""


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--burners", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--block-ms", type=int, default=0, help="0: as configured")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
