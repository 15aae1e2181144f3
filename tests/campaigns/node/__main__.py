"""Runs lives one after the other; see --help. Exit code 1: a promise was broken."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.campaigns.node import results
from tests.campaigns.node.choices import KINDS
from tests.campaigns.node.judging.judge import Violation, judge
from tests.campaigns.node.life import live
from tests.campaigns.node.plan import Plan, make_plan
from tests.campaigns.node.process import is_root
from tests.campaigns.node.shrink import shrink


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # mounts and processes of a life end with it
    if options.summary:
        _say(results.summary(results.read(options.results)))
        return 0
    if not is_root():
        _say("not root: full and read-only disks and changed clocks count as not injected")
    kinds = tuple(options.kinds.split(",")) if options.kinds else ()
    if options.replay or options.shrink:
        given: str = options.replay or options.shrink
        path = Path(given)
        plan = Plan.from_json(path.read_bytes()) if path.exists() else make_plan(int(given), options.seconds, kinds)
        if options.shrink:
            return _shrink(plan, options.keep)
        _say(plan)
        return _report(plan, _run(plan, options.keep))
    return _campaign(options, kinds)


def _campaign(options: argparse.Namespace, kinds: tuple[str, ...]) -> int:
    commit = results.commit()
    done = results.done_seeds(results.read(options.results), commit, options.seconds)
    broken = False
    for seed in range(options.seed, options.seed + options.lives):
        if seed in done:
            continue
        plan = make_plan(seed, options.seconds, kinds)
        with tempfile.TemporaryDirectory(prefix="imhearing-life-") as name:
            violations = _live_and_judge(plan, Path(name), options.keep)
            one = results.result_of(plan, Path(name), violations, commit)
        with options.results.open("a") as file:
            file.write(json.dumps(one) + "\n")
        broken |= bool(_report(plan, violations))
    _say(results.summary(results.read(options.results)))
    return 1 if broken else 0


def _run(plan: Plan, keep: Path | None) -> list[Violation]:
    with tempfile.TemporaryDirectory(prefix="imhearing-life-") as name:
        return _live_and_judge(plan, Path(name), keep)


def _live_and_judge(plan: Plan, folder: Path, keep: Path | None) -> list[Violation]:
    try:
        live(plan, folder)
        violations = judge(folder)
    except AssertionError as problem:  # it did not even start, or was not to be ended: the next life goes on
        violations = [Violation("it_lives", str(problem))]
    if violations and keep is not None:
        shutil.copytree(folder, keep / f"life-{plan.seed}", symlinks=True, dirs_exist_ok=True)
    return violations


def _report(plan: Plan, violations: list[Violation]) -> int:
    _say(f"seed {plan.seed}: {len(plan.faults)} faults, {len(violations)} violations")
    for violation in violations:
        _say(f"  {violation}")
    return 1 if violations else 0


def _shrink(plan: Plan, keep: Path | None) -> int:
    """Only what breaks the same check counts: another fault of the node is another life's."""
    wanted = {violation.check for violation in _run(plan, keep)}
    if not wanted:
        _say("no violation: nothing to shrink")
        return 0

    def fails(smaller: Plan) -> bool:
        broken = {violation.check for violation in _run(smaller, None)}
        _say(f"{len(smaller.faults)} faults: {', '.join(sorted(broken)) or 'clean'}")
        return bool(broken & wanted)

    smallest = shrink(plan, fails)
    _say(smallest)
    _say(smallest.to_json())
    return 1


def _say(text: object) -> None:
    print(text, flush=True)  # noqa: T201


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns.node",
        description="Lives of a whole node under many faults at once, judged against a second recorder.",
        epilog="With IMHEARING_PRODUCT=DIR, the product of another checkout is put to the test.",
    )
    parser.add_argument("--lives", type=int, default=10, help="how many (10)")
    parser.add_argument("--seed", type=int, default=1, help="of the first life (1)")
    parser.add_argument("--seconds", type=float, default=45.0, help="during which faults strike (45)")
    parser.add_argument("--kinds", default="", help=f"only these, comma-separated, of: {', '.join(KINDS)}")
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("node_lives.jsonl"),
        help="seeds that stand there for this commit are skipped",
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="copy the folder of each life with a violation to DIR")
    parser.add_argument("--summary", action="store_true", help="only print what --results holds")
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--replay", metavar="SEED|PLAN", help="run one life, by its seed or a plan.json")
    one.add_argument("--shrink", metavar="SEED|PLAN", help="find the fewest of its faults that break the same promise")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
