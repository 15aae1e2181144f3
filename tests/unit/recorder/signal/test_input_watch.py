"""Input faults are reported: silence, clipping, a DC offset; measured by the level meter."""

from __future__ import annotations

import numpy as np
import pytest

from edge.recorder.signal.input_watch import InputWatch
from edge.recorder.signal.levels import FULL_SCALE_16, LevelMeter, SecondLevels

RATE = 8_000


def seconds(samples: np.ndarray, channels: int = 1) -> list[SecondLevels]:
    meter = LevelMeter(RATE, channels, FULL_SCALE_16)
    whole = samples.astype(np.int16).reshape(-1, channels)
    return [one for at in range(0, len(whole), 1_000) for one in meter.add(whole[at : at + 1_000]).seconds]


def noise(length: int, loudness: float = 300.0, offset: float = 0.0) -> np.ndarray:
    return np.random.default_rng(2).normal(offset, loudness, length * RATE).clip(-32_768, 32_767)


def faults(watch: InputWatch, given: list[SecondLevels]) -> list[str | None]:
    """What is found after each second that changed it."""
    return [watch.fault.kind if watch.fault else None for second in given if watch.add(second)]


def test_a_quiet_room_is_no_input_fault() -> None:
    assert faults(InputWatch(), seconds(noise(90, loudness=1.0))) == []


@pytest.mark.parametrize("value", [0, 77, -3])
def test_constant_samples_for_ten_seconds_are_reported_as_silence(value: int) -> None:
    watch = InputWatch()
    given = seconds(np.concatenate([np.full(12 * RATE, value), noise(2)]))
    assert all(second.silent for second in given[:12])
    assert faults(watch, given[:9]) == []
    assert faults(watch, given[9:12]) == ["silence"]
    assert faults(watch, given[12:]) == [None]


def test_one_live_channel_is_not_silence() -> None:
    both = np.stack([noise(12), np.zeros(12 * RATE)], axis=1)
    assert not any(second.silent for second in seconds(both, 2))


def test_clipping_is_reported_from_its_third_second_until_a_minute_later() -> None:
    watch = InputWatch()
    loud = noise(4, loudness=15_000.0)
    given = seconds(np.concatenate([loud, noise(70)]))
    counted = np.count_nonzero(np.abs(loud.astype(np.int16).astype(int)) >= 32_767)
    assert sum(second.clipped for second in given) == counted > 0
    assert faults(watch, given[:2]) == []
    assert faults(watch, given[2:4]) == ["clipping"]
    assert watch.fault is not None
    assert f"{counted} samples" in watch.fault.hint
    assert "gain down" in watch.fault.hint
    assert faults(watch, given[4:]) == [None]


def test_a_single_bang_is_not_reported_as_clipping() -> None:
    given = seconds(np.concatenate([noise(5), np.full(20, 32_767), noise(5)]))
    assert any(second.clipped for second in given)
    assert faults(InputWatch(), given) == []


@pytest.mark.parametrize(("offset", "expected"), [(2_000, ["offset"]), (-2_000, ["offset"]), (200, [])])
def test_only_a_large_and_lasting_offset_is_reported(offset: int, expected: list[str]) -> None:
    watch = InputWatch()
    given = seconds(noise(61, offset=offset))
    assert given[5].offset == pytest.approx(offset / 32_768, abs=1e-3)
    assert faults(watch, given) == expected


def test_the_largest_offset_of_all_channels_is_used() -> None:
    both = np.stack([noise(2, offset=100), noise(2, offset=-900)], axis=1)
    assert seconds(both, 2)[0].offset == pytest.approx(-900 / 32_768, abs=1e-3)
