"""The instance id distinguishes two nodes with the same name, even if one's card is a copy of the other's.

Its first half is random and kept on disk. Its second half is derived from the board, which no copy of the disk carries
along (/etc/machine-id is copied). It is worked out at each start, so a new board makes a new instance of the same card.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import secrets
from pathlib import Path

from edge.core.files import write_atomically

_SYS = Path("/sys")
_PERMANENT = "0"  # NET_ADDR_PERM: addr_assign_type of an address that the hardware has


def load_instance_id(folder: Path, sys: Path = _SYS) -> str:
    """`5f0c2a9be1d34c77-9d3e01ab`: what is stored in `folder`, and the board; without a board id, the former alone.

    The stored half is created on first use, once even by concurrent processes. Raises OSError.
    """
    stored, board = _load(folder), board_id(sys)
    # hashed together: the serial number stays private
    return f"{stored}-{hashlib.sha256(f'{stored} {board}'.encode()).hexdigest()[:8]}" if board else stored


def is_copied_card(one: str, other: str) -> bool:
    """Whether two instance ids are those of one disk's content on two boards."""
    return one != other and one.partition("-")[0] == other.partition("-")[0]


def board_id(sys: Path = _SYS) -> str:
    """The board's serial number, else the machine's DMI UUID, else a network card's address; empty if there is none."""
    for path in ("firmware/devicetree/base/serial-number", "class/dmi/id/product_uuid"):
        found = _text(sys / path)
        if found.strip("0-"):  # some boards have nothing but zeros
            return found
    cards = sorted((sys / "class/net").glob("*/device"))
    permanent = [card.parent for card in cards if _text(card.parent / "addr_assign_type") == _PERMANENT]
    return min(filter(None, (_text(card / "address") for card in permanent)), default="")


def _load(folder: Path) -> str:
    path = folder / "instance"
    if stored := _read(path):
        return stored
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    with (folder / ".instance.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stored := _read(path):  # another process was first
            return stored
        created = secrets.token_hex(8)
        write_atomically(path, created.encode())
        return created


def _read(path: Path) -> str | None:
    """None if it is missing or damaged."""
    stored = _text(path)
    return stored if re.fullmatch(r"[0-9a-f]{16}", stored) else None


def _text(path: Path) -> str:
    """Empty if it cannot be read."""
    try:
        return path.read_text(encoding="ascii").strip("\0 \n")  # the device tree ends strings with a zero byte
    except (OSError, UnicodeDecodeError):
        return ""
