"""Cuts chunks to the sample and joins them to one file or stream: the only file here that imports soundfile."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from io import RawIOBase
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import soundfile

from edge.core.errors import FetchError
from query_service.sound.flac_frames import BLOCK
from query_service.sound.layout import OPUS_RATES

_BLOCK = 65_536  # frames in memory at once
_RF64_FROM = 4_000_000_000  # bytes; a plain WAV holds no more than 4 GiB
_MOST_FRAMES = 2**36 - 1  # RFC 9639, 8.2: a FLAC file does not count further
_ENDINGS = {".wav": "WAV", ".flac": "FLAC", ".opus": "OGG"}
_MOST_OPUS_SILENCE = 86_400  # seconds in one stretch: about ten minutes of work
_SUBTYPES = ("PCM_16", "PCM_24")


class SoundFormat(NamedTuple):
    rate: int  # frames per second
    channels: int
    subtype: str  # PCM_16 or PCM_24

    def __str__(self) -> str:
        return f"{self.rate} Hz, {self.channels} channel(s), {self.subtype[4:]} bit"


def output_kind(path: Path) -> str:
    """WAV, FLAC, or OGG (Opus, the only lossy one), by the ending of `path`; FetchError for others."""
    kind = _ENDINGS.get(path.suffix.lower())
    if kind is None:
        raise FetchError(f"{path.name}: sound is written as .wav, .flac or .opus; choose one of these endings")
    return kind


class JoinedSound:
    """One sound file that grows chunk by chunk, bit-exact; its format is that of the first chunk."""

    def __init__(self, target: Path | BinaryIO, kind: str, longest_seconds: float = 0.0) -> None:
        """`kind`: from `output_kind`, or RAW, samples without a header. `longest_seconds` decides whether a WAV file
        needs the larger layout (RF64).
        """
        self._target = target
        self._kind = kind
        self._longest_seconds = longest_seconds
        self._file: Any = None
        self.format: SoundFormat | None = None
        self.frames = 0

    def append(self, source: Path, first: int, frames: int, name: str) -> None:
        """Adds `frames` frames of the file `source` from frame `first` on; `name` is for messages. FetchError.

        Even with 0 frames, the first one fixes the format.
        """
        try:
            with soundfile.SoundFile(source) as chunk:
                self.start(SoundFormat(chunk.samplerate, chunk.channels, chunk.subtype), name)
                chunk.seek(first)
                self._copy(chunk, frames, name)
        except soundfile.LibsndfileError as problem:
            raise FetchError(f"{name}: cannot be decoded or written on ({problem})") from None

    def start(self, found: SoundFormat, name: str) -> None:
        """Fixes the format, or checks that it is still the same. FetchError."""
        if self.format is None:
            if found.subtype not in _SUBTYPES:
                raise FetchError(f"{name}: holds {found.subtype} samples, not 16 or 24 bit ones")
            size = self._longest_seconds * found.rate * found.channels * int(found.subtype[4:]) / 8
            kind = "RF64" if self._kind == "WAV" and size > _RF64_FROM else self._kind
            subtype = found.subtype
            if kind == "OGG":
                _check_opus(found, name)
                subtype = "OPUS"
            self._file = soundfile.SoundFile(self._target, "w", found.rate, found.channels, subtype, format=kind)
            self.format = found
        elif found != self.format:
            raise FetchError(f"{name}: from here on sound is {found}, before it was {self.format}; fetch them apart")

    def _copy(self, chunk: Any, frames: int, name: str) -> None:
        left = frames
        while left > 0:
            block = chunk.read(min(left, _BLOCK), dtype="int32", always_2d=True)
            if not len(block):
                raise FetchError(f"{name}: ends {left} frames before its manifest says")
            self._file.write(block)
            left -= len(block)
        self.frames += frames

    def silence(self, frames: int) -> None:
        """Adds zeros; only once a chunk has given the format."""
        if self.format is None:
            raise FetchError("silence of unknown format")
        size = frames * self.format.channels * int(self.format.subtype[4:]) // 8
        instead = "choose a shorter range, or skip gaps (`--gaps skip`)"
        if isinstance(self._target, Path) and self._kind == "WAV" and size > _free_bytes(self._target):
            raise FetchError(f"no room on the disk for {frames / self.format.rate:.0f} s of silence; {instead}")
        if self._kind == "FLAC" and self.frames + frames > _MOST_FRAMES:
            hours = _MOST_FRAMES / self.format.rate / 3600
            raise FetchError(f"a FLAC file holds {hours:.0f} hours at {self.format.rate} Hz; {instead}")
        if self._kind == "OGG" and frames > _MOST_OPUS_SILENCE * self.format.rate:
            hours = frames / self.format.rate / 3600
            raise FetchError(f"{hours:.0f} hours of silence would take long to encode as Opus; {instead}")
        zeros = np.zeros((min(frames, _BLOCK), self.format.channels), dtype=np.int32)
        left = frames
        while left > 0:
            self._file.write(zeros[: min(left, _BLOCK)])
            left -= min(left, _BLOCK)
        self.frames += frames

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class _Unending(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A file of unknown length, which can only be read forward."""

    def seekable(self) -> bool:
        return False


def pcm_of(source: RawIOBase) -> Iterator[bytes]:
    """The samples of a FLAC file as PCM, little-endian, block by block, as soon as `source` has a block. FetchError.

    Ends with the last whole block where the file breaks off, as a crash leaves it.
    """
    try:
        with _Unending(source) as file:
            first = 4 - int(file.subtype[4:]) // 8  # of the bytes that hold something
            while len(block := _next_block(file)):
                yield block.astype("<i4").view(np.uint8).reshape(-1, 4)[:, first:].tobytes()
    except soundfile.LibsndfileError as problem:
        raise FetchError(f"the sound cannot be decoded ({problem})") from None


def _next_block(file: soundfile.SoundFile) -> np.ndarray:
    try:
        block: np.ndarray = file.read(BLOCK, dtype="int32", always_2d=True)
    except soundfile.LibsndfileError:
        return np.zeros((0, 1), dtype=np.int32)
    return block


def _free_bytes(path: Path) -> int:
    return shutil.disk_usage(path.parent).free


def _check_opus(found: SoundFormat, name: str) -> None:
    if found.rate not in OPUS_RATES:
        rates = ", ".join(map(str, OPUS_RATES))
        raise FetchError(f"{name}: was recorded at {found.rate} Hz; Opus knows {rates}: write .flac or .wav")
