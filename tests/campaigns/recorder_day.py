"""A whole day of seeded sound through the recorder, as fast as it goes: what comes out, joined, is what went in.

`python -m tests.campaigns.recorder_day [--hours 24] [--rate 48000] [--folder DIR]`. The sound is written as one FLAC
file while its SHA-256 is taken; the recorder plays it; all chunks are decoded in order and held against that. Takes
about 200 MB an hour at 48 kHz while it runs. Exit code 0: the same, in one stream, without a hole.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from edge.spool.spool import Spool
from tests.support.recording.recorder_process import RecorderProcess, running_recorder
from tests.support.spool.recorded import chunks_of, holes_of, streams_of
from tests.support.wait import wait_until

_LOUDEST = 900  # of 32,768: at night a garden is quiet; louder noise would only fill the disk


class Digest(NamedTuple):
    """Of 16-bit samples, one channel."""

    frames: int
    sha256: str


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        given = write_sound(folder / "day.flac", options.hours, options.rate)
        _say(f"given: {given.frames} frames, {given.sha256}")
        began = time.monotonic()
        settings = [f"recorder.source={folder / 'day.flac'}", "recorder.pace=max", "mqtt.host=127.0.0.1", "mqtt.port=1"]
        with running_recorder(folder / "data", *settings) as recorder:
            wait_until(lambda: _is_played(recorder), "the day has been recorded", options.hours * 600 + 60)
            lasted, peak, cpu = time.monotonic() - began, _peak_memory(recorder), _cpu_seconds(recorder)
            recorder.end()
        _say(f"recorded {options.hours:g} h in {lasted:.0f} s ({cpu:.0f} s of CPU); resident at most {peak:.1f} MB")
        (folder / "day.flac").unlink()
        return _judge(recorder.spool, given)


def write_sound(path: Path, hours: float, rate: int) -> Digest:
    """Noise from a seed, its loudness another each minute."""
    sha256, frames = hashlib.sha256(), 0
    with soundfile.SoundFile(path, "w", rate, 1, "PCM_16") as file:
        for minute in range(max(1, round(hours * 60))):
            dice = np.random.default_rng([7, minute])
            loudness = int(dice.integers(8, _LOUDEST)) if minute % 10 == 0 else int(dice.integers(8, 60))
            samples = dice.integers(-loudness, loudness, 60 * rate, dtype=np.int16)
            file.write(samples)
            sha256.update(samples.tobytes())
            frames += len(samples)
    return Digest(frames, sha256.hexdigest())


def _judge(spool: Spool, given: Digest) -> int:
    streams, holes = streams_of(spool), holes_of(spool)
    sha256, frames, chunks = hashlib.sha256(), 0, 0
    for samples in _decoded(spool, streams[0].stream_id):
        sha256.update(samples.tobytes())
        frames, chunks = frames + len(samples), chunks + 1
    _say(f"found: {frames} frames, {sha256.hexdigest()}; {chunks} chunks, {len(streams)} streams, {len(holes)} holes")
    is_well = Digest(frames, sha256.hexdigest()) == given and len(streams) == 1 and not holes
    return 0 if is_well and not spool.chunks.parts() and not spool.chunks.leftovers() else 1


def _decoded(spool: Spool, stream_id: str) -> Iterator[np.ndarray]:
    for chunk in chunks_of(spool, stream_id):
        samples, _ = soundfile.read(spool.layout.audio_path(chunk), dtype="int16")
        assert len(samples) == chunk.frames, f"{chunk.chunk_id} has {len(samples)} frames, not {chunk.frames}"
        yield samples


def _is_played(recorder: RecorderProcess) -> bool:
    assert recorder.process.poll() is None, recorder.log[-2_000:]
    return "played to its end" in recorder.log


def _peak_memory(recorder: RecorderProcess) -> float:
    """The most that was ever resident, MB."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{recorder.process.pid}/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1000


def _cpu_seconds(recorder: RecorderProcess) -> float:
    tasks = Path(f"/proc/{recorder.process.pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--rate", type=int, default=48_000)
    parser.add_argument("--folder", type=Path, help="where to put it all; the system's temporary folder otherwise")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
