"""Where the samples of a WAV file lie. A writer that was killed, or wrote to a pipe, leaves a header that states fewer.

RIFF as in Microsoft's "Multimedia Programming Interface" (1991), RF64 as in EBU Tech 3306.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

_MAGIC = {b"RIFF": "<", b"RIFX": ">", b"RF64": "<", b"BW64": "<"}
_IN_DS64 = 0xFFFFFFFF  # a size that the chunk `ds64` states instead
_KNOWN_CHUNKS = (
    *(b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML", b"cue "),
    *(b"JUNK", b"PAD ", b"fact", b"smpl", b"guan", b"wamd"),
)
_TAGS = (b"TAG", b"ID3", b"APETAGEX")  # appended to a file outside of RIFF


class WavData(NamedTuple):
    """The samples of a WAV file, in bytes."""

    offset: int  # of the first one
    stated: int  # what the header says, up to the end of the file
    held: int  # what lies there up to the next chunk, or to the end of the file
    block_align: int  # bytes per frame; per block, where samples are compressed
    is_big_endian: bool


def find_data(file: BinaryIO) -> WavData | None:
    """None for anything but a WAV file with a format and samples. Raises OSError."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if len(head) < 12 or head[8:] != b"WAVE" or (order := _MAGIC.get(head[:4])) is None:
        return None
    block_align = size_in_ds64 = 0
    for name, offset, stated in _chunks(file, 12, size, order):
        file.seek(offset)
        if name == b"fmt " and len(form := file.read(16)) == 16:
            block_align = struct.unpack_from(f"{order}H", form, 12)[0]
        elif name == b"ds64" and len(sizes := file.read(16)) == 16:
            size_in_ds64 = struct.unpack_from(f"{order}Q", sizes, 8)[0]
        elif name == b"data" and block_align:
            length = min(size_in_ds64 if size_in_ds64 and stated == _IN_DS64 else stated, size - offset)
            held = length if _continues_with_chunks(file, offset + length, size, order) else size - offset
            return WavData(offset, length, held, block_align, order == ">")
    return None


def _chunks(file: BinaryIO, offset: int, size: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Name, offset of the content, and stated size of each chunk from `offset` on."""
    while offset + 8 <= size:
        file.seek(offset)
        name, length = struct.unpack(f"{order}4sI", file.read(8))
        yield name, offset + 8, length
        offset += 8 + length + length % 2


def _continues_with_chunks(file: BinaryIO, end: int, size: int, order: str) -> bool:
    """Whether what follows the samples is no sound: nothing, a tag, or chunks up to the end of the file."""
    if size - end <= 1:
        return True
    file.seek(end)
    if file.read(8).startswith(_TAGS):
        return True
    return any(_are_chunks(file, start, size, order) for start in {end, end + end % 2})


def _are_chunks(file: BinaryIO, start: int, size: int, order: str) -> bool:
    end = start
    for name, offset, length in _chunks(file, start, size, order):
        if name in _KNOWN_CHUNKS:  # one that was cut off, too
            return True
        if not all(32 <= character < 127 for character in name):
            return False
        end = offset + length
    return end > start and abs(end - size) <= 1
