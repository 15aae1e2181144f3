"""Who keeps a name that two nodes want: the one that came first, or, if nobody did, one of them and not both."""

from __future__ import annotations

from typing import Literal

import pytest

from edge.core.instant import Instant
from edge.messaging.events import RecorderStatus
from edge.messaging.name_guard import SETTLED_SECONDS, Claim

LOW, HIGH = "1" * 16, "f" * 16


def status(instance: str, state: Literal["online", "offline"] = "online", holds_name: bool = False) -> RecorderStatus:
    return RecorderStatus(
        at=Instant(0), node="porch", state=state, instance=instance, version="1", holds_name=holds_name
    )


def claim(instance: str, settled: bool) -> tuple[Claim, float]:
    made = Claim(instance)
    made.connected(100.0)
    return made, 100.0 + (SETTLED_SECONDS if settled else 0.1)


@pytest.mark.parametrize("mine", [LOW, HIGH])
def test_who_was_first_insists_and_the_newcomer_yields(mine: str) -> None:
    theirs = HIGH if mine == LOW else LOW
    first, now = claim(mine, settled=True)
    assert first.heard(status(theirs), retained=False, now=now) == "insist"
    newcomer, now = claim(theirs, settled=False)
    assert newcomer.heard(status(mine, holds_name=True), retained=False, now=now) == "yield"


def test_of_two_newcomers_one_yields() -> None:
    low, now = claim(LOW, settled=False)
    high, _ = claim(HIGH, settled=False)
    assert low.heard(status(HIGH), retained=False, now=now) == "none"
    assert high.heard(status(LOW), retained=False, now=now) == "yield"


def test_of_two_that_both_had_the_name_one_yields() -> None:
    low, now = claim(LOW, settled=True)
    high, _ = claim(HIGH, settled=True)
    assert low.heard(status(HIGH, holds_name=True), retained=False, now=now) == "insist"
    assert high.heard(status(LOW, holds_name=True), retained=False, now=now) == "yield"


def test_a_retained_status_proves_nobody_alive() -> None:
    newcomer, now = claim(HIGH, settled=False)
    assert newcomer.heard(status(LOW), retained=True, now=now) == "none"


def test_our_own_late_last_will_is_corrected_and_our_own_online_is_not() -> None:
    mine, now = claim(LOW, settled=True)
    assert mine.heard(status(LOW, "offline"), retained=False, now=now) == "insist"
    assert mine.heard(status(LOW), retained=False, now=now) == "none"
    assert mine.heard(status(LOW, "offline"), retained=True, now=now) == "none"


def test_a_rival_that_leaves_does_not_leave_us_offline() -> None:
    mine, now = claim(LOW, settled=False)
    assert mine.heard(status(HIGH, "offline"), retained=False, now=now) == "insist"
