"""The injectors: one function for each kind of fault, on the life's node.

Each returns what it did, for the judge to know; None if it had no effect.
"""

from __future__ import annotations

import json
import signal
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.campaigns.node.evidence import evidence_of
from tests.campaigns.node.node import Node
from tests.campaigns.node.plan import SERVERS, SERVICES, Fault
from tests.support.messaging.mqtt import connected

Effect = dict[str, Any] | None


def kill(node: Node, fault: Fault) -> Effect:
    killed = [name for name in targets(fault) if node.processes[name].kill()]
    return {"killed": killed} if killed else None


def stop(node: Node, fault: Fault) -> Effect:
    stopped = [name for name in targets(fault) if node.processes[name].send(signal.SIGSTOP)]
    time.sleep(fault.seconds)
    resumed = [name for name in stopped if node.processes[name].send(signal.SIGCONT)]
    return {"stopped": stopped} if resumed else None


def store(node: Node, fault: Fault) -> Effect:
    disturbed = node.store.disturb(fault.target, float(fault.value), fault.seconds, round(fault.at * 100))
    return {"requests": disturbed} if disturbed else None


def pause(node: Node, fault: Fault) -> Effect:
    if fault.value == "timed":
        return {} if node.command("pause", f"{max(1, fault.seconds):.0f}s").returncode == 0 else None
    done = node.command("pause").returncode == 0
    time.sleep(fault.seconds)
    node.command("resume")
    return {} if done else None


def rotate(node: Node, _: Fault) -> Effect:
    return {} if node.command("rotate").returncode == 0 else None


def archive(node: Node, _: Fault) -> Effect:
    return {} if node.command("archive").returncode == 0 else None


def limit(node: Node, fault: Fault) -> Effect:
    """Over MQTT, as Home Assistant would."""
    topic = "imhearing/porch/response/set"
    request = {"id": uuid.uuid4().hex, "metric": fault.target, "limit": int(fault.value)}
    try:
        with connected(node.broker_port) as client:
            client.subscribe(topic)
            client.publish("imhearing/porch/request/set", json.dumps(request).encode())
            client.wait_for_message(topic, lambda heard: b'"ok":true' in heard.payload, timeout=5)
    except (OSError, AssertionError):
        return None
    return {}


def forget(node: Node, fault: Fault) -> Effect:
    begin, end = _range(fault)
    chunks = evidence_of(node, begin, end)
    done = node.command("forget", "--from", begin, "--to", end, "--yes", "--json", "--timeout", "0.1")
    if not done.stdout.strip().startswith("{"):
        return None
    return {"order": json.loads(done.stdout)["id"], "from": begin, "to": end, "chunks": chunks}


def hold(node: Node, fault: Fault) -> Effect:
    begin, end = _range(fault)
    if node.command("hold", "--from", begin, "--to", end).returncode != 0:
        return None
    held_at = time.time()
    time.sleep(fault.seconds)
    node.command("hold", "--from", begin, "--to", end, "--release")
    return {"from": begin, "to": end, "held_at": held_at}


INJECTORS: dict[str, Callable[[Node, Fault], Effect]] = {
    "kill": kill,
    "stop": stop,
    "store": store,
    "pause": pause,
    "rotate": rotate,
    "archive": archive,
    "limit": limit,
    "forget": forget,
    "hold": hold,
}


def targets(fault: Fault) -> tuple[str, ...]:
    return (*SERVICES, *SERVERS) if fault.target == "all" else (fault.target,)


def _range(fault: Fault) -> tuple[str, str]:
    """`value`: seconds ago of its begin and of its end."""
    begin, end = (datetime.fromtimestamp(time.time() - float(ago), UTC).isoformat() for ago in fault.value.split())
    return begin, end
