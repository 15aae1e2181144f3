"""The arithmetic of WAV files, against libsndfile and the bytes themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from query_service.sound.wav import ByteRange, WavFile

files = st.builds(
    WavFile,
    rate=st.sampled_from([8_000, 48_000, 384_000]),
    channels=st.integers(1, 8),
    bits=st.sampled_from([16, 24]),
    frames=st.integers(0, 50),
)


@pytest.mark.parametrize("frames", [0, 1, 48_001, 1_431_655_700, 1_431_655_800, 9_000_000_000])
@pytest.mark.parametrize(("channels", "bits"), [(1, 24), (2, 16)])
def test_libsndfile_reads_a_header_of_any_length(tmp_path: Path, frames: int, channels: int, bits: int) -> None:
    wav = WavFile(48_000, channels, bits, frames)
    path = tmp_path / "sparse.wav"
    path.write_bytes(wav.header)
    with path.open("r+b") as file:
        file.truncate(wav.size)
    found = soundfile.info(path)
    assert (found.frames, found.samplerate, found.channels) == (frames, 48_000, channels)
    assert found.subtype == f"PCM_{bits}"


@given(files, st.data())
def test_the_frames_of_a_byte_range_hold_exactly_its_samples(wav: WavFile, data: st.DataObject) -> None:
    samples = bytes(number % 251 for number in range(wav.frames * wav.frame_bytes))
    padding = bytes(wav.size - len(wav.header) - len(samples))
    whole = wav.header + samples + padding
    assert len(whole) % 2 == 0
    first = data.draw(st.integers(0, wav.size))
    end = data.draw(st.integers(first, wav.size))
    first_frame, end_frame, skip = wav.frames_of(ByteRange(first, end))
    assert 0 <= first_frame <= end_frame <= wav.frames
    head = wav.header[first:end]
    found = (samples[first_frame * wav.frame_bytes : end_frame * wav.frame_bytes] + padding)[skip:]
    assert (head + found)[: end - first] == whole[first:end]
