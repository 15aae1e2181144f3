"""What is held back until a stall has been judged, kept on tmpfs: there it survives the death of the recorder.

Blocks are held while the sound card may have lost something before them; only then is it known to which stream they
belong. On the card they would be written twice: once to be safe, once into their chunk. In memory alone a SIGKILL would
lose them. So each block also goes into this file as it comes, and the file is removed once they are in chunks.

The file is a row of records: a letter, the length, the content. `F` is what it holds, `S` where one of its frames lies
in a stream, `B` a block. A record that is not whole is the last one, and was being written.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from msgspec import Struct

from edge.core import wire
from edge.core.errors import ImHearingError, SpoolError
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
    rate: int
    channels: int
    bits: int
    recipients: tuple[str, ...] = ()  # to whom it was to be encrypted

    @property
    def source(self) -> SourceFormat:
        return SourceFormat(self.device, self.rate, self.channels, self.bits)


class StreamAt(Struct, frozen=True):
    """Frame `held_frame` of the file is frame `stream_frame` of a stream."""

    held_frame: int
    stream_id: str
    stream_frame: int


class HeldBlocks:
    """The file being written. Where it cannot be written, recording continues, and a crash costs what it would hold."""

    def __init__(self, choose_folder: Callable[[], Path]) -> None:
        """`choose_folder` is called when the first block is held; the folder is then made for each file."""
        self._choose_folder = functools.cache(choose_folder)
        self._file: BinaryIO | None = None
        self._path: Path | None = None
        self._warned = False
        self.bytes = 0

    @property
    def is_open(self) -> bool:
        return self._file is not None

    def begin(self, form: HeldForm, stream: StreamAt | None, blocks: Iterable[Block]) -> None:
        """A file with these blocks, of which the first lie in `stream` already."""
        self.discard()
        self.bytes = 0
        try:
            self._path = make_own(self._choose_folder()) / _NAME
            self._path.unlink(missing_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._file = os.fdopen(descriptor, "wb", buffering=0)
        except (OSError, ImHearingError) as problem:
            self._give_up(problem)
        self._write(b"F", wire.encode(form))
        if stream is not None:
            self.note_stream(stream)
        for block in blocks:
            self.add(block)

    def resume(self, path: Path) -> None:
        """Continues the file that a crash left, until what it holds is in chunks."""
        self._path = path
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as problem:
            self._give_up(problem)

    def add(self, block: Block) -> None:
        """Does nothing where there is no file, because nothing is held back."""
        if self._file is None:
            return
        head = _BLOCK.pack(block.captured_at, block.lost_before, block.suspect, block.dropped)
        self._write(b"B", head + block.samples.tobytes())

    def note_stream(self, stream: StreamAt) -> None:
        self._write(b"S", wire.encode(stream))

    def discard(self) -> None:
        """All that it holds is in chunks, or must be forgotten."""
        self.close()
        if self._path is not None:
            discard(self._path)
            self._path = None

    def close(self) -> None:
        """Leaves the file for the next session to find."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def _write(self, kind: bytes, content: bytes) -> None:
        if self._file is None:
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
        form: HeldForm | None = None
        for kind, content in self._records():
            if kind == b"F":
                form = wire.decode(content, HeldForm)
            elif kind == b"S":
                self.streams.append(wire.decode(content, StreamAt))
        if form is None:
            raise SpoolError(f"{path}: is damaged; remove it")
        self.form = form

    def blocks(self) -> Iterator[Block]:
        for kind, content in self._records():
            if kind == b"B":
                captured_at, lost_before, suspect, dropped = _BLOCK.unpack_from(content)
                flat: Samples = (
                    np.frombuffer(content, np.int16, offset=_BLOCK.size)
                    if self.form.bits == 16
                    else np.frombuffer(content, np.int32, offset=_BLOCK.size)
                )
                yield Block(flat.reshape(-1, self.form.channels), captured_at, lost_before, suspect, dropped)

    def _records(self) -> Iterator[tuple[bytes, bytes]]:
        try:
            with self.path.open("rb") as file:
                while len(head := file.read(_HEADER.size)) == _HEADER.size:
                    kind, length = _HEADER.unpack(head)
                    content = file.read(length)
                    if len(content) < length:
                        return
                    yield kind, content
        except OSError as problem:
            raise SpoolError(f"{self.path}: cannot be read ({problem.strerror})") from None


def found_in(folder: Path) -> HeldSound | None:
    """What a crash left in `folder`; None and a warning where it is of no use."""
    path = folder / _NAME
    if not path.exists():
        return None
    try:
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
