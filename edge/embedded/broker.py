"""Mosquitto as a child: an MQTT broker for this machine alone, where `[mqtt] host` names none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from edge.core.errors import ImHearingError
from edge.core.files import write_atomically
from edge.embedded.child import Part
from edge.embedded.ports import LOOPBACK

# Debian puts servers where an ordinary user's PATH does not look
_ALSO = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")


def find_mosquitto(path: str | None = None) -> str:
    """Where Mosquitto is installed; `path` instead of $PATH."""
    search = os.environ.get("PATH", os.defpath) if path is None else path
    found = shutil.which("mosquitto", path=os.pathsep.join([search, *(_ALSO if path is None else ())]))
    if found is None:
        raise ImHearingError(
            "Mosquitto, the MQTT broker, is not installed; run scripts/setup, or name a broker with"
            " --set mqtt.host=HOST"
        )
    return found


def broker_part(port: int, folder: Path, log: Path) -> Part:
    """A broker on loopback `port` that keeps what is retained in `folder`; writes its configuration there."""
    program = find_mosquitto()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    configuration = folder / "mosquitto.conf"
    write_atomically(configuration, _configuration(port, folder).encode(), 0o600)
    return Part("broker", (program, "-c", str(configuration)), log, port=port)


def _configuration(port: int, folder: Path) -> str:
    lines = [
        "# written by imhearing at each start",
        f"listener {port} {LOOPBACK}",
        "allow_anonymous true",  # it listens on loopback only
        "max_packet_size 262144",
        "set_tcp_nodelay true",  # else an answer waits 40 ms for an acknowledgement
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
        # Mosquitto would change its user, which takes it off the leash and from its own folder
        lines.append("user root")
    return "\n".join(lines) + "\n"
