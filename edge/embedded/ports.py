"""Loopback ports and Unix sockets: finding free ports, and checking who listens."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from pathlib import Path

LOOPBACK = "127.0.0.1"
_OURS = 20_000, 32_768  # from 32,768 on, the system hands out ports itself (ip(7))


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


def replies(port: int, timeout: float = 0.5) -> bool:
    """Whether an HTTP server at `port` says anything: one that we hold accepts connections before its server does."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout) as probe:
            probe.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return probe.recv(1) != b""
    except OSError:
        return False


def listens(pid: int, port: int) -> bool:
    """Whether process `pid` itself accepts connections on `port`, not another one."""
    address = f"0100007F:{port:04X}"  # proc(5): 127.0.0.1 in host byte order; state 0A is LISTEN
    rows = _rows("/proc/net/tcp")
    return _holds_any(pid, {row[9] for row in rows if row[1] == address and row[3] == "0A"})


def listens_at(pid: int, path: Path) -> bool:
    """Whether process `pid` itself accepts connections on the Unix socket `path`, not another one."""
    rows = _rows("/proc/net/unix")  # proc(5): bit 16 of the flags says that it accepts connections
    return _holds_any(pid, {row[6] for row in rows if row[7:] == [str(path)] and int(row[3], 16) & 0x10000})


def _rows(table: str) -> list[list[str]]:
    try:
        return [line.split() for line in Path(table).read_text(encoding="utf-8", errors="replace").splitlines()[1:]]
    except OSError:
        return []


def _holds_any(pid: int, inodes: set[str]) -> bool:
    """Whether one of the sockets with these inodes is the process's."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    try:
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir()) if wanted else []
    except OSError:
        return False
    for descriptor in descriptors:
        with contextlib.suppress(OSError):  # closed meanwhile
            if str(descriptor.readlink()) in wanted:
                return True
    return False


def _any_free() -> int:
    """A port that the system does not hand out itself: it could give the same one away before our server listens."""
    while not is_free(port := random.randrange(*_OURS)):  # noqa: S311 - no secret
        pass
    return port
