"""The broker that `imhearing up` starts: an account for each role, on a socket that only the owner can reach."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import stat
import tempfile
from pathlib import Path

from edge.configuration.settings import UNIX, Mqtt, Secret
from edge.core.errors import ImHearingError
from edge.core.files import write_atomically
from edge.embedded.child import ProcessSpec
from edge.embedded.servers import broker_process
from edge.messaging.access import Account, Passwords, acl_text, password_text, user_of
from edge.messaging.broker_configuration import own_broker
from edge.messaging.topics import HOME_ASSISTANT

_PEOPLE: tuple[Account, ...] = ("viewer", "control", "page")  # who runs Mosquitto's programs
_PROGRAMS = ("mosquitto_sub", "mosquitto_pub", "mosquitto_rr")


def passwords_of(settings: Mqtt, kept: Passwords, new: Passwords) -> Passwords:
    """Those that the settings name, else those of the last start, else new ones."""
    chosen = {account: getattr(settings, f"{account}_password", Secret()).reveal() for account in new}
    return {account: chosen[account] or kept.get(account, new[account]) for account in new}


def broker_settings(node: str, folder: Path, discovery: str, passwords: Passwords) -> Mqtt:
    """How the services reach the broker whose files are in `folder`."""
    return Mqtt(
        host=f"{UNIX}{_socket_folder(folder) / 'mqtt.sock'}",
        username=f"{node}-{{role}}",
        recorder_password=Secret(passwords["recorder"]),
        archiver_password=Secret(passwords["archiver"]),
        query_password=Secret(passwords["query"]),
        control_password=Secret(passwords["control"]),
        page_password=Secret(passwords["page"]),
        discovery=discovery,
    )


def prepare_broker(node: str, folder: Path, settings: Mqtt, passwords: Passwords, log: Path) -> ProcessSpec:
    """Writes the broker's files to `folder`."""
    path = settings.socket_path or ""
    write_logins(folder, node, f"--unix {path}", passwords)
    for name, text in (
        ("acl", acl_text(node, settings.discovery or HOME_ASSISTANT)),
        ("passwords", password_text(node, passwords)),
    ):
        write_atomically(folder / name, text.encode(), 0o600)
    return broker_process(folder, own_broker(path, str(folder), str(folder), tls_port=None), Path(path), log)


def write_logins(folder: Path, node: str, reach: str, passwords: Passwords) -> None:
    """Writes a folder for each of _PEOPLE to `folder`: $XDG_CONFIG_HOME for Mosquitto's programs to log in as these.

    `reach`: their options for the broker's address, one a line.
    """
    for account in _PEOPLE:
        (folder / account).mkdir(mode=0o700, exist_ok=True)
        text = f"{reach}\n-u {user_of(account, node)}\n-P {passwords[account]}\n"
        for program in _PROGRAMS:
            write_atomically(folder / account / program, text.encode(), 0o600)


def viewer_command(node: str, folder: Path, settings: Mqtt, topic: str) -> list[str]:
    """The `mosquitto_sub` that shows `topic`, without the password on its command line."""
    reach = ["mosquitto_sub", "--unix", settings.socket_path or "", "-u", user_of("viewer", node)]
    return ["env", f"XDG_CONFIG_HOME={folder / 'viewer'}", *reach, "-v", "-t", topic]


def _socket_folder(folder: Path) -> Path:
    """`folder`, unless a socket there cannot be used; then a folder of ours with a short path.

    The kernel limits its path to 107 bytes, Mosquitto's configuration knows no spaces, FAT has neither sockets nor
    owners.
    """
    if not any(character.isspace() for character in str(folder)) and _is_private(folder) and _can_hold_socket(folder):
        return folder
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"imhearing-{os.geteuid()}-{digest}"
    with contextlib.suppress(FileExistsError):
        short.mkdir(mode=0o700)
    if not _is_private(short):
        raise ImHearingError(f"{short}: belongs to somebody else; use a shorter path without spaces with --data")
    return short


def _is_private(folder: Path) -> bool:
    """Whether nobody else can put a socket of theirs there."""
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def _can_hold_socket(folder: Path) -> bool:
    probe = folder / "probe.sock"  # as long as the real one
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            probe.unlink(missing_ok=True)
            listener.bind(str(probe))
            probe.unlink()
        except OSError:
            return False
    return True
