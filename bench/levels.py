"""What the sound levels cost, and how near their frequency weighting comes to the standard.

python -m bench.levels            CPU seconds per second of sound
python -m bench.levels --table    the table of docs/levels.md
"""

from __future__ import annotations

import edge.recorder  # noqa: F401 - before NumPy, which then takes one thread, as in the recorder

# isort: split
import argparse
import time
from typing import NamedTuple

import numpy as np

from edge.configuration.settings import Recorder
from edge.recorder.capture.blocks import block_frames
from edge.recorder.capture.scene import Scene
from edge.recorder.signal.levels import FULL_SCALE_16, FULL_SCALE_24, LevelMeter
from edge.recorder.signal.sounds import SoundDetector
from edge.recorder.signal.weighting import design_goal_db


class Row(NamedTuple):
    """One frequency of IEC 61672-1:2013 Table 3 (Hz, dB): its values, and class 1 acceptance limits."""

    nominal: float
    a: float
    c: float
    upper: float
    lower: float


TABLE_3 = (
    Row(20, -50.5, -6.2, 2.0, -2.0),
    Row(25, -44.7, -4.4, 2.0, -1.5),
    Row(31.5, -39.4, -3.0, 1.5, -1.5),
    Row(40, -34.6, -2.0, 1.0, -1.0),
    Row(50, -30.2, -1.3, 1.0, -1.0),
    Row(63, -26.2, -0.8, 1.0, -1.0),
    Row(80, -22.5, -0.5, 1.0, -1.0),
    Row(100, -19.1, -0.3, 1.0, -1.0),
    Row(125, -16.1, -0.2, 1.0, -1.0),
    Row(160, -13.4, -0.1, 1.0, -1.0),
    Row(200, -10.9, 0.0, 1.0, -1.0),
    Row(250, -8.6, 0.0, 1.0, -1.0),
    Row(315, -6.6, 0.0, 1.0, -1.0),
    Row(400, -4.8, 0.0, 1.0, -1.0),
    Row(500, -3.2, 0.0, 1.0, -1.0),
    Row(630, -1.9, 0.0, 1.0, -1.0),
    Row(800, -0.8, 0.0, 1.0, -1.0),
    Row(1000, 0.0, 0.0, 0.7, -0.7),
    Row(1250, 0.6, 0.0, 1.0, -1.0),
    Row(1600, 1.0, -0.1, 1.0, -1.0),
    Row(2000, 1.2, -0.2, 1.0, -1.0),
    Row(2500, 1.3, -0.3, 1.0, -1.0),
    Row(3150, 1.2, -0.5, 1.0, -1.0),
    Row(4000, 1.0, -0.8, 1.0, -1.0),
    Row(5000, 0.5, -1.3, 1.5, -1.5),
    Row(6300, -0.1, -2.0, 1.5, -2.0),
    Row(8000, -1.1, -3.0, 1.5, -2.5),
    Row(10000, -2.5, -4.4, 2.0, -3.0),
    Row(12500, -4.3, -6.2, 2.0, -5.0),
    Row(16000, -6.6, -8.5, 2.5, -16.0),
)


def exact_frequency(nominal: float) -> float:
    """The frequency that a nominal one stands for, in Hz (IEC 61672-1:2013 Table 3, note)."""
    return float(10 ** (round(10 * np.log10(nominal)) / 10))


def measured_weighting(frequency: float, rate: int) -> tuple[float, float]:
    """What LevelMeter makes of a steady sine: its A weighting by LAeq, its C weighting by LCpeak, in dB."""
    level = -10.0
    time_axis = np.arange(2 * rate) / rate
    sine = FULL_SCALE_24 * 10 ** (level / 20) * np.sin(2 * np.pi * frequency * time_axis)
    samples = np.rint(sine).astype(np.int32)[:, None]
    second = LevelMeter(rate, 1, FULL_SCALE_24).add(samples).seconds[-1]  # the first holds the start
    return second.laeq - level, second.lcpeak - 20 * np.log10(np.sqrt(2)) - level


def table(rate: int = 48_000) -> str:
    """Markdown: nominal frequency, A and C measured and in the standard, class 1 limits."""
    lines = [
        "| Hz | A measured | A standard | C measured | C standard | class 1 |",
        "|---:|---:|---:|---:|---:|:---:|",
    ]
    for row in TABLE_3:
        frequency = exact_frequency(row.nominal)
        a, c = (round(value, 2) + 0.0 for value in measured_weighting(frequency, rate))
        limits = f"{row.upper:+.1f}; {row.lower:+.1f}"
        goal_a, goal_c = design_goal_db("A", frequency), design_goal_db("C", frequency)
        assert abs(goal_a - row.a) < 0.06, row
        assert abs(goal_c - row.c) < 0.06, row
        lines.append(f"| {row.nominal:g} | {a:.2f} | {row.a:.1f} | {c:.2f} | {row.c:.1f} | {limits} |")
    return "\n".join(lines)


def cost(rate: int, channels: int, bits: int, seconds: int = 20) -> tuple[float, float]:
    """CPU seconds per second of sound: of levels and sound detection, and of the synthetic scene."""
    scene = Scene(rate, channels, bits)
    meter = LevelMeter(rate, channels, FULL_SCALE_16 if bits == 16 else FULL_SCALE_24)
    detector = SoundDetector("20260303T220000Z-k3f9", rate, -40.0)
    frames = block_frames(Recorder().block_ms, rate)
    starts = range(0, seconds * rate, frames)
    started = time.process_time()
    blocks = [scene.render(start, frames) for start in starts]
    rendered = time.process_time()
    for block in blocks:
        detector.add(meter.add(block))
    meter.take_chunk()
    return (time.process_time() - rendered) / seconds, (rendered - started) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="print the weighting table instead")
    if parser.parse_args().table:
        print(table())
        return
    print(f"CPU seconds per second of sound, blocks of {Recorder().block_ms} ms")
    for rate, channels, bits in ((48_000, 1, 16), (48_000, 2, 24), (96_000, 4, 24)):
        levels, scene = cost(rate, channels, bits)
        print(f"{rate} Hz, {channels} ch, {bits} bit: levels and sounds {levels:.4f}, synthetic scene {scene:.4f}")


if __name__ == "__main__":
    main()
