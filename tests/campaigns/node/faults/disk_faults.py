"""Faults of the disk that the node's folder is on. Filling and remounting it needs root."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time

from tests.campaigns.node.faults.effects import Effect
from tests.campaigns.node.node import Node
from tests.campaigns.node.plan import Fault

_BLOCK = bytes(256 * 1024)
_ATTEMPTS_SECONDS = 1.0


def full_disk(node: Node, fault: Fault) -> Effect:
    """A file takes what is free, again and again."""
    if not node.own_disk or not node.disk_in_use.acquire(blocking=False):
        return None
    filler, end, was_full = node.data / "filler", time.monotonic() + fault.seconds, False
    try:
        with filler.open("ab", buffering=0) as file:
            while time.monotonic() < end:
                with contextlib.suppress(OSError):
                    while True:
                        file.write(_BLOCK)
                was_full |= os.statvfs(node.data).f_bavail * os.statvfs(node.data).f_frsize < len(_BLOCK)
                time.sleep(0.1)
    except OSError:
        return None
    finally:
        filler.unlink(missing_ok=True)
        node.disk_in_use.release()
    return {} if was_full else None


def read_only_disk(node: Node, fault: Fault) -> Effect:
    """As after a file system error: whoever writes is killed, as the kernel does not remount what is being written."""
    if not node.own_disk or not node.disk_in_use.acquire(blocking=False):
        return None
    try:
        killed = []
        for name in ("recorder", "archiver"):
            node.processes[name].hold_back(_ATTEMPTS_SECONDS)
            if node.processes[name].kill():
                killed.append(name)
        end, mounted = time.monotonic() + _ATTEMPTS_SECONDS, False
        while not mounted and time.monotonic() < end:
            mounted = _remount(node, "ro")
        if mounted:
            time.sleep(fault.seconds)
            _remount(node, "rw")
        return {"killed": killed, "read_only": mounted} if mounted or killed else None
    finally:
        node.disk_in_use.release()


def unreadable_disk(node: Node, fault: Fault) -> Effect:
    """The spool folder, or all of the node's, has mode 000 for a while."""
    if not node.disk_in_use.acquire(blocking=False):
        return None
    folder = node.spool if fault.value == "spool" else node.data
    try:
        mode = folder.stat().st_mode & 0o7777
        folder.chmod(0)
        time.sleep(fault.seconds)
        folder.chmod(mode)
    finally:
        node.disk_in_use.release()
    return {}


def _remount(node: Node, how: str) -> bool:
    command = ["mount", "-o", f"remount,{how}", str(node.data)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
