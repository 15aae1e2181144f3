"""One life of a recorder that plays a file as fast as it goes; tells how far it came even when it is killed.

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


class Progress(NamedTuple):
    stream_id: str
    frames: int


class Recall(RecorderObserver):
    """Writes the progress into memory that outlives the process."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory

    def stream_opened(self, stream: Stream) -> None:
        self._stream_id = stream.stream_id.encode()
        _LAYOUT.pack_into(self._memory, 0, self._stream_id, 0)

    def block_measured(self, block: MeasuredBlock) -> None:
        _LAYOUT.pack_into(self._memory, 0, self._stream_id, block.levels.end_frame)


def live(spool: Spool, sound: Path, progress: Path, audio_format: AudioFormat = "flac") -> None:
    """Until the file has been played, in this process."""
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
        recall = Recall(mmap.mmap(file.fileno(), _LAYOUT.size))
    clock = KernelClock()
    source = FileSource(sound, settings.recorder, clock)
    spool.create()
    Recorder(settings, spool, lambda: source, clock, recall, threading.Event()).run()


def progress_of(path: Path) -> Progress:
    """How far a life came."""
    data = path.read_bytes()
    if len(data) < _LAYOUT.size:
        return Progress("", 0)  # killed before it began
    stream_id, frames = _LAYOUT.unpack(data)
    return Progress(stream_id.rstrip(b"\0").decode(), frames)
