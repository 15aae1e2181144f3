"""A sound file read while the recorder's writer fills it: bit for bit what was written, wherever reading begins."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.values import AudioFormat
from edge.recorder.capture.blocks import Samples
from edge.recorder.durable.chunk_writer import ChunkWriter
from query_service.sound.audio import pcm_of
from query_service.sound.flac_frames import BLOCK
from query_service.sound.live_file import GrowingFile

RATE = 8_000
Pieces = list[int]

pieces = st.lists(st.integers(1, 3 * BLOCK), min_size=1, max_size=12)
forms = st.tuples(st.sampled_from([16, 24]), st.integers(1, 3))


class Writing:
    """A part that is written piece by piece: the first `before` of them at once, the others as somebody waits."""

    def __init__(self, folder: Path, form: tuple[int, int], kind: AudioFormat, sizes: Pieces, before: int) -> None:
        bits, self._channels = form
        dice = np.random.default_rng(len(sizes))
        top = 2 ** (bits - 1)
        walk = np.cumsum(dice.integers(-99, 100, (sum(sizes), self._channels)), axis=0) % (2 * top) - top
        dtype, shift = (np.int16, 0) if bits == 16 else (np.int32, 8)
        self.samples: Samples = (walk << shift).astype(dtype)
        self.path = folder / "chunk.part"
        self._writer = ChunkWriter(self.path, RATE, self._channels, bits, kind)
        self._ends = list(np.cumsum(sizes))
        self.written = 0  # frames
        self._bits = bits
        for _ in range(min(before, len(sizes))):
            self._write()

    def _write(self) -> None:
        end = self._ends.pop(0)
        self._writer.write(self.samples[self.written : end])
        self.written = end
        if not self._ends:
            self._writer.close()

    def goes_on(self) -> bool:
        """One more piece, and the end after the last; False once that has been."""
        if not self._ends:
            return False
        self._write()
        return True

    @property
    def pcm(self) -> bytes:
        """All samples, as they come out of a reader."""
        if self._bits == 16:
            return self.samples.astype("<i2").tobytes()
        return self.samples.astype("<i4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()

    def frame_bytes(self) -> int:
        return self._bits // 8 * self._channels


@settings(max_examples=60, deadline=None)
@given(forms, pieces, st.integers(0, 12))
def test_a_growing_flac_file_is_decoded_bit_for_bit(form: tuple[int, int], sizes: Pieces, before: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        part = Writing(Path(folder), form, "flac", sizes, before)
        with GrowingFile(part.path, part.goes_on) as file:
            assert file.skip_to_frame(sum(sizes))
            assert b"".join(pcm_of(file)) == part.pcm


@settings(max_examples=60, deadline=None)
@given(forms, pieces, st.integers(0, 12), st.integers(0, 5 * BLOCK))
def test_reading_begins_near_the_end_and_misses_nothing_from_there_on(
    form: tuple[int, int], sizes: Pieces, before: int, frames: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        part = Writing(Path(folder), form, "flac", sizes, before)
        with GrowingFile(part.path, part.goes_on) as file:
            assert file.skip_to_frame(frames)
            there = part.written // BLOCK * BLOCK
            heard = b"".join(pcm_of(file))
        assert part.pcm.endswith(heard)
        skipped = (len(part.pcm) - len(heard)) // part.frame_bytes()
        assert skipped % BLOCK == 0
        assert there - frames - 3 * BLOCK <= skipped <= max(0, there - frames)


@settings(max_examples=60, deadline=None)
@given(forms, pieces, st.integers(0, 12), st.integers(0, 5 * BLOCK))
def test_a_growing_wav_file_is_read_from_near_its_end(
    form: tuple[int, int], sizes: Pieces, before: int, frames: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        part = Writing(Path(folder), form, "wav", sizes, before)
        frame_bytes = part.frame_bytes()
        with GrowingFile(part.path, part.goes_on) as file:
            assert file.skip_to_sample(frame_bytes, frames)
            there = part.written
            data = bytearray()
            while piece := file.read(999):
                data += piece
        heard = bytes(data[: len(data) // frame_bytes * frame_bytes])
        assert part.pcm.endswith(heard)
        assert (len(part.pcm) - len(heard)) // frame_bytes == max(0, there - frames)


@settings(max_examples=40, deadline=None)
@given(forms, pieces, st.floats(0, 1))
def test_of_a_file_that_a_crash_cut_off_every_whole_block_is_heard(
    form: tuple[int, int], sizes: Pieces, share: float
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        part = Writing(Path(folder), form, "flac", sizes, len(sizes))
        whole = part.path.stat().st_size
        os.truncate(part.path, 200 + round(share * (whole - 200)) if whole > 200 else whole)
        with GrowingFile(part.path, lambda: False) as file:
            heard = b"".join(pcm_of(file)) if file.skip_to_frame(sum(sizes)) else b""
        assert part.pcm.startswith(heard)
        assert heard == part.pcm or len(heard) % (BLOCK * part.frame_bytes()) == 0


def test_a_hearer_waits_for_no_more_than_one_block(tmp_path: Path) -> None:
    part = Writing(tmp_path, (16, 1), "flac", [2 * BLOCK] * 5, 1)
    waited = []

    def goes_on() -> bool:
        waited.append(len(heard))
        return part.goes_on()

    heard = bytearray()
    with GrowingFile(part.path, goes_on) as file:
        file.skip_to_frame(0)
        for block in pcm_of(file):
            heard += block
    # the encoder keeps the last block until it sees a sample of the next
    assert waited[:3] == [size * BLOCK * part.frame_bytes() for size in (1, 3, 5)]


@pytest.mark.parametrize("head", [b"", b"fLaC", b"fLaC\x00\x00\x00\x22", b"RIFF", b"RIFF\0\0\0\0WAVEfmt "])
def test_a_file_that_ends_within_its_header_holds_no_sound(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "chunk.part"
    path.write_bytes(head)
    with GrowingFile(path, lambda: False) as file:
        assert not file.skip_to_frame(BLOCK)
        assert not file.skip_to_sample(2, BLOCK)
