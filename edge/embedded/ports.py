"""Loopback ports: finding free ones, and checking who listens."""

from __future__ import annotations

import socket
import time
from pathlib import Path

LOOPBACK = "127.0.0.1"


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on `port` at this local address now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # as servers do: a port in TIME_WAIT is free
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def choose(preferred: int | None, taken: frozenset[int] = frozenset(), timeout: float = 0.0) -> int:
    """`preferred` if it becomes free within `timeout` seconds, else another free port."""
    deadline = time.monotonic() + timeout
    while preferred is not None and preferred not in taken:
        if is_free(preferred):
            return preferred
        if time.monotonic() >= deadline:
            break
        time.sleep(0.05)
    while (port := _any_free()) in taken:
        pass
    return port


def answers(port: int, timeout: float = 0.2) -> bool:
    """Whether any process accepts connections on `port`."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout):
            return True
    except OSError:
        return False


def listens(pid: int, port: int) -> bool:
    """Whether process `pid` itself accepts connections on `port`, not another one."""
    try:
        lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
        sockets = {str(descriptor.readlink()) for descriptor in Path(f"/proc/{pid}/fd").iterdir()}
    except OSError:
        return False
    address = f"0100007F:{port:04X}"  # proc(5): 127.0.0.1 in host byte order; state 0A is LISTEN
    fields = (line.split() for line in lines)
    return any(row[1] == address and row[3] == "0A" and f"socket:[{row[9]}]" in sockets for row in fields)


def _any_free() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
