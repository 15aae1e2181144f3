"""Kills the recorder at each of many system calls and starts it again: nothing finished is lost, nothing is damaged or
doubled, at most the block being encoded is missing, and the hole is told.

`python -m tests.campaigns.recorder_kill_points [--points N] [--seconds S] [--format wav] [--jobs 2] [--results FILE]`.
With a results file a campaign that was broken off goes on where it ended. Exit code 0: all well.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.recording.kill_points import KillPoint, KillPointCheck

_ground: KillPointCheck | None = None


def main() -> int:
    options = _options()
    logging.disable()
    with tempfile.TemporaryDirectory() as folder:
        ground = KillPointCheck(Path(folder), options.seconds, options.format)
        ground.prepare()
        points = ground.points()
        random.Random(1).shuffle(points)  # so that a part of them is a fair sample
        chosen = points[: options.points or None]
        done = _known(options.results)
        bad = {point: verdict for point, verdict in done.items() if verdict}
        started = time.monotonic()
        for count, (point, verdict) in enumerate(
            _verdicts(ground, [p for p in chosen if str(p) not in done], options), 1
        ):
            _note(options.results, point, verdict)
            if verdict:
                bad[str(point)] = verdict
                print(f"{point}: {verdict}", flush=True)  # noqa: T201
            elif count % 100 == 0:
                print(f"{count} points, {time.monotonic() - started:.0f} s", flush=True)  # noqa: T201
    print(f"{len(chosen)} of {len(points)} kill points, {len(bad)} bad, {time.monotonic() - started:.0f} s")  # noqa: T201
    return 1 if bad else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=0, help="how many; 0: all")
    parser.add_argument("--seconds", type=float, default=12.3, help="of sound in each life")
    parser.add_argument("--format", choices=["flac", "wav"], default="flac")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--results", type=Path)
    return parser.parse_args()


def _verdicts(
    ground: KillPointCheck, points: list[KillPoint], options: argparse.Namespace
) -> Iterator[tuple[KillPoint, str]]:
    global _ground  # noqa: PLW0603 - what the forked workers inherit
    _ground = ground
    with multiprocessing.get_context("fork").Pool(options.jobs) as pool:
        yield from pool.imap_unordered(_check, points)


def _check(point: KillPoint) -> tuple[KillPoint, str]:
    assert _ground is not None
    return point, _ground.check(point)


def _known(results: Path | None) -> dict[str, str]:
    if results is None or not results.exists():
        return {}
    lines = (line.partition("\t") for line in results.read_text().splitlines())
    return {point: verdict for point, _, verdict in lines}


def _note(results: Path | None, point: KillPoint, verdict: str) -> None:
    if results is not None:
        with results.open("a") as file:
            file.write(f"{point}\t{verdict}\n")


if __name__ == "__main__":
    sys.exit(main())
