"""Blocks of samples, and the queue between the sound card's thread and ours."""

from __future__ import annotations

import math
import queue
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16] | npt.NDArray[np.int32]  # shape (frames, channels); 24 bit lies left in 32


class Block(NamedTuple):
    """One delivery of the sound card."""

    samples: Samples
    captured_at: int  # µs of the boot's monotonic clock: when its first frame was captured, or later, never earlier
    lost_before: bool = False  # our queue dropped something between the block before and this one
    suspect: bool = False  # the driver says that it did; with a sound server behind it, that is often not so
    dropped: int = 0  # frames that our queue dropped; 0 where that is not known


def block_frames(milliseconds: int, rate: int) -> int:
    """Frames of one block of about so many milliseconds.

    A whole number of microseconds, where the rate allows it: else PulseAudio rounds its latency down, misses the
    block's last frame, and hands over two blocks each second time, half of them a block late.
    """
    wanted = milliseconds * rate / 1000
    step = rate // math.gcd(rate, 1_000_000)  # frames of the shortest time that is whole microseconds
    return round(wanted / step) * step or round(wanted)


class SourceFormat(NamedTuple):
    """What a source delivers."""

    device: str  # as people know it
    rate: int  # frames per second
    channels: int
    bits: int  # 16: int16; 24: int32, left-justified


class SoundSource(Protocol):
    """Where sound comes from. `open` and `read` raise DeviceError when it cannot deliver (any more)."""

    def open(self) -> SourceFormat: ...

    def read(self, timeout: float) -> Block | None:
        """The next block; None when none came within `timeout` seconds. EndOfSound after the last."""
        ...

    def close(self) -> None: ...


class EndOfSound(Exception):
    """The source is at its end: a file has been played."""


class BlockQueue:
    """Hands blocks from one producing thread to one consuming thread; bounded in bytes, and neither ever blocks.

    SimpleQueue.put takes no lock that Python code could hold, so the sound card's thread is never kept waiting.
    """

    def __init__(self, max_bytes: int) -> None:
        self._blocks: queue.SimpleQueue[Block] = queue.SimpleQueue()
        self._max_bytes = max_bytes
        self._put_bytes = 0  # written by the producer alone
        self._got_bytes = 0  # written by the consumer alone
        self._dropped = 0  # producer's: frames that were dropped since the last block that went in

    def put(self, block: Block) -> None:
        """Appends `block`, or drops it when the queue is full and marks the next one `lost_before`."""
        if self._put_bytes - self._got_bytes + block.samples.nbytes > self._max_bytes:
            self._dropped += len(block.samples)
            return
        if self._dropped:
            block = block._replace(lost_before=True, dropped=self._dropped)
            self._dropped = 0
        self._put_bytes += block.samples.nbytes
        self._blocks.put(block)

    def get(self, timeout: float) -> Block | None:
        try:
            block = self._blocks.get(timeout=timeout)
        except queue.Empty:
            return None
        self._got_bytes += block.samples.nbytes
        return block
