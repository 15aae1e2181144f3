"""Of two nodes with one name, the first keeps it; if they start at once, exactly one of them does."""

from __future__ import annotations

from typing import Literal

import pytest

from edge.core.instant import Instant
from edge.messaging.events import RecorderStatus
from edge.messaging.name_guard import SETTLED_SECONDS, Claim

LOW, HIGH = "1" * 16, "f" * 16


def status(
    instance: str, state: Literal["online", "offline"] = "online", holds_name: bool = False, at: int = 0
) -> RecorderStatus:
    return RecorderStatus(
        at=Instant(at), node="porch", state=state, instance=instance, version="1", holds_name=holds_name
    )


def claim(instance: str, settled: bool, at: int = 0) -> tuple[Claim, float]:
    made = Claim(status(instance, at=at))
    made.connected(100.0)
    return made, 100.0 + (SETTLED_SECONDS if settled else 0.1)


@pytest.mark.parametrize("mine", [LOW, HIGH])
def test_the_first_node_keeps_the_name_and_the_newcomer_yields(mine: str) -> None:
    theirs = HIGH if mine == LOW else LOW
    first, now = claim(mine, settled=True)
    assert first.heard(status(theirs), retained=False, now=now) == "insist"
    newcomer, now = claim(theirs, settled=False)
    assert newcomer.heard(status(mine, holds_name=True), retained=False, now=now) == "yield"


def test_of_two_nodes_that_claim_a_name_at_once_one_yields() -> None:
    low, now = claim(LOW, settled=False)
    high, _ = claim(HIGH, settled=False)
    assert low.heard(status(HIGH), retained=False, now=now) == "none"
    assert high.heard(status(LOW), retained=False, now=now) == "yield"


def test_of_two_nodes_that_both_hold_the_name_one_yields() -> None:
    low, now = claim(LOW, settled=True)
    high, _ = claim(HIGH, settled=True)
    assert low.heard(status(HIGH, holds_name=True), retained=False, now=now) == "insist"
    assert high.heard(status(LOW, holds_name=True), retained=False, now=now) == "yield"


def test_a_retained_status_does_not_claim_the_name() -> None:
    newcomer, now = claim(HIGH, settled=False)
    assert newcomer.heard(status(LOW), retained=True, now=now) == "none"


def test_a_nodes_own_late_last_will_is_corrected() -> None:
    mine, now = claim(LOW, settled=True)
    assert mine.heard(status(LOW, "offline"), retained=False, now=now) == "insist"
    assert mine.heard(status(LOW), retained=False, now=now) == "none"
    assert mine.heard(status(LOW, "offline"), retained=True, now=now) == "none"


def test_a_rivals_offline_status_is_corrected() -> None:
    mine, now = claim(LOW, settled=False)
    assert mine.heard(status(HIGH, "offline"), retained=False, now=now) == "insist"


def test_of_two_processes_with_one_identity_the_newcomer_yields() -> None:
    """As of copies of a virtual machine, in which nothing differs but when the process started."""
    first, now = claim(LOW, settled=True, at=7)
    assert first.heard(status(LOW, at=9), retained=False, now=now) == "insist"
    newcomer, now = claim(LOW, settled=False, at=9)
    assert newcomer.heard(status(LOW, holds_name=True, at=7), retained=False, now=now) == "yield"


def test_of_two_processes_with_one_identity_that_start_at_once_one_yields() -> None:
    earlier, now = claim(LOW, settled=False, at=7)
    later, _ = claim(LOW, settled=False, at=9)
    assert earlier.heard(status(LOW, at=9), retained=False, now=now) == "none"
    assert later.heard(status(LOW, at=7), retained=False, now=now) == "yield"
