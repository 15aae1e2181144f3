"""The synthetic scene: the same samples for any block sizes, and a realistic range of levels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.recorder.capture.scene import Scene
from edge.recorder.signal.levels import FULL_SCALE_16, FULL_SCALE_24, LevelMeter

SCENES = [Scene(8_000, 1, 16), Scene(11_025, 3, 24), Scene(48_000, 2, 16)]


@settings(max_examples=40, deadline=None)
@given(
    scene=st.sampled_from(SCENES),
    first=st.integers(0, 10**11) | st.integers(0, 2_000_000),
    lengths=st.lists(st.integers(1, 5000), min_size=1, max_size=8),
)
def test_the_scene_does_not_depend_on_how_it_is_split_into_blocks(scene: Scene, first: int, lengths: list[int]) -> None:
    whole = scene.render(first, sum(lengths))
    starts = itertools.accumulate(lengths, initial=first)
    parts = [scene.render(start, length) for start, length in zip(starts, lengths, strict=False)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize(("bits", "dtype"), [(16, "int16"), (24, "int32")])
def test_the_scene_has_the_requested_shape_and_sample_type(bits: int, dtype: str) -> None:
    block = Scene(16_000, 2, bits).render(123, 456)
    assert (block.shape, block.dtype.name) == ((456, 2), dtype)
    if bits == 24:
        assert not np.any(block & 0xFF)  # left-justified
    assert not np.array_equal(block[:, 0], block[:, 1])


def test_the_scene_is_determined_by_its_seed() -> None:
    one, same, other = Scene(8000, 1, 16, seed=5), Scene(8000, 1, 16, seed=5), Scene(8000, 1, 16, seed=6)
    np.testing.assert_array_equal(one.render(0, 8000), same.render(0, 8000))
    assert not np.array_equal(one.render(0, 8000), other.render(0, 8000))


def test_the_scene_never_repeats_within_an_hour() -> None:
    scene = SCENES[0]
    blocks = {scene.render(start, 5 * 8000).tobytes() for start in range(0, 3600 * 8000, 20 * 8000)}
    assert len(blocks) == 180


@pytest.mark.parametrize(("rate", "bits"), [(8_000, 16), (48_000, 16), (96_000, 24)])
def test_the_scene_ranges_from_quiet_to_loud_without_clipping(rate: int, bits: int) -> None:
    scene, scale = Scene(rate, 1, bits), FULL_SCALE_16 if bits == 16 else FULL_SCALE_24
    meter = LevelMeter(rate, 1, scale)
    blocks = [meter.add(scene.render(start, 2048)) for start in range(0, 60 * rate, 2048)]
    chunk = meter.take_chunk()
    settled = [block.fast_max for block in blocks[rate // 2048 :]]
    assert -65 < min(settled) < -55
    assert -22 < max(settled) < -13
    assert sum(block.clipped for block in blocks) == 0
    assert chunk.l10 - chunk.l90 > 15
