"""Fewer faults that still break the same promise: delta debugging over a plan's faults."""

from __future__ import annotations

from collections.abc import Callable

from tests.campaigns.node.plan import Plan


def shrink(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    """The smallest plan found; leaving out any one of its faults, `fails` was false once.

    Lives are not deterministic to the instant, so `fails` may well run a plan more than once.
    """
    kept = list(range(len(plan.faults)))
    pieces = 2
    while len(kept) > 1:
        size = max(1, len(kept) // pieces)
        for start in range(0, len(kept), size):
            rest = kept[:start] + kept[start + size :]
            if rest and fails(plan.keeping(set(rest))):
                kept, pieces = rest, max(2, pieces - 1)
                break
        else:
            if size == 1:
                break
            pieces = min(len(kept), pieces * 2)
    return plan.keeping(set(kept))
