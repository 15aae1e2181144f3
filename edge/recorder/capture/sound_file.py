"""Decodes a sound file of any encoding into the integer samples that the recorder works with."""

from __future__ import annotations

import errno
import io
import logging
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from edge.recorder.capture.blocks import Samples
from edge.recorder.capture.wav_header import WavData, find_data

log = logging.getLogger(__name__)

_BITS_16 = ("PCM_16", "PCM_S8", "PCM_U8", "ULAW", "ALAW")
# Read as integers, libsndfile would give FLOAT and DOUBLE unscaled, and wrap loud VORBIS and OPUS around.
_FLOATING = ("FLOAT", "DOUBLE", "VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III")
_FINER_THAN_24_BITS = ("FLOAT", "DOUBLE", "PCM_32", "ALAC_32")
_BYTES = {"PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8, "ULAW": 1, "ALAW": 1}
_FULL_SCALE = 2**23
_SKIP_FRAMES = 65_536


class Undecodable(Exception):
    """libsndfile cannot open or decode the file; the message is its reason."""


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]  # soundfile is untyped
    """soundfile seeks to where it is after each read, which breaks its MP3 and DWVW decoders."""

    def seekable(self) -> bool:
        return False


class SoundFile:
    """A sound file opened at frame `start`. Raises Undecodable, and OSError."""

    def __init__(self, path: Path, start: int = 0) -> None:
        self._path = path
        _check_file(path)
        self._file = _opened(path)
        if (data := _data_of_wav(path)) is not None:
            self._file = _with_all_samples(path, self._file, data, report=start == 0)
        subtype = self._file.subtype
        self.rate, self.channels, self.frames = self._file.samplerate, self._file.channels, self._file.frames
        self.bits = 16 if subtype in _BITS_16 else 24
        self._floating = subtype in _FLOATING
        self._at, self._clipped, self._nan = 0, 0, 0
        try:
            if start:
                self._skip_to(start)
            else:
                _try_decoding(path)
                if subtype in _FINER_THAN_24_BITS:
                    log.info("%s: %s samples are recorded as 24-bit integers", path, subtype)
        except BaseException:
            self._file.close()
            raise

    def read(self, frames: int) -> Samples:
        """At most `frames` more, shape (frames, channels): int16, or 24 bits left-justified in int32; none at the
        end. What lies above full scale is clipped."""
        kind = "float64" if self._floating else "int16" if self.bits == 16 else "int32"
        try:
            read: npt.NDArray[Any] = self._file.read(frames, dtype=kind, always_2d=True)
        except soundfile.LibsndfileError as problem:
            raise Undecodable(_reason(problem)) from None
        samples = self._quantised(read) if self._floating else read if self.bits == 16 else read & -256
        self._at += len(samples)
        return samples

    def close(self) -> None:
        self._file.close()
        if self._clipped or self._nan:
            log.warning("%s: %d samples clipped at full scale, %d NaN set to 0", self._path, self._clipped, self._nan)
            self._clipped = self._nan = 0

    def _quantised(self, samples: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
        nan, clipped = np.isnan(samples), np.abs(samples) > 1
        if not (self._clipped or self._nan) and (bad := (nan | clipped).any(axis=1)).any():
            seconds = (self._at + int(bad.argmax())) / self.rate
            log.warning("%s: from %.3f s on, samples are above full scale or NaN: clipped", self._path, seconds)
        self._nan += int(nan.sum())
        self._clipped += int(clipped.sum())
        scaled = np.rint(np.where(nan, 0.0, samples) * _FULL_SCALE).clip(-_FULL_SCALE, _FULL_SCALE - 1)
        quantised: npt.NDArray[np.int32] = scaled.astype(np.int32) << 8
        return quantised

    def _skip_to(self, frame: int) -> None:
        try:
            if self._file.subtype.startswith("PCM_"):
                self._at = self._file.seek(frame)
            else:  # cannot seek, or would decode something else there
                while self._at < frame and (read := len(self._file.read(min(frame - self._at, _SKIP_FRAMES), "int16"))):
                    self._at += read
        except soundfile.LibsndfileError as problem:
            raise Undecodable(_reason(problem)) from None


def _check_file(path: Path) -> None:
    """Refuses what could block forever when opened, such as a named pipe. Raises OSError."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.ENXIO, "Not a regular file")


def _opened(path: Path) -> _Sequential:
    try:
        return _Sequential(path)
    except soundfile.LibsndfileError as problem:
        raise Undecodable(_reason(problem)) from None
    except TypeError:  # it takes the ending .raw for that
        raise Undecodable("raw samples: it has no header") from None


class _WavSamples(io.RawIOBase):
    """The samples of a WAV file, without its header. Raises OSError."""

    def __init__(self, path: Path, data: WavData) -> None:
        self._file = path.open("rb")
        self._offset, self._size, self._at = data.offset, data.held, 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._offset + self._at)
        data = self._file.read(min(len(buffer), max(0, self._size - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


class _WithoutHeader(_Sequential):
    """Closes the samples with the file, which soundfile leaves open."""

    def __init__(self, samples: _WavSamples, **form: Any) -> None:
        self._samples = samples
        super().__init__(samples, **form)

    def close(self) -> None:
        super().close()
        self._samples.close()


def _data_of_wav(path: Path) -> WavData | None:
    with path.open("rb") as file:
        return find_data(file)


def _with_all_samples(path: Path, file: _Sequential, data: WavData, *, report: bool) -> _Sequential:
    """`file`, or the same samples opened without the header, where that states fewer than the file holds."""
    stated, held = data.stated // data.block_align, data.held // data.block_align
    if held <= stated:
        return file
    is_frame = data.block_align == _BYTES.get(file.subtype, 0) * file.channels
    if is_frame and file.frames < held:
        file.close()
        file = _WithoutHeader(
            _WavSamples(path, data), samplerate=file.samplerate, channels=file.channels, format="RAW",
            subtype=file.subtype, endian="BIG" if data.is_big_endian else "LITTLE",
        )  # fmt: skip
    if report and is_frame:
        log.warning("%s: its header states %d frames, it holds %d; all of them are recorded", path, stated, held)
    elif report:
        log.warning(
            "%s: its header states %d blocks of %s, it holds %d; only those stated are recorded: repair the header,"
            " for example with `sox --ignore-length`", path, stated, file.subtype, held,
        )  # fmt: skip
    return file


def _try_decoding(path: Path) -> None:
    """Decodes one frame by a second file: not every encoding can be rewound."""
    with _opened(path) as file:
        try:
            file.read(1, "int16")
        except soundfile.LibsndfileError as problem:
            raise Undecodable(f"{file.subtype} cannot be decoded: {_reason(problem)}") from None


def _reason(problem: soundfile.LibsndfileError) -> str:
    return str(problem.error_string).rstrip(".")
