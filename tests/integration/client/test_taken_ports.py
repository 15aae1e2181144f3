"""Another user of the machine listens where the node's servers used to: no token is sent there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.configuration.settings import Ably, Http, Secret, Settings
from edge.core.errors import DoorError
from edge.core.instant import Instant
from edge.core.listeners import listener_users, trusted_users
from query_service import api
from query_service.loopback.server import RealtimeServer
from query_service.realtime.link import Link
from query_service.realtime.tokens import client_token, new_api_key
from tests.support.privileges import NOBODY, without_root_privileges
from tests.support.wait import DEADLINE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")


class Trap:
    """A server of another user's, and what arrives there."""

    def __init__(self, port: int = 0) -> None:
        with without_root_privileges():
            self.socket = socket.create_server(("127.0.0.1", port))
        self.port = int(self.socket.getsockname()[1])
        self.heard = bytearray()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self.socket.accept()
                with peer, contextlib.suppress(OSError):
                    peer.settimeout(1)
                    self.heard += peer.recv(65_536)


@pytest.fixture
def trap() -> Iterator[Trap]:
    made = Trap()
    yield made
    made.socket.close()


def settings_for(trap: Trap, folder: Path) -> Settings:
    made = Settings()
    return replace(
        made,
        node=replace(made.node, name="porch"),
        catalog=replace(made.catalog, db_path=folder / "catalog.db"),
        ably=Ably(api_key=new_api_key(), endpoint=f"127.0.0.1:{trap.port}"),
        http=Http(port=trap.port, token=Secret("0123456789abcdef")),
    )


@pytest.mark.parametrize("via", ["ably", "http"])
def test_no_token_is_sent_to_a_server_of_another_user(trap: Trap, tmp_path: Path, via: api.Via) -> None:
    with pytest.raises(DoorError, match=r"a program of another user \(nobody\) listens there, so no token was sent"):
        api.query(settings_for(trap, tmp_path), via, type="status", timeout=DEADLINE)
    assert bytes(trap.heard) == b""


class CountedUsers(list[int]):
    """Users, and how often somebody wanted to know them."""

    def __init__(self, users: set[int]) -> None:
        super().__init__(users)
        self.reads = 0

    def __iter__(self) -> Iterator[int]:
        self.reads += 1
        return super().__iter__()


def test_a_client_that_connects_again_sends_its_token_to_no_stranger_either() -> None:
    key, trusted = new_api_key(), CountedUsers(trusted_users(Path("/nowhere")))

    def token() -> str:
        return client_token(key, "ann", 3_600, Instant.from_seconds(time.time()))

    async def run() -> None:
        server = RealtimeServer(key)
        await server.start()
        link = Link(server.endpoint, token, 3_600, trusted=trusted)
        await link.open(DEADLINE)
        await server.stop()
        trap = Trap(server.port)
        try:
            reads = trusted.reads
            async with asyncio.timeout(DEADLINE):
                while trusted.reads < reads + 2:  # it has tried twice
                    await asyncio.sleep(0.05)
            assert bytes(trap.heard) == b""
        finally:
            await link.close()
            trap.socket.close()

    asyncio.run(run())


def test_the_user_of_a_listener_is_found(trap: Trap) -> None:
    assert listener_users(trap.port) == {NOBODY}
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as ours:
        port = ours.getsockname()[1]
        assert listener_users(port) == {0}
    assert listener_users(port) == set()
