"""Commands that race with the other faults, over the command line and MQTT."""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime

from tests.campaigns.node.faults.effects import Effect
from tests.campaigns.node.faults.evidence import evidence_of
from tests.campaigns.node.node import Node
from tests.campaigns.node.plan import Fault
from tests.support.messaging.mqtt import connected


def pause(node: Node, fault: Fault) -> Effect:
    if fault.value == "timed":
        seconds = max(1, round(fault.seconds))
        return {"seconds": seconds} if node.command("pause", f"{seconds}s").returncode == 0 else None
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
    chunks = [chunk["chunk_id"] for chunk in evidence_of(node, begin, end)]
    if fault.seconds:
        time.sleep(fault.seconds)
        node.command("hold", "--from", begin, "--to", end, "--release")
    return {"from": begin, "to": end, "kept": chunks, "released": bool(fault.seconds)}


def _range(fault: Fault) -> tuple[str, str]:
    """`value`: seconds ago of its begin and of its end."""
    begin, end = (datetime.fromtimestamp(time.time() - float(ago), UTC).isoformat() for ago in fault.value.split())
    return begin, end
