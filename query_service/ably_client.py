"""The client's side of the Ably door: asks a node anywhere, again with the same id when it stays silent."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable

from edge import wire
from edge.errors import DoorError, WireError
from edge.names import is_client_id
from query_service.ably_link import Delivery, Link
from query_service.protocol import Answer, Request, read_answer
from query_service.tokens import REPLIES, REQUESTS

log = logging.getLogger(__name__)

_FIRST_PATIENCE = 2.0  # seconds until a silent node is asked again; then twice that, and so on


def new_client_id() -> str:
    return f"cli-{secrets.token_hex(8)}"


class AblyClient:
    """One connection that asks `node`. `make_token` gives a client token for `client_id`. Raises DoorError."""

    def __init__(
        self, endpoint: str, node: str, client_id: str, make_token: Callable[[], str], token_seconds: float = 3_600
    ) -> None:
        if not is_client_id(client_id):
            raise DoorError(f"client id {client_id[:70]!r}: allowed are A-Z, a-z, 0-9, _ and -, 1 to 64 of them")
        self.node = node
        self._replies = f"{REPLIES}{client_id}"
        self._link = Link(endpoint, make_token, token_seconds)
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
        self._keeper: asyncio.Task[None] | None = None

    async def open(self, timeout: float = 10.0) -> None:
        """Connects and listens for answers."""
        try:
            await self._link.open(timeout)
            await self._link.subscribe(self._replies, self._receive, timeout=timeout)
        except DoorError:
            await self._link.close()
            raise
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        await self._link.close()

    async def ask(self, request: Request, timeout: float = 10.0) -> Answer:
        """The first answer to `request`; DoorError that names the node when none comes within `timeout` seconds."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[request.id] = future
        problem: DoorError | None = None
        try:
            async with asyncio.timeout(timeout) as limit:
                patience = _FIRST_PATIENCE
                while True:
                    problem = await self._send(request, limit.when() or 0.0)
                    done, _ = await asyncio.wait([future], timeout=patience if problem is None else 0.5)
                    if done:
                        return future.result()
                    patience *= 2
        except TimeoutError:
            reason = f" ({problem})" if problem else "; is it running, and is the name right?"
            raise DoorError(f"node {self.node} gave no answer within {timeout:g} s{reason}") from None
        finally:
            self._waiting.pop(request.id, None)

    async def _send(self, request: Request, ends_at: float) -> DoorError | None:
        left = max(0.1, ends_at - asyncio.get_running_loop().time())
        headers = {"id": request.id, "v": 1, "deadline": round(left, 3)}
        try:
            await self._link.publish(f"{REQUESTS}{self.node}", "query", wire.encode(request), headers, timeout=left)
        except DoorError as problem:
            return problem  # it may have arrived all the same
        return None

    def _receive(self, delivery: Delivery) -> None:
        try:
            answer = read_answer(delivery.data)
        except WireError as problem:
            log.warning("an answer that cannot be read: %s", problem)
            return
        future = self._waiting.get(answer.id)
        if future is not None and not future.done():
            future.set_result(answer)

    async def _keep(self) -> None:
        try:
            await self._link.keep()
        except DoorError as problem:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(problem)
