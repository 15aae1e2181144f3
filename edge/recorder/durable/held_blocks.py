"""What is held back until a stall has been judged, kept on tmpfs: there it survives the death of the recorder.

Blocks are held while the sound card may have lost something before them; only then is it known to which stream they
belong. On the card they would be written twice: once to be safe, once into their chunk. In memory alone a SIGKILL would
lose them. So each block also goes into this file as it comes, and the file is emptied once they are in chunks: on a
busy machine that happens every second, and a new file each time would cost a tenth of a millisecond.

The file is a row of records: a letter, the length, the content. `F`, the first, is what it holds, `S` where one of its
frames lies in a stream, `B` a block. The file ends before a record that is damaged, or not whole: it was being written.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import numpy as np
from msgspec import Meta, Struct

from edge.core import wire
from edge.core.errors import ImHearingError, SpoolError, WireError
from edge.core.ids import StreamId
from edge.core.values import Channels, Count, SampleRate
from edge.recorder.capture.blocks import Block, Samples, SourceFormat
from edge.recorder.durable.sealing import make_own

log = logging.getLogger(__name__)

_NAME = "held"
_HEADER = struct.Struct("<cI")
_BLOCK = struct.Struct("<q??I")  # captured_at, lost_before, suspect, dropped


class HeldForm(Struct, frozen=True):
    """What lies in the file: of which node and boot, and as which source delivered it."""

    node: str
    boot_id: str
    device: str
    rate: SampleRate
    channels: Channels
    bits: Annotated[int, Meta(ge=16, le=24)]
    recipients: tuple[str, ...] = ()  # to whom it was to be encrypted

    @property
    def source(self) -> SourceFormat:
        return SourceFormat(self.device, self.rate, self.channels, self.bits)


class StreamAt(Struct, frozen=True):
    """Frame `held_frame` of the file is frame `stream_frame` of a stream."""

    held_frame: Count
    stream_id: StreamId
    stream_frame: Count


class HeldBlocks:
    """The file being written. Where it cannot be written, recording continues, and a crash costs what it would hold."""

    def __init__(self, choose_folder: Callable[[], Path]) -> None:
        """`choose_folder` is called when the first block is held; the folder is then made for each file."""
        self._choose_folder = functools.cache(choose_folder)
        self._file: BinaryIO | None = None
        self._path: Path | None = None
        self._warned = False
        self.bytes = 0
        self.is_holding = False

    def begin(self, form: HeldForm, stream: StreamAt | None, blocks: Iterable[Block]) -> None:
        """Holds these blocks, of which the first lie in `stream` already, and no others."""
        self.clear()
        try:
            if self._file is None:
                self._path = make_own(self._choose_folder()) / _NAME
                self._path.unlink(missing_ok=True)
                descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                self._file = os.fdopen(descriptor, "wb", buffering=0)
        except (OSError, ImHearingError) as problem:
            self._give_up(problem)
            return
        self.is_holding = True
        self._write(b"F", wire.encode(form))
        if stream is not None:
            self.note_stream(stream)
        for block in blocks:
            self.add(block)

    def resume(self, held: HeldSound) -> None:
        """Continues the file that a crash left, until what it holds is in chunks."""
        self._path = held.path
        try:
            os.truncate(held.path, held.whole_bytes)
            self._file = held.path.open("ab", buffering=0)
            self.is_holding = True
        except OSError as problem:
            self._give_up(problem)

    def add(self, block: Block) -> None:
        """Does nothing while nothing is held back."""
        if self.is_holding:
            head = _BLOCK.pack(block.captured_at, block.lost_before, block.suspect, block.dropped)
            self._write(b"B", head + block.samples.tobytes())

    def note_stream(self, stream: StreamAt) -> None:
        self._write(b"S", wire.encode(stream))

    def clear(self) -> None:
        """All that was held is in chunks: empties the file."""
        self.is_holding, self.bytes = False, 0
        if self._file is not None:
            try:
                self._file.seek(0)
                self._file.truncate()
            except OSError:
                self.discard()

    def discard(self) -> None:
        """All that was held is in chunks, or must be forgotten: removes the file."""
        self._close()
        self.is_holding, self.bytes = False, 0
        if self._path is not None:
            discard(self._path)
            self._path = None

    def close(self) -> None:
        """Leaves what is held for the next session to find, and lets go of the file."""
        if not self.is_holding:
            self.discard()
        self._close()
        self._path, self.is_holding = None, False

    def _close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def _write(self, kind: bytes, content: bytes) -> None:
        if self._file is None or not self.is_holding:
            return
        record = memoryview(_HEADER.pack(kind, len(content)) + content)
        try:
            self.bytes += len(record)
            while record:
                record = record[self._file.write(record) :]
        except OSError as problem:
            self._give_up(problem)

    def _give_up(self, problem: Exception) -> None:
        if not self._warned:
            log.warning("blocks held back are in memory alone, and a crash would lose them: %s", problem)
            self._warned = True
        self.discard()


class HeldSound:
    """What a crash left of such a file. SpoolError where it cannot be read or is not one of ours."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.streams: list[StreamAt] = []
        with _raises_spool_error(path), path.open("rb") as file:
            kind, content = _next_record(file)
            if kind != b"F":
                raise SpoolError(f"{path}: is damaged; remove it")
            self.form = wire.decode(content, HeldForm)
            self._first_at = self.whole_bytes = file.tell()
        for record, end in self._records():
            self.whole_bytes = end
            if isinstance(record, StreamAt):
                self.streams.append(record)

    def blocks(self) -> Iterator[Block]:
        return (record for record, _ in self._records() if isinstance(record, Block))

    def _records(self) -> Iterator[tuple[Block | StreamAt, int]]:
        """With where each ends, up to the first one that is not whole, or damaged."""
        with _raises_spool_error(self.path), self.path.open("rb") as file:
            file.seek(self._first_at)
            while record := self._read(*_next_record(file)):
                yield record, file.tell()

    def _read(self, kind: bytes, content: bytes) -> Block | StreamAt | None:
        if kind == b"S":
            with contextlib.suppress(WireError):
                return wire.decode(content, StreamAt)
        sample = np.dtype(np.int16 if self.form.bits == 16 else np.int32)
        size = len(content) - _BLOCK.size
        if kind != b"B" or size < 0 or size % (sample.itemsize * self.form.channels):
            return None
        captured_at, lost_before, suspect, dropped = _BLOCK.unpack_from(content)
        flat: Samples = np.frombuffer(content, sample, offset=_BLOCK.size)
        return Block(flat.reshape(-1, self.form.channels), captured_at, lost_before, suspect, dropped)


def _next_record(file: BinaryIO) -> tuple[bytes, bytes]:
    """Its kind and content; no kind where there is none, or not all of it."""
    head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        return b"", b""
    kind, length = _HEADER.unpack(head)
    content = file.read(length)
    return (kind, content) if len(content) == length else (b"", b"")


@contextlib.contextmanager
def _raises_spool_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise SpoolError(f"{path}: cannot be read ({problem.strerror})") from None


def found_in(folder: Path) -> HeldSound | None:
    """What a crash left in `folder`; None and a warning where it is of no use."""
    path = folder / _NAME
    try:
        if path.exists() and path.stat().st_size:
            return HeldSound(path)
    except ImHearingError as problem:
        log.warning("%s", problem)
    discard(path)
    return None


def discard(path: Path) -> None:
    """Removes the file, and the folder where that was its own."""
    with contextlib.suppress(OSError):
        path.unlink()
        path.parent.rmdir()
