"""Results as JSON lines: one life each, with commit, seed and outcome, so that a run can be resumed elsewhere."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.campaigns.node.judging.judge import Violation
from tests.campaigns.node.node import PRODUCT
from tests.campaigns.node.plan import Plan


def commit() -> str:
    """The product's, with `+` if its tree differs from it."""
    found = _git("rev-parse", "--short=12", "HEAD")
    return f"{found}+" if _git("status", "--porcelain", "--untracked-files=no") else found


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def done_seeds(results: Iterable[dict[str, Any]], of_commit: str, seconds: float) -> set[int]:
    """Those that this commit has lived already, for as long."""
    return {one["seed"] for one in results if one["commit"] == of_commit and one["seconds"] == seconds}


def result_of(plan: Plan, folder: Path, violations: list[Violation], of_commit: str) -> dict[str, Any]:
    """A life that did not get to its end left no facts."""
    file = folder / "facts.json"
    facts = json.loads(file.read_bytes()) if file.exists() else {"events": [], "starts": {}}
    kinds: dict[str, list[int]] = {}
    for event in facts["events"]:
        counts = kinds.setdefault(event["kind"], [0, 0])
        counts[event["effect"] is None] += 1
    return {
        "commit": of_commit,
        "seed": plan.seed,
        "seconds": plan.seconds,
        "outcome": "violation" if violations else "clean",
        "violations": [str(violation) for violation in violations],
        "faults": kinds,  # kind -> injected, without effect
        "starts": sum(facts["starts"].values()),
    }


def summary(results: list[dict[str, Any]]) -> str:
    """Lives, faults by kind and violations by check."""
    injected: Counter[str] = Counter()
    without: Counter[str] = Counter()
    checks: Counter[str] = Counter()
    for one in results:
        for kind, (took, failed) in one["faults"].items():
            injected[kind] += took
            without[kind] += failed
        checks.update({violation.split(":")[0] for violation in one["violations"]})
    bad = [one["seed"] for one in results if one["violations"]]
    starts = sum(one["starts"] for one in results)
    lines = [
        f"{len(results)} lives, {sum(injected.values())} faults, {starts} process starts,"
        f" {len(bad)} lives with violations{': seeds ' + ', '.join(map(str, bad)) if bad else ''}",
        *(f"  {kind:<20} {count:5} ({without[kind]} without effect)" for kind, count in sorted(injected.items())),
        *(f"  {check}: in {count} lives" for check, count in checks.most_common()),
    ]
    return "\n".join(lines)


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(PRODUCT), *arguments], capture_output=True, text=True, check=False
    ).stdout.strip()
