"""Turns: one question at a time, and each client in its turn."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from query_service.answer.turns import Turns
from tests.support.wait import DEADLINE


class Desk:
    """Turns whose first work waits until `go_on`; `done` lists whose work was done, in order."""

    def __init__(self) -> None:
        self.turns = Turns(ThreadPoolExecutor(1))
        self.done: list[str] = []
        self.go_on = threading.Event()

    async def ask(self, client: str) -> None:
        await self.turns.run(client, lambda: self.done.append(client))

    async def hold(self) -> asyncio.Task[None]:
        def wait() -> None:
            assert self.go_on.wait(DEADLINE)

        held = asyncio.create_task(self.turns.run("first", wait))
        await asyncio.sleep(0)
        return held


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.turns.close()


def test_a_client_with_many_questions_does_not_keep_another_one_waiting(desk: Desk) -> None:
    async def run() -> None:
        held = await desk.hold()
        asking = [asyncio.create_task(desk.ask("ann")) for _ in range(5)]
        await asyncio.sleep(0)
        asking += [asyncio.create_task(desk.ask(name)) for name in ("bob", "eve", "bob")]
        await asyncio.sleep(0)
        desk.go_on.set()
        async with asyncio.timeout(DEADLINE):
            await asyncio.gather(held, *asking)

    asyncio.run(run())
    assert desk.done == ["ann", "bob", "eve", "ann", "bob", "ann", "ann", "ann"]


def test_the_turn_of_a_client_that_left_passes_to_the_next(desk: Desk) -> None:
    async def run() -> None:
        held = await desk.hold()
        leaving, staying = asyncio.create_task(desk.ask("ann")), asyncio.create_task(desk.ask("bob"))
        await asyncio.sleep(0)
        leaving.cancel()
        held.cancel()  # its work goes on in the thread
        await asyncio.sleep(0)
        assert desk.done == []
        desk.go_on.set()
        async with asyncio.timeout(DEADLINE):
            await staying
            await desk.ask("eve")

    asyncio.run(run())
    assert desk.done == ["bob", "eve"]


def test_work_that_fails_ends_its_turn(desk: Desk) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    async def run() -> None:
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await desk.turns.run("ann", fail)
        await desk.ask("ann")

    asyncio.run(run())
    assert desk.done == ["ann"]
