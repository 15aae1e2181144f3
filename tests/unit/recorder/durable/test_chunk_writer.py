from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge.core.errors import SpoolError
from edge.core.values import AudioFormat
from edge.recorder.capture.blocks import Samples
from edge.recorder.durable.chunk_writer import ChunkWriter, digest, read_valid_prefix

RATE = 48_000
FLAC_BLOCK = 4_096


def noise(frames: int, channels: int, bits: int) -> Samples:
    dice = np.random.default_rng(frames)
    if bits == 16:
        return dice.integers(-(2**15), 2**15, (frames, channels), dtype=np.int16)
    wide: Samples = dice.integers(-(2**23), 2**23, (frames, channels), dtype=np.int32) << 8
    return wide


def written(path: Path, samples: Samples, bits: int, audio_format: AudioFormat, block: int = 2_048) -> ChunkWriter:
    writer = ChunkWriter(path, RATE, samples.shape[1], bits, audio_format)
    for start in range(0, len(samples), block):
        writer.write(samples[start : start + block])
    return writer


def prefix(path: Path, channels: int, bits: int) -> Samples:
    found: Samples = np.concatenate([noise(0, channels, bits), *read_valid_prefix(path, channels, bits)])
    return found


@pytest.mark.parametrize("audio_format", ["flac", "wav"])
@pytest.mark.parametrize("bits", [16, 24])
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_a_written_chunk_is_read_back_unchanged(
    tmp_path: Path, audio_format: AudioFormat, bits: int, channels: int
) -> None:
    path, samples = tmp_path / "x.part", noise(10_000, channels, bits)
    written(path, samples, bits, audio_format).close()
    read, rate = soundfile.read(path, dtype="int16" if bits == 16 else "int32", always_2d=True)
    assert rate == RATE
    assert np.array_equal(read, samples)
    assert np.array_equal(prefix(path, channels, bits), samples)


@pytest.mark.parametrize("audio_format", ["flac", "wav"])
@pytest.mark.parametrize("bits", [16, 24])
def test_an_unfinished_file_yields_all_but_the_block_being_encoded(
    tmp_path: Path, audio_format: AudioFormat, bits: int
) -> None:
    samples = noise(RATE, 2, bits)
    writer = written(tmp_path / "x.part", samples, bits, audio_format)
    shutil.copy(tmp_path / "x.part", tmp_path / "killed.part")
    writer.close()
    found = prefix(tmp_path / "killed.part", 2, bits)
    assert np.array_equal(found, samples[: len(found)])
    assert len(found) > RATE - FLAC_BLOCK


@pytest.mark.parametrize("audio_format", ["flac", "wav"])
def test_any_prefix_of_a_file_yields_correct_samples_and_longer_ones_no_fewer(
    tmp_path: Path, audio_format: AudioFormat
) -> None:
    samples = noise(3 * FLAC_BLOCK + 500, 1, 16)
    writer = written(tmp_path / "x.part", samples, 16, audio_format)
    data = (tmp_path / "x.part").read_bytes()
    writer.close()
    cut, most = tmp_path / "cut.part", 0
    for length in [*range(60), *range(60, len(data), 61), len(data)]:
        cut.write_bytes(data[:length])
        found = prefix(cut, 1, 16)
        assert np.array_equal(found, samples[: len(found)]), length
        assert len(found) >= most, length
        most = len(found)
    assert most >= 3 * FLAC_BLOCK


def test_zeros_left_by_a_power_cut_end_the_readable_prefix(tmp_path: Path) -> None:
    samples = noise(5 * FLAC_BLOCK, 1, 16)
    path = tmp_path / "x.part"
    written(path, samples, 16, "flac").close()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) // 2))
    found = prefix(path, 1, 16)
    assert np.array_equal(found, samples[: len(found)])
    assert FLAC_BLOCK <= len(found) < 3 * FLAC_BLOCK


@pytest.mark.parametrize("data", [b"", b"fLaC", b"RIFF", b"hello" * 1_000])
def test_garbage_yields_no_samples(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.part").write_bytes(data)
    assert len(prefix(tmp_path / "x.part", 1, 16)) == 0


def test_the_digest_contains_size_and_crc32_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"123456789")
    assert digest(tmp_path / "x").bytes == 9
    assert digest(tmp_path / "x").crc32 == 0xCBF43926  # the check value of CRC-32


def test_a_full_disk_raises_a_spool_or_os_error(tmp_path: Path) -> None:
    (tmp_path / "full.part").symlink_to("/dev/full")
    with pytest.raises((SpoolError, OSError)):
        ChunkWriter(tmp_path / "full.part", RATE, 1, 16, "flac")
