"""One run of a recorder that records a file at full speed, and reports its progress even if it is killed.

A file `progress` holds, without a single system call, which stream is being recorded and how many of its frames the
encoder was given.
"""

from __future__ import annotations

import mmap
import struct
import threading
from pathlib import Path
from typing import NamedTuple

from edge.configuration.loader import load
from edge.core.kernel_clock import KernelClock
from edge.core.values import AudioFormat, Stream
from edge.recorder.capture.sources import FileSource
from edge.recorder.facts import MeasuredBlock, RecorderObserver
from edge.recorder.recorder import Recorder
from edge.spool.spool import Spool

_LAYOUT = struct.Struct("<21sq")
_BLOCK_MS = 128
BLOCK_FRAMES = 1_024  # at the 8 kHz of the campaign


class RunProgress(NamedTuple):
    stream_id: str
    frames: int


class ProgressWriter(RecorderObserver):
    """Writes the progress to shared memory that outlives the process."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory

    def stream_opened(self, stream: Stream) -> None:
        self._stream_id = stream.stream_id.encode()
        _LAYOUT.pack_into(self._memory, 0, self._stream_id, 0)

    def block_measured(self, block: MeasuredBlock) -> None:
        _LAYOUT.pack_into(self._memory, 0, self._stream_id, block.levels.end_frame)


def record_file(spool: Spool, sound: Path, progress: Path, audio_format: AudioFormat = "flac") -> None:
    """Records the file to its end, in this process."""
    progress.write_bytes(bytes(_LAYOUT.size))
    settings = load(
        spool.path,
        overrides=[
            f"node.name={spool.node}", "recorder.record_period=1", f"recorder.format={audio_format}",
            f"recorder.block_ms={_BLOCK_MS}", "recorder.pace=max",
        ],
        environ={},
    )  # fmt: skip
    with progress.open("r+b") as file:
        writer = ProgressWriter(mmap.mmap(file.fileno(), _LAYOUT.size))
    clock = KernelClock()
    source = FileSource(sound, settings.recorder, clock)
    spool.create()
    Recorder(settings, spool, lambda: source, clock, writer, threading.Event()).run()


def read_progress(path: Path) -> RunProgress:
    """How far a run got."""
    data = path.read_bytes()
    if len(data) < _LAYOUT.size:
        return RunProgress("", 0)  # killed before it began
    stream_id, frames = _LAYOUT.unpack(data)
    return RunProgress(stream_id.rstrip(b"\0").decode(), frames)
