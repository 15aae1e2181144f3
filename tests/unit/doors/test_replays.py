"""Requests that come twice, and the pace of answers."""

from __future__ import annotations

import asyncio

from query_service.doors.ably import Pace
from query_service.doors.replays import Replays
from query_service.queries.values import refusal


def test_a_request_is_new_then_in_work_then_answered() -> None:
    replays = Replays()
    assert replays.begin(("a", "1"), b"body") == "new"
    assert replays.begin(("a", "1"), b"body") == "in_work"
    replays.finish(("a", "1"), b"answer")
    assert replays.begin(("a", "1"), b"body") == b"answer"
    assert replays.begin(("a", "1"), b"other") == "other_body"
    assert replays.begin(("b", "1"), b"other") == "new"


def test_what_was_forgotten_is_new_again() -> None:
    replays = Replays()
    replays.begin(("a", "1"), b"body")
    replays.forget(("a", "1"))
    replays.finish(("a", "1"), b"too late")
    assert replays.begin(("a", "1"), b"body") == "new"


def test_memory_is_bounded_in_entries_and_bytes() -> None:
    replays = Replays(entries=10, answer_bytes=1_000)
    for number in range(100):
        key = ("a", str(number))
        replays.begin(key, b"body")
        replays.finish(key, b"x" * 300)
    assert [replays.begin(("a", str(number)), b"body") == b"x" * 300 for number in (99, 98, 97, 96)] == [
        True,
        True,
        True,
        False,
    ]
    few = Replays(entries=10)
    for number in range(100):
        few.begin(("a", str(number)), b"body")
    assert len(few._seen) == 10


def test_after_minutes_it_is_gone() -> None:
    now = [0.0]
    replays = Replays(seconds=60, clock=lambda: now[0])
    for number in range(3):
        now[0] = 30.0 * number
        replays.begin(("a", str(number)), b"body")
        replays.finish(("a", str(number)), b"answer")
    now[0] = 61.0
    assert [replays.begin(("a", str(number)), b"body") for number in range(3)] == ["new", b"answer", b"answer"]
    now[0] = 200.0
    replays.begin(("b", "1"), b"body")
    assert len(replays._seen) == 1


def test_at_most_so_many_pass_in_any_second() -> None:
    passed: list[float] = []

    async def run() -> None:
        pace = Pace(20)

        async def one() -> None:
            await pace.wait()
            passed.append(asyncio.get_running_loop().time())

        await asyncio.gather(*(one() for _ in range(45)))

    asyncio.run(run())
    assert all(later - earlier > 0.95 for earlier, later in zip(passed, passed[20:], strict=False))
    assert passed[19] - passed[0] < 0.5


def test_an_answer_is_kept_and_a_trouble_that_passes_is_not() -> None:
    replays = Replays()
    for code, kept in (("encrypted", True), ("busy", False), ("deadline", False), ("internal", False)):
        replays.begin(("a", code), b"body")
        data = replays.settle(("a", code), refusal(code, "porch", code, "why"))  # type: ignore[arg-type]
        assert replays.begin(("a", code), b"body") == (data if kept else "new")
