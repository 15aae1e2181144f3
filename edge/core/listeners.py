"""Whose server listens on a port of this machine: any local user can take a port that a server has just left."""

from __future__ import annotations

import os
import pwd
from collections.abc import Collection
from pathlib import Path

from edge.core.errors import DoorError

_QUERY_SERVICE = "imhearing-query"  # its user on an installed node
# proc(5): addresses in host byte order, 127.0.0.1 and 0.0.0.0; ::, ::1 and ::ffff:127.0.0.1
_ADDRESSES = ("0100007F", "00000000", "0" * 32, f"{'0' * 24}01000000", f"{'0' * 16}FFFF00000100007F")
_LISTEN = "0A"


def listener_users(port: int) -> set[int]:
    """The users whose servers accept connections on loopback `port`; none where nobody listens."""
    wanted = {f"{address}:{port:04X}" for address in _ADDRESSES}
    rows = [*_rows("tcp"), *_rows("tcp6")]
    return {int(row[7]) for row in rows if row[1] in wanted and row[3] == _LISTEN}


def trusted_users(data_dir: Path) -> set[int]:
    """Who may serve the node whose data folder this is: root, its owner, we ourselves, and its query service."""
    users = {0, os.geteuid()}
    try:
        users.add(data_dir.stat().st_uid)
        users.add(pwd.getpwnam(_QUERY_SERVICE).pw_uid)
    except (OSError, KeyError):  # no folder here; not installed
        pass
    return users


def refuse_strangers(port: int, trusted: Collection[int]) -> None:
    """DoorError where somebody else listens on loopback `port`: nothing secret may be sent there."""
    strangers = sorted(listener_users(port) - set(trusted))
    if strangers:
        raise DoorError(
            f"127.0.0.1:{port}: a program of another user ({_name(strangers[0])}) listens there, so no token was sent;"
            " is the node running?"
        )


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _rows(table: str) -> list[list[str]]:
    try:
        text = Path(f"/proc/net/{table}").read_text(encoding="ascii", errors="replace")
    except OSError:
        return []
    return [line.split() for line in text.splitlines()[1:]]
