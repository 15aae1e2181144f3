"""A fuzzing campaign: `python -m tests.fuzz [--seconds N] [PARSER ...]`, one line of figures for each parser.

Each parser runs in a process of its own, so that a crash of a C library, or an input that never ends, is a finding as
well. Inputs that fail are written to `--into`; `--reproduce FILE PARSER` runs one again.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import random
import sys
import time
import traceback
from pathlib import Path

from tests.fuzz.inputs import random_input
from tests.fuzz.target import Target, check
from tests.fuzz.targets import all_targets

_POOL = 400  # accepted inputs that others are made of
_LONGEST = 60.0  # seconds without a new input: it hangs


class Campaign:
    """One parser's. Counts are shared with the process that runs it, which may crash."""

    def __init__(self, name: str, seconds: float, seed: int, into: Path) -> None:
        self._name, self._seconds, self._seed, self._into = name, seconds, seed, into
        self._counts = multiprocessing.Array("Q", 3)  # inputs, accepted, findings
        self._running = into / f"{name.replace(' ', '-')}.running"

    def run(self) -> int:
        """Prints the figures; gives the number of findings."""
        self._into.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        while (left := self._seconds - (time.monotonic() - started)) > 0:
            self._seed += 1
            process = multiprocessing.Process(target=self._fuzz, args=(time.monotonic() + left, self._seed))
            process.start()
            self._wait_for(process)
            if process.exitcode:
                self._counts[2] += 1
                kept = self._running.with_suffix(f".crash-{self._counts[2]}")
                self._running.replace(kept)
                _say(f"{self._name}: the process ended with {process.exitcode}: {kept}")
        self._running.unlink(missing_ok=True)
        tried, accepted, findings = (int(count) for count in self._counts[:])
        seconds = time.monotonic() - started
        _say(f"| {self._name} | {tried:,} | {accepted:,} | {seconds:.0f} s | {findings} |")
        return findings

    def _wait_for(self, process: multiprocessing.Process) -> None:
        before = -1
        while process.is_alive():
            process.join(_LONGEST)
            if process.is_alive() and before == self._counts[0]:
                process.kill()
            before = self._counts[0]

    def _fuzz(self, ends_at: float, seed: int) -> None:
        logging.disable(logging.CRITICAL)
        target, dice = all_targets()[self._name], random.Random(seed)
        pool, seen = list(target.seeds), set[str]()
        with self._running.open("wb", buffering=0) as running:
            while time.monotonic() < ends_at:
                data = random_input(target, pool, dice)
                running.seek(0)
                running.write(data)
                running.truncate(len(data))
                self._counts[0] += 1
                try:
                    accepted = check(target, data)
                except Exception as problem:
                    self._report(target, data, problem, seen)
                    continue
                self._counts[1] += accepted
                if accepted:
                    place = len(target.seeds) + dice.randrange(_POOL)
                    pool[place : place + 1] = [data]

    def _report(self, target: Target, data: bytes, problem: Exception, seen: set[str]) -> None:
        """One of each kind."""
        place = _place(problem)
        if place in seen:
            return
        seen.add(place)
        self._counts[2] += 1
        kept = self._running.with_suffix(f".finding-{self._counts[2]}")
        kept.write_bytes(data)
        _say(f"{target.name}: {kept}\n{''.join(traceback.format_exception(problem))}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _place(problem: Exception) -> str:
    """Where it was raised, in our code if it passed through there."""
    frames = [frame for frame in traceback.extract_tb(problem.__traceback__) if "/tests/fuzz/" not in frame.filename]
    ours = [frame for frame in frames if "site-packages" not in frame.filename and "/lib/python" not in frame.filename]
    last = (ours or frames)[-1:]
    return f"{type(problem).__name__} {[(frame.filename, frame.lineno) for frame in last]}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzzes the parsers of foreign bytes.")
    parser.add_argument("parsers", nargs="*", metavar="PARSER", help=f"one of: {', '.join(all_targets())}")
    parser.add_argument("--seconds", type=float, default=60, help="for each parser (default: 60)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--into", type=Path, default=Path("fuzz-findings"), help="folder for inputs that fail")
    parser.add_argument("--reproduce", type=Path, metavar="FILE", help="run one input instead")
    args = parser.parse_args()
    unknown = [name for name in args.parsers if name not in all_targets()]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are: {', '.join(all_targets())}")
    names = args.parsers or list(all_targets())
    if args.reproduce is not None:
        _say("accepted" if check(all_targets()[names[0]], args.reproduce.read_bytes()) else "refused")
        return 0
    _say("| parser | inputs | accepted | time | findings |\n|---|---|---|---|---|")
    return 1 if sum(Campaign(name, args.seconds, args.seed, args.into).run() for name in names) else 0


if __name__ == "__main__":
    sys.exit(main())
