"""The broker of `imhearing up`, by itself: a socket, and an account for each role."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from commands.up.own_broker import broker_settings, prepare_broker
from edge.configuration.settings import Mqtt
from edge.embedded import ports
from edge.embedded.child import Child
from edge.messaging.access import Account, Passwords, new_passwords, user_of
from tests.support.wait import wait_until

NODE = "porch"


class OwnBroker(NamedTuple):
    folder: Path
    settings: Mqtt
    passwords: Passwords
    pid: int

    @property
    def socket(self) -> Path:
        return Path(self.settings.socket_path or "")

    @property
    def overrides(self) -> list[str]:
        """What a service needs to log in, as `--set` takes it."""
        services = {account: password for account, password in self.passwords.items() if account != "viewer"}
        passwords = [f"mqtt.{account}_password={password}" for account, password in services.items()]
        return [f"mqtt.host={self.settings.host}", f"mqtt.username={self.settings.username}", *passwords]

    def login(self, account: Account) -> tuple[Path, str, str]:
        """Where, as whom and with which password to connect."""
        return self.socket, user_of(account, NODE), self.passwords[account]


@contextlib.contextmanager
def running_own_broker() -> Iterator[OwnBroker]:
    """Yields the broker of a node `porch`, without any state."""
    with tempfile.TemporaryDirectory(prefix="imhearing-own-") as scratch:
        folder, passwords = Path(scratch), new_passwords()
        settings = broker_settings(NODE, folder, "homeassistant", passwords)
        child = Child(prepare_broker(NODE, folder, settings, passwords, folder / "broker.log"))
        broker = OwnBroker(folder, settings, passwords, child.pid)
        try:
            wait_until(
                lambda: ports.listens_at(child.pid, broker.socket) or child.exit_code() is not None,
                "the broker listens",
            )
            assert child.exit_code() is None, child.last_lines()
            yield broker
        finally:
            child.terminate()
            child.end(5)
