"""A real Mosquitto set up by `imhearing broker-setup` (TLS, users, ACL), and an account `admin` with all rights."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import imhearing
from edge.embedded import ports
from edge.embedded.child import Child, ProcessSpec
from edge.embedded.servers import find_mosquitto
from edge.messaging.broker_configuration import shared_broker
from tests.support.wait import DEADLINE, wait_until

ADMIN_PASSWORD = "open sesame"


class SecureBroker(NamedTuple):
    folder: Path
    port: int  # loopback, without TLS
    tls_port: int
    websocket_port: int
    passwords: dict[str, str]  # by user

    @property
    def ca_file(self) -> str:
        return str(self.folder / "ca.crt")


@contextlib.contextmanager
def secure_broker(node: str = "porch") -> Iterator[SecureBroker]:
    """Yields the broker of `node`, without any state."""
    with tempfile.TemporaryDirectory(prefix="imhearing-secure-") as scratch:
        folder = Path(scratch)
        set_up(folder, node)
        passwords = read_passwords(folder, node)
        broker = SecureBroker(folder, ports.choose(None), ports.choose(None), ports.choose(None), passwords)
        _add_admin(folder)
        config = folder / "test.conf"
        config.write_text(_configuration(broker))
        child = Child(ProcessSpec("broker", (find_mosquitto(), "-c", str(config)), folder / "broker.log"))
        try:
            wait_until(lambda: ports.answers(broker.tls_port) or child.exit_code() is not None, "the broker answers")
            assert child.exit_code() is None, child.last_lines()
            yield broker
        finally:
            child.terminate()
            child.end(5)


def set_up(folder: Path, node: str, *options: str) -> str:
    """Runs `imhearing broker-setup` into `folder`; returns its output."""
    command = [sys.executable, imhearing.__file__, "broker-setup", "--into", str(folder), *options]
    done = subprocess.run(
        [*command, "--set", f"node.name={node}"], check=True, capture_output=True, text=True, timeout=DEADLINE
    )
    return done.stdout + done.stderr


def read_passwords(folder: Path, node: str) -> dict[str, str]:
    """The passwords of the node's services, as written for its config.ini; the viewer's is replaced."""
    lines = dict(
        line.split(" = ", 1) for line in (folder / "mqtt.ini").read_text().splitlines() if "_password = " in line
    )
    passwords = {f"{node}-{key.removesuffix('_password')}": value for key, value in lines.items()}
    viewer = f"{node}-viewer"
    subprocess.run(["mosquitto_passwd", "-b", folder / "passwords", viewer, "look"], check=True, capture_output=True)
    return {**passwords, viewer: "look", "admin": ADMIN_PASSWORD}


def _add_admin(folder: Path) -> None:
    command = ["mosquitto_passwd", "-b", str(folder / "passwords"), "admin", ADMIN_PASSWORD]
    subprocess.run(command, check=True, capture_output=True)
    with (folder / "acl").open("a") as acl:
        acl.write("\nuser admin\ntopic readwrite #\n")


def _configuration(broker: SecureBroker) -> str:
    folder = broker.folder
    text = shared_broker(str(folder), str(folder), broker.port, broker.tls_port)
    listener = text[text.index(f"listener {broker.tls_port}") : text.index("# Through a web proxy")]
    web = listener.replace(str(broker.tls_port), f"{broker.websocket_port} 127.0.0.1\nprotocol websockets")
    text = text.replace(f"listener {broker.tls_port}\n", f"listener {broker.tls_port} 127.0.0.1\n")
    # started by root, Mosquitto would change its user and could not read this folder
    return text + web + ("user root\n" if os.geteuid() == 0 else "")
