"""A source whose blocks, failures and clock follow a script, and a recorder that runs on it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from msgspec.structs import replace

from edge.configuration.loader import load
from edge.configuration.settings import Settings
from edge.core.errors import DeviceError
from edge.core.instant import Instant
from edge.core.values import Chunk, Hole, RecorderMode, Stream
from edge.recorder.capture.blocks import Block, Samples, SoundSource, SourceFormat
from edge.recorder.context import Tuning
from edge.recorder.facts import RecorderObserver
from edge.recorder.recorder import Recorder
from edge.spool.spool import Spool
from edge.spool.thresholds import Crossing, Limits
from tests.support.kernel_clock import ManualClock
from tests.support.wait import wait_until

RATE = 8_000
FRAMES = 400  # 50 ms

Step = float | Callable[[], None] | Exception  # seconds of sound, something to do, or a device that fails


class ScriptedSource:
    """Plays seeded noise by `clock`, and keeps what it delivered in `played`. Calls `at_end` at the script's end."""

    def __init__(self, clock: ManualClock, script: Iterable[Step], at_end: Callable[[], None]) -> None:
        self._clock, self._at_end = clock, at_end
        self._steps = list(script)
        self._blocks = 0
        self._dice = np.random.default_rng(clock.monotonic())
        self.played: list[Samples] = []

    def open(self) -> SourceFormat:
        return SourceFormat("script", RATE, 1, 16)

    def read(self, timeout: float) -> Block | None:
        while not self._blocks:
            if not self._steps:
                self._at_end()
                return None
            step = self._steps.pop(0)
            if isinstance(step, Exception):
                raise step
            if callable(step):
                step()  # while the next block is being captured
                continue
            self._blocks = round(step * RATE) // FRAMES
        self._blocks -= 1
        samples = self._dice.integers(-9_000, 9_000, (FRAMES, 1), dtype=np.int16)
        block = Block(samples, self._clock.monotonic())
        self._clock.advance(FRAMES / RATE)
        self.played.append(samples)
        return block

    def close(self) -> None:
        """Has nothing to release."""


class ScriptedStop(threading.Event):
    """The event that stops a recorder. Waiting takes no time: it does an act of the script, or turns the clock."""

    def __init__(self, clock: ManualClock, acts: Iterable[Callable[[], None]]) -> None:
        super().__init__()
        self._clock, self.acts = clock, list(acts)
        self._left = 10_000

    def wait(self, timeout: float | None = None) -> bool:
        self._left -= 1
        assert self._left, "the recorder waits for ever"
        if self.acts:
            self.acts.pop(0)()
        else:
            self._clock.advance(timeout or 0.0)
        return self.is_set()


class RecordedFacts(RecorderObserver):
    """Remembers what the recorder reported."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.modes: list[RecorderMode] = []
        self.corrected: list[Stream] = []
        self.streams: list[Stream] = []
        self.limits: list[Limits] = []
        self.crossings: list[Crossing] = []

    def limits_changed(self, limits: Limits) -> None:
        self.limits.append(limits)

    def threshold_crossed(self, crossing: Crossing) -> None:
        self.crossings.append(crossing)

    def mode_changed(self, mode: RecorderMode, since: Instant, reason: str | None, until: Instant | None) -> None:
        self.modes.append(mode)

    def stream_opened(self, stream: Stream) -> None:
        self.streams.append(stream)

    def chunk_finished(self, chunk: Chunk) -> None:
        self.chunks.append(chunk)

    def clock_corrected(self, stream: Stream) -> None:
        self.corrected.append(stream)


class Rig:
    """A spool, a clock and a recorder: each `run` is one run of the recorder process."""

    def __init__(self, folder: Path, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock()
        self.spool = Spool(folder / "spool", "porch")
        self.spool.create()
        self.settings: Settings = load(folder, overrides=["node.name=porch", "recorder.record_period=1"], environ={})
        self.facts = RecordedFacts()
        self.tuning = Tuning()
        self.played: list[Samples] = []
        self.options: dict[str, Any] = {}  # of the recorder
        self._recorder: Recorder | None = None
        self._stop = threading.Event()

    def configure(self, **changes: object) -> None:
        """Changes keys of [recorder]."""
        self.settings = replace(self.settings, recorder=replace(self.settings.recorder, **changes))

    def run(self, *script: Step, waits: Iterable[Callable[[], None]] = ()) -> None:
        """One run, from start to orderly stop. `waits`: what happens in the recorder's first waits, one each."""
        stop = self._stop = ScriptedStop(self.clock, waits)
        source = ScriptedSource(self.clock, script, stop.set)

        def choose() -> SoundSource:
            return source

        self._recorder = Recorder(
            self.settings, self.spool, choose, self.clock, self.facts, stop, tuning=self.tuning, **self.options
        )
        self._recorder.run()
        self.played += source.played

    def stop(self) -> None:
        """Stops the recorder, whatever it is doing."""
        self._stop.set()

    @property
    def recorder(self) -> Recorder:
        """The running recorder."""
        assert self._recorder is not None
        return self._recorder

    def rotate(self) -> None:
        self.recorder.rotate()

    def crash(self, *script: Step) -> None:
        """One run that crashes: leaves the spool as the kernel has it at the script's end."""
        kept = self.spool.path.with_name("as-it-was")
        finished = len(self.facts.chunks) + int(sum(step for step in script if isinstance(step, int | float)))

        def photograph() -> None:
            wait_until(lambda: len(self.facts.chunks) >= finished, "the disk thread has done its part")
            shutil.copytree(self.spool.path, kept)

        self.run(*script, photograph)
        shutil.rmtree(self.spool.path)
        kept.rename(self.spool.path)

    def manifests(self) -> list[Chunk]:
        """The manifests of all finished chunks, ordered by stream and number."""
        found = [self.spool.chunks.manifest(chunk_id) for chunk_id in self.spool.chunks.finished()]
        return sorted(found, key=lambda chunk: (self.spool.streams.read(chunk.stream_id).ordinal, chunk.seq))

    def sound(self) -> Samples:
        """All samples of all chunks."""
        return np.concatenate(
            [
                soundfile.read(self.spool.layout.audio_path(c), dtype="int16", always_2d=True)[0]
                for c in self.manifests()
            ]
        )

    def holes(self) -> list[Hole]:
        """The holes before each stream, and the current one."""
        streams = sorted((self.spool.streams.read(one) for one in self.spool.streams.ids()), key=lambda s: s.ordinal)
        return [hole for stream in streams for hole in stream.before]


LOST = DeviceError("unplugged")
