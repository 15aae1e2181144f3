"""Sound levels against IEC 61672-1:2013: weighting, time weighting, tonebursts, peak; and against a slow oracle."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.levels import TABLE_3, exact_frequency, measured_weighting
from edge.recorder.signal.levels import FLOOR_DBFS, FULL_SCALE_16, FULL_SCALE_24, BlockLevels, LevelMeter
from edge.recorder.signal.weighting import design_goal_db

RATE = 48_000
PEAK_OVER_RMS = 20 * math.log10(math.sqrt(2))
Ints = npt.NDArray[np.int32]


def sine(frequency: float, level: float, seconds: float, rate: int = RATE) -> npt.NDArray[np.float64]:
    """At `level` dBFS, relative to full scale."""
    return np.asarray(
        10 ** (level / 20) * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate), dtype=np.float64
    )


def wide(sound: npt.NDArray[np.float64]) -> Ints:
    """As 24 bits in int32, one channel."""
    return (np.rint(sound * (2**23 - 1)).astype(np.int32) * 2**8).reshape(len(sound), -1)


def meter(rate: int = RATE, channels: int = 1, offset_db: float | None = None) -> LevelMeter:
    return LevelMeter(rate, channels, FULL_SCALE_24, offset_db)


def steps(measuring: LevelMeter, samples: Ints, step: int = 2048) -> list[BlockLevels]:
    return [measuring.add(samples[start : start + step]) for start in range(0, len(samples), step)]


def test_full_scale_sine_at_1_khz_reads_0_dbfs() -> None:
    samples = np.rint(sine(1000, 0, 3) * (2**15 - 1)).astype(np.int16)[:, None]
    measuring = LevelMeter(RATE, 1, FULL_SCALE_16)
    second = measuring.add(samples).seconds[-1]
    assert second.laeq == pytest.approx(0, abs=0.01)
    assert second.lafmax == pytest.approx(0, abs=0.05)  # F ripples at twice the frequency
    assert second.lcpeak == pytest.approx(PEAK_OVER_RMS, abs=0.02)
    levels = measuring.take_chunk()
    assert (levels.unit, levels.calibrated) == ("dBFS", False)


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
def test_the_meters_weighting_matches_the_design_goals(rate: int) -> None:
    for row in TABLE_3:
        frequency = exact_frequency(row.nominal)
        if frequency > 0.4 * rate:
            continue
        a, c = measured_weighting(frequency, rate)
        assert a == pytest.approx(design_goal_db("A", frequency), abs=0.1)
        assert c == pytest.approx(design_goal_db("C", frequency), abs=0.1)


@pytest.mark.parametrize(
    ("milliseconds", "reference", "upper", "lower"),
    [  # IEC 61672-1:2013 Table 4, LAFmax - LA, class 1
        (1000, 0.0, 0.5, -0.5),
        (500, -0.1, 0.5, -0.5),
        (200, -1.0, 0.5, -0.5),
        (100, -2.6, 1.0, -1.0),
        (50, -4.8, 1.0, -1.0),
        (20, -8.3, 1.0, -1.0),
        (10, -11.1, 1.0, -1.0),
        (5, -14.1, 1.0, -1.0),
        (2, -18.0, 1.0, -1.5),
        (1, -21.0, 1.0, -2.0),
    ],
)
@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
def test_the_toneburst_response_is_within_class_1(
    milliseconds: int, reference: float, upper: float, lower: float, rate: int
) -> None:
    silence = np.zeros(rate // 2)
    burst = np.concatenate([silence, sine(4000, -6, milliseconds / 1000, rate), silence])
    measuring = meter(rate)
    highest = max(block.fast_max for block in steps(measuring, wide(burst)))
    response = highest - (-6 + design_goal_db("A", 4000))
    assert lower <= response - reference <= upper
    assert response == pytest.approx(10 * math.log10(1 - math.exp(-milliseconds / 125)), abs=0.3)
    assert measuring.take_chunk().lafmax == pytest.approx(highest, abs=0.006)


def test_the_fast_level_falls_by_34_7_db_per_second() -> None:
    samples = wide(np.concatenate([sine(4000, -6, 1), np.zeros(RATE)]))
    blocks = steps(meter(), samples, 480)  # 10 ms
    assert (blocks[110].fast_max - blocks[160].fast_max) / 0.5 == pytest.approx(10 / math.log(10) / 0.125, abs=0.1)


@pytest.mark.parametrize(
    ("frequency", "cycles", "difference", "limit"),
    [(31.5, 1.0, 2.5, 2.0), (500, 1.0, 3.5, 1.0), (8000, 1.0, 3.4, 2.0), (500, 0.5, 2.4, 1.0), (500, -0.5, 2.4, 1.0)],
)  # IEC 61672-1:2013 Table 5, class 1
def test_the_c_weighted_peak_of_single_cycles_is_within_class_1(
    frequency: float, cycles: float, difference: float, limit: float
) -> None:
    tone = math.copysign(1, cycles) * sine(frequency, -6, abs(cycles) / frequency)
    measuring = meter()
    measuring.add(wide(np.concatenate([np.zeros(RATE // 4), tone, np.zeros(RATE // 4)])))
    steady = -6 + design_goal_db("C", frequency)
    assert measuring.take_chunk().lcpeak - steady == pytest.approx(difference, abs=limit)


def test_sound_reaches_the_fast_level_in_its_own_block() -> None:
    samples = wide(np.concatenate([np.zeros(4800), sine(1000, -6, 0.01)]))
    assert steps(meter(), samples, 480)[10].fast_max > -20


@settings(max_examples=40, deadline=None)
@given(
    rate=st.sampled_from([8_000, 11_025, 16_000]),
    channels=st.integers(1, 3),
    cuts=st.lists(st.integers(0, 30_000), max_size=12),
    chunk_ends=st.lists(st.integers(1, 30_000), max_size=2),
    seed=st.integers(0, 2**32 - 1),
)
def test_levels_do_not_depend_on_how_the_samples_are_split(
    rate: int, channels: int, cuts: list[int], chunk_ends: list[int], seed: int
) -> None:
    dice = np.random.default_rng(seed)
    loudness = 10 ** (-3 * np.abs(np.sin(np.arange(30_000) / 2000)))[:, None]
    samples = np.rint(dice.standard_normal((30_000, channels)) * loudness * 2**28).astype(np.int32)
    ends = sorted({*chunk_ends, 30_000})
    whole, split = meter(rate, channels), meter(rate, channels)
    start = 0
    for end in ends:
        one = whole.add(samples[start:end])
        inner = sorted({start, end, *(cut for cut in cuts if start < cut < end)})
        parts = [split.add(samples[a:b]) for a, b in itertools.pairwise(inner)]
        assert max(part.fast_max for part in parts) == pytest.approx(one.fast_max, abs=1e-6)
        assert sum(part.frames for part in parts) == one.frames
        assert parts[0].first_frame == one.first_frame == start
        assert_seconds_equal(one, parts)
        a, b = whole.take_chunk(), split.take_chunk()
        assert a.per_second == pytest.approx(b.per_second, abs=0.011)
        for name in ("laeq", "lafmax", "lcpeak", "l10", "l50", "l90"):
            assert getattr(a, name) == pytest.approx(getattr(b, name), abs=0.011), name
        start = end


def assert_seconds_equal(one: BlockLevels, parts: list[BlockLevels]) -> None:
    seconds = [second for part in parts for second in part.seconds]
    assert [second.end_frame for second in seconds] == [second.end_frame for second in one.seconds]
    for a, b in zip(one.seconds, seconds, strict=True):
        assert (a.laeq, a.lafmax, a.lcpeak) == pytest.approx((b.laeq, b.lafmax, b.lcpeak), abs=0.011)


def test_seconds_and_rows_are_counted_from_the_start_of_the_chunk() -> None:
    measuring = meter(8000)
    first = steps(measuring, wide(sine(1000, -20, 2.5, 8000)))
    assert [second.end_frame for block in first for second in block.seconds] == [8000, 16_000]
    assert len(measuring.take_chunk().per_second) == 2
    second = steps(measuring, wide(sine(1000, -40, 1.5, 8000)))
    assert [second.end_frame for block in second for second in block.seconds] == [28_000]
    assert measuring.take_chunk().per_second == pytest.approx([-40.0], abs=0.3)


def test_chunk_average_is_the_energy_mean_of_its_seconds() -> None:
    measuring = meter()
    measuring.add(wide(np.concatenate([sine(1000, -20, 1), sine(1000, -40, 1), sine(1000, -26, 2)])))
    levels = measuring.take_chunk()
    assert levels.per_second == pytest.approx([-20, -40, -26, -26], abs=0.1)  # the filter rings on a little
    mean = 10 * math.log10(float(np.mean([10 ** (row / 10) for row in levels.per_second])))
    assert levels.laeq == pytest.approx(mean, abs=0.02)


def test_percentile_levels_are_exceeded_for_their_share_of_the_time() -> None:
    measuring = meter(8000)
    parts = [sine(1000, level, seconds, 8000) for level, seconds in ((-60, 12), (-40, 5.6), (-10, 2.4))]
    measuring.add(wide(np.concatenate(parts)))
    levels = measuring.take_chunk()
    assert levels.l10 == pytest.approx(-10, abs=0.2)
    assert levels.l50 == pytest.approx(-60, abs=0.2)
    assert levels.l90 == pytest.approx(-60, abs=0.2)
    assert levels.l90 <= levels.l50 <= levels.l10 <= levels.lafmax


def test_silence_reads_the_lowest_level() -> None:
    measuring = meter()
    block = measuring.add(np.zeros((RATE, 1), np.int32))
    assert block.fast_max == block.laeq == FLOOR_DBFS
    levels = measuring.take_chunk()
    assert {levels.laeq, levels.lafmax, levels.lcpeak, levels.l10, levels.l90, *levels.per_second} == {FLOOR_DBFS}


def test_levels_fall_to_the_floor_in_silence_after_sound() -> None:
    measuring = meter(8000)
    measuring.add(wide(sine(1000, 0, 1, 8000)))
    for _ in range(40):
        block = measuring.add(np.zeros((8000, 1), np.int32))
    assert block.fast_max == block.laeq == FLOOR_DBFS


def test_the_calibration_offset_is_added_and_the_unit_is_dba() -> None:
    measuring = meter(offset_db=114.2)
    block = measuring.add(wide(sine(1000, -20.2, 2)))
    assert block.seconds[-1].laeq == pytest.approx(94.0, abs=0.02)
    levels = measuring.take_chunk()
    assert (levels.unit, levels.calibrated) == ("dBA", True)
    assert meter(offset_db=0.0).unit == "dBA"


@pytest.mark.parametrize("offset", [0.01, 0.3, -0.5])
def test_a_dc_offset_does_not_change_levels(offset: float) -> None:
    noise = np.random.default_rng(3).standard_normal(RATE * 2) * 1e-3
    clean, shifted = meter(), meter()
    clean.add(wide(noise))
    shifted.add(wide(noise + offset))
    a, b = clean.take_chunk(), shifted.take_chunk()
    for name in ("laeq", "lafmax", "lcpeak", "l10", "l90"):
        assert getattr(a, name) == pytest.approx(getattr(b, name), abs=0.02), name


def test_levels_are_those_of_the_loudest_channel() -> None:
    loud, soft = sine(1000, -20, 2), sine(1000, -50, 2)
    alone, pair, unplugged = meter(), meter(channels=2), meter(channels=2)
    alone.add(wide(loud))
    pair.add(wide(np.stack([soft, loud], axis=1)))
    unplugged.add(wide(np.stack([loud, 0 * loud], axis=1)))
    levels = alone.take_chunk()
    assert pair.take_chunk() == levels
    assert unplugged.take_chunk() == levels


def test_clipped_samples_are_counted() -> None:
    samples = np.zeros((3000, 2), np.int16)
    samples[100, 0] = samples[2500, 1] = 32767
    samples[101, 0], samples[102, 0], samples[103, 0] = -32768, -32767, 32766
    measuring = LevelMeter(1000, 2, FULL_SCALE_16)
    block = measuring.add(samples)
    assert block.clipped == 4
    assert [second.clipped for second in block.seconds] == [3, 0, 1]
    wide_samples = np.array([[2**31 - 256], [-(2**31)], [2**30]], np.int32)
    assert meter().add(wide_samples).clipped == 2


def test_right_justified_24_bit_samples_need_only_their_full_scale() -> None:
    samples = wide(sine(1000, -12, 1))
    left, right = meter(), LevelMeter(RATE, 1, 2**23)
    assert left.add(samples).laeq == pytest.approx(right.add(samples >> 8).laeq, abs=1e-9)


def test_a_chunk_shorter_than_a_second_has_levels() -> None:
    measuring = meter()
    measuring.add(wide(sine(1000, -20, 0.01)))
    levels = measuring.take_chunk()
    assert levels.per_second == ()
    assert levels.l10 == levels.l90 == levels.lafmax


def test_levels_without_samples_are_the_floor_or_an_error() -> None:
    measuring = meter()
    assert measuring.add(np.zeros((0, 1), np.int32)) == BlockLevels(0, 0, FLOOR_DBFS, FLOOR_DBFS, 0)
    with pytest.raises(ValueError, match="without samples"):
        measuring.take_chunk()
    with pytest.raises(ValueError, match="shape"):
        measuring.add(np.zeros((5, 2), np.int32))


def test_the_weighting_table_in_levels_md_is_correct() -> None:
    page = (Path(__file__).parents[4] / "docs" / "levels.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| ([0-9.]+) \|" + 4 * r" (-?[0-9.]+) \|" + r" (\S+; \S+) \|$", page, re.MULTILINE)
    rows = {float(cells[0]): [float(part) for part in cells[1:5]] for cells in lines}
    assert sorted(rows) == [row.nominal for row in TABLE_3]
    for row in TABLE_3:
        a, standard_a, c, standard_c = rows[row.nominal]
        assert (standard_a, standard_c) == (row.a, row.c)
        assert (a, c) == pytest.approx((row.a, row.c), abs=0.5)
        assert (a, c) == pytest.approx(measured_weighting(exact_frequency(row.nominal), RATE), abs=0.02)
