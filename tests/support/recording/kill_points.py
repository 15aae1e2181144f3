"""Kills a recorder at chosen system calls, starts another, and compares the disk with what it was given."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import soundfile

from edge.core.ids import stream_of
from edge.core.values import AudioFormat
from edge.recorder.durable.chunk_writer import digest
from edge.spool.spool import Spool
from tests.support.recording.recorder_run import BLOCK_FRAMES, RunProgress, read_progress, record_file
from tests.support.recording.traced_run import Who, run_traced
from tests.support.spool.recorded import chunks_of, sound_of, streams_of

CALLS = ("write", "openat", "fsync", "rename", "unlink")
ENCODING = 4_096  # frames: the FLAC block that the encoder was filling, or writing
_RATE = 8_000
_CALL = re.compile(r"(?:\d+ +)?(\w+)\(")


class KillPoint(NamedTuple):
    """The `number`th call of `call` in the thread `who`; `repairing`: of a run that starts with a crashed spool."""

    call: str
    number: int
    who: Who
    repairing: bool

    def __str__(self) -> str:
        return f"{self.call}:{self.number}:{self.who}:{'repair' if self.repairing else 'fresh'}"


class KillPointCheck:
    """A sound, the spool left by a crash, and the system calls of a run."""

    def __init__(self, folder: Path, seconds: float = 3.3, audio_format: AudioFormat = "flac") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._format = audio_format
        self.sound = folder / "noise.wav"
        self.samples = np.random.default_rng(9).integers(-9_000, 9_000, round(seconds * _RATE), dtype=np.int16)
        soundfile.write(self.sound, self.samples, _RATE, subtype="PCM_16")
        self._crashed = folder / "crashed"
        self._crashed_progress = folder / "crashed.progress"

    def prepare(self) -> None:
        """Creates the crashed spool, by killing a recorder in the middle of its sound."""
        writes = self._calls("recorder", repairing=False)["write"]
        self._run(self._crashed, self._crashed_progress, KillPoint("write", writes * 2 // 3, "recorder", False))
        assert read_progress(self._crashed_progress).frames, "it was killed too early"

    def points(self) -> list[KillPoint]:
        """Every system call of a run, with a fresh and with a crashed spool."""
        found = []
        for repairing in (False, True):
            for who in get_args(Who):
                for call, count in sorted(self._calls(who, repairing=repairing).items()):
                    found += [KillPoint(call, number, who, repairing) for number in range(1, count + 1)]
        return found

    def check(self, point: KillPoint) -> str:
        """What is wrong after a run killed at `point` and a complete run after it; '' if nothing is."""
        folder = self._folder / str(point).replace(":", "-")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            return self._check(point, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _check(self, point: KillPoint, folder: Path) -> str:
        lives = []
        if point.repairing:
            shutil.copytree(self._crashed, folder / "spool")
            lives.append(read_progress(self._crashed_progress))
        killed = self._run(folder / "spool", folder / "killed.progress", point)
        if (folder / "killed.progress").exists():
            lives.append(read_progress(folder / "killed.progress"))
        spool = Spool(folder / "spool", "porch")
        record_file(spool, self.sound, folder / "whole.progress", self._format)
        lives.append(read_progress(folder / "whole.progress"))
        try:
            self._compare_with_source(spool, [life for life in lives if life.stream_id], killed)
        except AssertionError as problem:
            return str(problem) or "not as it should be"
        return ""

    def _compare_with_source(self, spool: Spool, lives: list[RunProgress], killed: bool) -> None:
        assert not spool.chunks.parts(), "a part is left"
        assert not spool.chunks.leftovers(), "a temporary file is left"
        assert not list(spool.path.glob("*.damaged*")), "something is damaged"
        assert spool.chunks.manifest_ids() == spool.chunks.finished().keys(), "manifests and audio do not match"
        known = {life.stream_id for life in lives}
        assert {stream_of(chunk_id) for chunk_id in spool.chunks.finished()} <= known, "a stream that nobody recorded"
        for number, life in enumerate(lives):
            whole = number == len(lives) - 1
            self._compare_stream(spool, life, 0 if whole else ENCODING, len(self.samples) if whole else life.frames)
        self._compare_gaps(spool, lives, killed)

    def _compare_stream(self, spool: Spool, life: RunProgress, may_lack: int, given: int) -> None:
        sound = sound_of(spool, life.stream_id)
        # between the encoder and the note of it lies one block
        assert given - may_lack <= len(sound) <= given + BLOCK_FRAMES, f"{len(sound)} of {given} frames are there"
        assert np.array_equal(sound, self.samples[: len(sound)]), "the samples are others"
        for chunk in chunks_of(spool, life.stream_id):
            assert digest(spool.layout.audio_path(chunk)).sha256 == chunk.sha256, "a manifest tells of other bytes"

    def _compare_gaps(self, spool: Spool, lives: list[RunProgress], killed: bool) -> None:
        *killed_ones, last = streams_of(spool)
        assert last.stream_id == lives[-1].stream_id, "the last stream is not the last"
        reported = [hole.cause for stream in (*killed_ones, last) for hole in stream.before]
        deaths = {"crash"} if killed else {"restart", "crash"}
        begun = [life for life in lives[:-1] if life.frames]
        assert len(reported) >= len(begun), f"{len(begun)} lives ended, reported: {reported}"
        assert set(reported) <= deaths | {"restart"}, f"reported: {reported}"

    def _run(self, spool: Path, progress: Path, point: KillPoint) -> bool:
        """One run, killed; False if it finished first."""
        return not run_traced(
            spool, self.sound, progress, self._format, point.who,
            ["-o", "/dev/null", "-e", f"inject={point.call}:signal=SIGKILL:when={point.number}"],
        )  # fmt: skip

    def _calls(self, who: Who, *, repairing: bool) -> Counter[str]:
        """How often each call is made in a complete run."""
        spool, log = self._folder / "rehearsal", self._folder / "rehearsal.log"
        shutil.rmtree(spool, ignore_errors=True)
        if repairing:
            shutil.copytree(self._crashed, spool)
        trace = ["-o", str(log), "-e", f"trace={','.join(CALLS)}"]
        run_traced(spool, self.sound, self._folder / "rehearsal.progress", self._format, who, trace)
        return Counter(
            match[1] for line in log.read_text(errors="replace").splitlines() if (match := _CALL.match(line))
        )
