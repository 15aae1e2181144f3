"""GUANO metadata in a WAV file, as bioacoustics programs read it.

After the GUANO specification 1.0 (github.com/riggsd/guano-spec): UTF-8 lines `Key: value` in a RIFF chunk `guan`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path

from edge.core.errors import FetchError

_RIFF_HEADER = struct.Struct("<4sI4s")
_CHUNK_HEADER = struct.Struct("<4sI")
_LARGEST_RIFF = 2**32 - 1


def encode(fields: Mapping[str, str]) -> bytes:
    """The metadata as the chunk's bytes, an even number of them; `GUANO|Version` goes before `fields`.

    A newline in a value becomes `\\n`, as the specification has it; other control characters become spaces.
    """
    lines = [f"{_plain(key).replace(':', ' ')}: {_plain(value)}\n" for key, value in fields.items() if value]
    data = ("GUANO|Version: 1.0\n" + "".join(lines)).encode()
    return data + b" " * (len(data) % 2)


def append(path: Path, fields: Mapping[str, str]) -> None:
    """Adds the metadata to the WAV file `path`, after all that is there. FetchError, OSError."""
    data = encode(fields)
    with path.open("r+b") as file:
        kind, _, form = _RIFF_HEADER.unpack(file.read(_RIFF_HEADER.size).ljust(_RIFF_HEADER.size, b"\0"))
        if (kind, form) != (b"RIFF", b"WAVE"):
            raise FetchError(f"{path.name}: is too large for a WAV file with metadata; use a shorter record_period")
        length = file.seek(0, os.SEEK_END)
        if length % 2:
            file.write(b"\0")
            length += 1
        whole = length + _CHUNK_HEADER.size + len(data)
        if whole - 8 > _LARGEST_RIFF:
            raise FetchError(f"{path.name}: is too large for a WAV file with metadata; use a shorter record_period")
        file.write(_CHUNK_HEADER.pack(b"guan", len(data)) + data)
        file.seek(4)
        file.write(struct.pack("<I", whole - 8))


def _plain(text: str) -> str:
    text = text.strip().replace("\r\n", "\n").replace("\n", "\\n")
    return "".join(char if char.isprintable() else " " for char in text)
