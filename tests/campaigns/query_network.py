"""Queries over Ably while the network misbehaves:

`python -m tests.campaigns.query_network [FAULT...] [--seconds 180]`.

Four clients ask all the time. Whatever happens, every question ends in its answer or at its deadline, no answer reaches
anybody else, and once the fault is over answers come again. Exit code 0 when that held.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

from aiohttp import web

from edge.configuration.settings import Secret
from edge.core.errors import DoorError
from edge.core.instant import Instant
from query_service.client.ably import AblyClient
from query_service.doors.ably import AblyDoor
from query_service.loopback.connections import ServerLimits
from query_service.loopback.server import RealtimeServer
from query_service.queries.protocol import Answer, Request, new_id
from query_service.queries.values import ErrorAnswer, refusal
from query_service.realtime.link import Link
from query_service.realtime.tokens import client_token, new_api_key, node_token

CLIENTS = 4
DEADLINE = 8.0  # seconds of each question
GRACE = 2.0  # more than its deadline no question may take
BACK_WITHIN = 80.0  # seconds from the end of the fault: the door tries at least every minute


class Ended(NamedTuple):
    """How one question ended."""

    at: float  # monotonic
    took: float
    answered: bool


class Scene:
    """One server on one port, one node, `CLIENTS` who ask; the fault is done to it."""

    def __init__(self, token_seconds: int = 3_600) -> None:
        self.key: Secret = new_api_key()
        self.token_seconds = token_seconds
        self.port = 0
        self.server: RealtimeServer | None = None
        self.ended: list[Ended] = []
        self.answered_by_node: set[str] = set()
        self.faults: list[str] = []

    async def start_server(self) -> None:
        # it does not ask for new tokens: who holds one must renew it in time
        self.server = RealtimeServer(self.key, self.port, limits=ServerLimits(reauth_seconds=0))
        await self.server.start()
        self.port = self.server.port

    async def stop_server(self) -> None:
        if self.server is not None:
            await self.server.stop()
        self.server = None

    async def answer(self, request: Request, client: str) -> Answer:
        self.answered_by_node.add(request.id)
        return refusal(request.id, "porch", "encrypted", request.id)

    async def serve(self) -> None:
        def token() -> str:
            return node_token(self.key, "porch", self.token_seconds, _now())

        await AblyDoor(
            "porch", self.answer, lambda: Link(f"127.0.0.1:{self.port}", token, self.token_seconds, 5.0)
        ).run()

    async def ask_for_ever(self, name: str) -> None:
        """As a program does: it opens a door, and another one when that is lost."""
        while True:
            door = AblyClient(
                f"127.0.0.1:{self.port}",
                "porch",
                name,
                lambda: client_token(self.key, name, self.token_seconds, _now()),
                self.token_seconds,
            )
            with contextlib.suppress(DoorError):
                await door.open(5.0)
                await self._ask_through(door)
            await door.close()
            await asyncio.sleep(0.5)

    async def _ask_through(self, door: AblyClient) -> None:
        try:
            while True:
                await self._ask_once(door)
                await asyncio.sleep(0.1)
        finally:
            await door.close()

    async def _ask_once(self, door: AblyClient) -> None:
        request = Request(id=new_id(), type="status")
        began = time.monotonic()
        answered = False
        try:
            answer = await door.query(request, DEADLINE)
            answered = True
            if not isinstance(answer, ErrorAnswer) or answer.id != request.id or answer.error.message != request.id:
                self.faults.append(f"{request.id} was answered with {answer}")
        finally:
            took = time.monotonic() - began
            self.ended.append(Ended(time.monotonic(), took, answered))
            if took > DEADLINE + GRACE:
                self.faults.append(f"{request.id} took {took:.1f} s")


Fault = Callable[[Scene, float], Awaitable[None]]


async def outage(scene: Scene, seconds: float) -> None:
    """Nobody listens on the port."""
    await scene.stop_server()
    await asyncio.sleep(seconds)
    await scene.start_server()


async def errors(scene: Scene, seconds: float) -> None:
    """Whoever connects gets a 500."""
    await scene.stop_server()

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=500, text="no")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", refuse)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", scene.port).start()
    await asyncio.sleep(seconds)
    await runner.cleanup()
    await scene.start_server()


async def resets(scene: Scene, seconds: float) -> None:
    """Ten times a second every socket breaks; every third time nothing can be resumed."""
    for turn in range(round(seconds * 10)):
        if scene.server is not None:
            scene.server.cut_sockets(forget=turn % 3 == 2)
        await asyncio.sleep(0.1)


async def expiry(scene: Scene, seconds: float) -> None:
    """Tokens live for three seconds only."""
    await asyncio.sleep(seconds)


FAULTS: dict[str, Fault] = {"outage": outage, "errors": errors, "resets": resets, "expiry": expiry}


async def play(name: str, seconds: float) -> list[str]:
    """One fault from begin to end; what was wrong."""
    scene = Scene(3 if name == "expiry" else 3_600)
    await scene.start_server()
    async with _running(scene):
        await _answered_after(scene, time.monotonic(), 15.0)
        began = time.monotonic()
        await FAULTS[name](scene, seconds)
        over = time.monotonic()
        back = await _answered_after(scene, over, BACK_WITHIN)
    await scene.stop_server()
    during = [ended for ended in scene.ended if began <= ended.at <= over]
    answered = sum(ended.answered for ended in during)
    if name == "expiry" and answered < len(during):
        scene.faults.append(f"{len(during) - answered} questions were not answered although nothing was broken")
    print(  # noqa: T201
        f"{name}: {seconds:g} s, {len(scene.ended)} questions, {sum(ended.answered for ended in scene.ended)} answered;"
        f" meanwhile {answered} of {len(during)}; the slowest ended after"
        f" {max(ended.took for ended in scene.ended):.1f} s; answers again {back:.1f} s after it",
        flush=True,
    )
    return scene.faults


@contextlib.asynccontextmanager
async def _running(scene: Scene) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(scene.serve())]
    tasks += [asyncio.create_task(scene.ask_for_ever(f"client-{number}")) for number in range(CLIENTS)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _answered_after(scene: Scene, moment: float, patience: float) -> float:
    """Seconds until somebody was answered again."""
    while time.monotonic() < moment + patience:
        for ended in reversed(scene.ended):
            if ended.answered and ended.at - ended.took >= moment:
                return ended.at - moment
        await asyncio.sleep(0.05)
    scene.faults.append(f"no answer within {patience:g} s")
    return patience


def _now() -> Instant:
    return Instant.from_seconds(time.time())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=f"of {', '.join(FAULTS)} (default: all)")
    parser.add_argument("--seconds", type=float, help="how long each lasts (outage 180, the others 6 to 30)")
    args = parser.parse_args()
    if unknown := set(args.faults) - FAULTS.keys():
        parser.error(f"no such fault: {', '.join(unknown)}")
    usual = {"outage": 180.0, "errors": 30.0, "resets": 6.0, "expiry": 20.0}
    wrong = [fault for name in args.faults or FAULTS for fault in asyncio.run(play(name, args.seconds or usual[name]))]
    for fault in wrong:
        print(f"WRONG: {fault}", file=sys.stderr)  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
