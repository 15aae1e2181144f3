"""Faults of processes and servers: killed, stopped, doubled, restarted with other settings, at another time of day."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from pathlib import Path

from tests.campaigns.node.choices import SERVERS, SERVICES
from tests.campaigns.node.faults.effects import Effect
from tests.campaigns.node.node import Node
from tests.campaigns.node.plan import Fault

_POLL_SECONDS = 0.002
_REFUSAL_SECONDS = 15.0  # until a second process of a service has refused to run


def kill(node: Node, fault: Fault) -> Effect:
    killed = [name for name in _targets(fault) if node.processes[name].kill()]
    return {"killed": killed} if killed else None


def stop(node: Node, fault: Fault) -> Effect:
    stopped = [name for name in _targets(fault) if node.processes[name].send(signal.SIGSTOP)]
    time.sleep(fault.seconds)
    for name in stopped:
        node.processes[name].send(signal.SIGCONT)
    return {"stopped": stopped} if stopped else None


def ambush(node: Node, fault: Fault) -> Effect:
    """Kills the target as soon as a new file appears whose name matches `value`, in the node's folder or the store."""
    end, before = time.monotonic() + fault.seconds, _matching(node, fault.value)
    while time.monotonic() < end:
        if new := _matching(node, fault.value) - before:
            at = time.time()
            if node.processes[fault.target].kill():
                return {"killed": [fault.target], "file": sorted(new)[0], "killed_at": at}
        time.sleep(_POLL_SECONDS)
    return None


def second(node: Node, fault: Fault) -> Effect:
    """Another process of the same service, which has to refuse. If the first one is dead, it may take its place: then
    it is killed."""
    process = node.extra_service(fault.target)
    with contextlib.suppress(subprocess.TimeoutExpired):
        return {"exit_code": process.wait(_REFUSAL_SECONDS)}
    process.kill()
    process.wait()
    return {"exit_code": None, "killed": [fault.target]}


def reconfigure(node: Node, fault: Fault) -> Effect:
    """Changes a setting and restarts recorder and archiver with it."""
    key, _, value = fault.value.partition("=")
    node.overrides[key] = value
    node.write_config()
    restarted = [name for name in ("recorder", "archiver") if node.processes[name].send(signal.SIGTERM)]
    return {"restarted": restarted} if restarted else None


def clock(node: Node, fault: Fault) -> Effect:
    """The services' wall clock jumps by `value` seconds, and back."""
    if not node.set_clock(float(fault.value)):
        return None
    time.sleep(fault.seconds)
    node.set_clock(0.0)
    return {}


def broker_db(node: Node, fault: Fault) -> Effect:
    """The broker forgets all retained messages and sessions."""
    if not node.processes["broker"].kill():
        return None
    for path in (node.folder / "broker").glob("mosquitto.db*"):
        path.unlink(missing_ok=True)
    return {"killed": ["broker"]}


def store(node: Node, fault: Fault) -> Effect:
    disturbed = node.store.disturb(fault.target, float(fault.value), fault.seconds, round(fault.at * 100))
    return {"requests": disturbed} if disturbed else None


def _targets(fault: Fault) -> tuple[str, ...]:
    return (*SERVICES, *SERVERS) if fault.target == "all" else (fault.target,)


def _matching(node: Node, pattern: str) -> set[str]:
    folders = [node.bucket] if pattern.endswith(".zip") else [node.spool, node.data, node.data / "orders"]
    found: set[str] = set()
    for folder in folders:
        paths = folder.rglob(pattern) if folder == node.bucket else folder.glob(pattern)
        with contextlib.suppress(OSError):
            found.update(str(path) for path in paths if isinstance(path, Path))
    return found
