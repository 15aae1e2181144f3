"""All checks together: on a healthy node, and with servers and checks that hang."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.doctor import doctor
from commands.doctor.node_under_test import Finding, NodeUnderTest
from edge.configuration.settings import S3, Secret
from edge.spool.spool import Spool
from tests.support.messaging.broker import running_broker
from tests.support.messaging.realtime import server_in_thread
from tests.support.nodes.breakable_node import BreakableNode
from tests.support.nodes.doctor import assert_fault, assert_ok, run_doctor
from tests.support.store.s3 import RunningStore


def test_a_healthy_node_has_no_fault(node: BreakableNode, store: RunningStore, catalog: Path) -> None:
    node.set_store(store.settings)
    Spool(node.data / "spool", "porch").create()
    node.data.chmod(0o700)
    with running_broker() as (host, port), server_in_thread() as server:
        node.set(f"mqtt.host={host}", f"mqtt.port={port}")
        node.set(f"ably.api_key={server.api_key.reveal()}", f"ably.endpoint={server.endpoint}")
        code, found = run_doctor(node)
    assert [item for item in found.values() if item["state"] == "fault"] == []
    assert code == 0
    assert len(found) >= 20
    assert Secret(server.api_key).reveal() not in json.dumps(found)


def test_servers_that_never_respond_are_reported(node: BreakableNode) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        node.set(
            "mqtt.host=127.0.0.1",
            f"mqtt.port={port}",
            f"ably.endpoint=127.0.0.1:{port}",
            f"ably.api_key=a.b:{'c' * 40}",
        )
        node.set_store(S3("garden", endpoint_url=f"http://127.0.0.1:{port}"))
        node.set("s3.access_key_id=a", "s3.secret_access_key=b")
        code, found = run_doctor(node)  # which ends although they do not
    assert code == 1
    assert {"broker", "store", "realtime"} <= {n.split(".")[0] for n, f in found.items() if f["state"] == "fault"}, (
        found
    )


def test_a_hanging_check_is_reported_as_a_fault(node: BreakableNode, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_node: NodeUnderTest) -> Iterator[Finding]:
        threading.Event().wait(3)
        return iter(())

    monkeypatch.setattr("commands.doctor.local_data.check_spool", never)
    found = {finding.check: finding for finding in doctor.examine(node.under_test(), 0.5, ("spool", "clock"))}
    assert_fault(found["spool.time"], "within 0.5 s")
    assert_ok(found["clock.synchronised"])
