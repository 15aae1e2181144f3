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
from edge.recorder.recorder import Recorder
from edge.recorder.recording import ModeListener
from edge.recorder.signal.levels import BlockLevels
from edge.recorder.stream_recorder import StreamRecorder
from edge.spool.spool import Spool

_LAYOUT = struct.Struct("<21sq")
_BLOCK_MS = 128
BLOCK_FRAMES = 1_024  # at the 8 kHz of the campaign


class RunProgress(NamedTuple):
    stream_id: str
    frames: int


class ProgressWriter(ModeListener):
    """Writes the progress to shared memory that outlives the process."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory

    def stream_opened(self, stream: Stream) -> None:
        _LAYOUT.pack_into(self._memory, 0, stream.stream_id.encode(), 0)

    def measured(self, levels: BlockLevels, stream: StreamRecorder) -> None:
        _LAYOUT.pack_into(self._memory, 0, stream.stream.stream_id.encode(), stream.frames)


def record_file(spool: Spool, sound: Path, progress: Path, audio_format: AudioFormat = "flac") -> None:
    """Records the file to its end, in this process."""
    progress.write_bytes(bytes(_LAYOUT.size))
    settings = load(
        spool.path,
        overrides=[f"node.name={spool.node}", "recorder.record_period=1", f"recorder.format={audio_format}"],
        environ={},
    )
    with progress.open("r+b") as file:
        recall = ProgressWriter(mmap.mmap(file.fileno(), _LAYOUT.size))
    source = FileSource(sound, _BLOCK_MS, real=False)
    spool.create()
    Recorder(settings, spool, lambda: source, KernelClock(), recall, threading.Event()).run()


def read_progress(path: Path) -> RunProgress:
    """How far a run got."""
    data = path.read_bytes()
    if len(data) < _LAYOUT.size:
        return RunProgress("", 0)  # killed before it began
    stream_id, frames = _LAYOUT.unpack(data)
    return RunProgress(stream_id.rstrip(b"\0").decode(), frames)
