"""Mosquitto as a child process: an MQTT broker for this machine only, if `[mqtt] host` is empty."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from edge.core.errors import ImHearingError
from edge.core.files import write_atomically
from edge.embedded.child import ProcessSpec
from edge.embedded.ports import LOOPBACK

# Debian installs servers outside an ordinary user's PATH
_SERVER_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")


def find_mosquitto(path: str | None = None) -> str:
    """The path of Mosquitto; searches `path` instead of $PATH if given. ImHearingError."""
    if path is None:
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_SERVER_FOLDERS])
    found = shutil.which("mosquitto", path=path)
    if found is None:
        raise ImHearingError(
            "the MQTT broker Mosquitto is not installed; run scripts/setup, or set another broker with"
            " --set mqtt.host=HOST"
        )
    return found


def broker_process(port: int, folder: Path, log: Path) -> ProcessSpec:
    """A broker on loopback `port`; writes its configuration and stores its retained messages in `folder`."""
    program = find_mosquitto()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    configuration = folder / "mosquitto.conf"
    write_atomically(configuration, _configuration(port, folder).encode(), 0o600)
    return ProcessSpec("broker", (program, "-c", str(configuration)), log, port=port)


def _configuration(port: int, folder: Path) -> str:
    lines = [
        "# written by imhearing at every start",
        f"listener {port} {LOOPBACK}",
        "allow_anonymous true",  # listens on loopback only
        "max_packet_size 262144",
        "set_tcp_nodelay true",  # otherwise an answer waits 40 ms for an acknowledgement
        "persistence true",
        f"persistence_location {folder}/",
        "autosave_interval 60",
        "persistent_client_expiration 1d",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "connection_messages false",
    ]
    if os.geteuid() == 0:
        # Mosquitto would change its user, which clears the parent death signal and denies it its own folder
        lines.append("user root")
    return "\n".join(lines) + "\n"
