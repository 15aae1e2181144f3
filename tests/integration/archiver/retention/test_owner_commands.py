"""`hold` and `forget` as the owner's commands: their limits, and how they report an order under way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edge.archiver.commands import MOST_HOLDS, ArchiverCommands
from edge.catalog.holds import Hold, Holds, change_holds, read_holds
from edge.core.errors import StoreUnreachable, WireError
from edge.core.instant import Instant
from edge.messaging.commands import ChangeHolds, Forget
from edge.messaging.request_pipeline import Refused
from tests.support.archiver.stepped import SteppedArchiver, failing, read_only_error
from tests.support.spool.chunks import SECOND, START

ID = "0123456789abcdef"


@pytest.fixture
def commands(node: SteppedArchiver) -> ArchiverCommands:
    return ArchiverCommands(node.archiver, node.catalog, node.clock)


def at(second: int) -> Instant:
    return Instant(START + second * SECOND)


def hold(start: int, end: int, release: bool = False) -> ChangeHolds:
    return ChangeHolds(id=ID, from_=at(start), to=at(end), release=release)


def separate_holds(count: int) -> Callable[[Holds], Holds]:
    return lambda _: Holds(tuple(Hold(at(2 * number), at(2 * number + 1)) for number in range(count)))


def test_no_more_holds_are_made_than_one_answer_lists(node: SteppedArchiver, commands: ArchiverCommands) -> None:
    change_holds(node.catalog.path, separate_holds(MOST_HOLDS))
    with pytest.raises(Refused, match="500 holds already"):
        commands.hold(hold(-10, -9))
    assert len(read_holds(node.catalog.path).holds) == MOST_HOLDS
    assert len(commands.hold(hold(0, 3))["holds"]) == MOST_HOLDS - 1  # joins two


def test_more_holds_than_that_are_counted_and_can_be_released(
    node: SteppedArchiver, commands: ArchiverCommands
) -> None:
    """`imhearing hold` has no limit."""
    change_holds(node.catalog.path, separate_holds(MOST_HOLDS + 20))
    data = commands.hold(ChangeHolds(id=ID))
    assert (len(data["holds"]), data["omitted"]) == (MOST_HOLDS, 20)
    assert data["holds"][0] == {"from": str(at(0)), "to": str(at(1))}
    assert commands.hold(hold(0, 41, release=True))["omitted"] == 0


def test_an_order_reports_how_far_it_has_come_and_why_it_waits(
    node: SteppedArchiver, commands: ArchiverCommands
) -> None:
    node.turn()
    node.end(problem=StoreUnreachable("down"))
    order = commands.forget(Forget(id=ID, from_=at(0), to=at(2)))
    assert (order["state"], order["remaining"], order["reason"]) == ("open", 2, None)
    question = Forget(id=ID, order=order["order"])
    with failing(node.spool.chunks, "remove", read_only_error(), times=2):
        node.run_until(lambda: commands.forget(question)["reason"], "the order waits")
    waits = commands.forget(question)
    assert "cannot be removed" in waits["reason"]
    assert (waits["state"], waits["remaining"]) == ("open", 0)  # the catalog has committed that they are gone

    def is_done() -> bool:
        if node.worker.job is not None:
            node.end()
        return bool(commands.forget(question)["state"] == "done")

    node.run_until(is_done, "the order ends")
    ended = commands.forget(question)
    assert (ended["remaining"], ended["chunks"], ended["reason"]) == (0, 2, None)


def test_open_orders_are_bounded_and_the_unknown_are_named(commands: ArchiverCommands) -> None:
    for second in range(100):
        commands.forget(Forget(id=ID, from_=at(second), to=at(second + 1)))
    with pytest.raises(Refused) as refused:
        commands.forget(Forget(id=ID, from_=at(0), to=at(1)))
    assert refused.value.body.code == "busy"
    with pytest.raises(WireError, match="order"):
        commands.forget(Forget(id=ID, order="f" * 16))
