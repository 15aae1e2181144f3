"""Brokers that a node cannot use: doctor names the fault, and the command that it suggests fixes it."""

from __future__ import annotations

from pathlib import Path

from commands.doctor.node_under_test import Finding
from edge.messaging.broker_configuration import ETC
from tests.support.messaging.broker import running_broker
from tests.support.messaging.odd_brokers import (
    answering_server,
    hesitant_broker,
    make_certificate,
    refuses_mqtt_5,
    slow_link,
    tls_broker,
)
from tests.support.nodes.breakable_node import BreakableNode
from tests.support.nodes.doctor import assert_fault, run_doctor


def login_fault(node: BreakableNode, *fragments: str) -> Finding:
    finding = node.run_checks("broker")["broker.login"]
    assert_fault(finding, *fragments)
    return finding


def assert_healthy(node: BreakableNode) -> None:
    found = node.run_checks("broker")
    assert {finding.state for finding in found.values()} == {"ok"}, found


def fix(node: BreakableNode, finding: Finding, **placeholders: str) -> None:
    done = node.apply_remedy(finding, placeholders=placeholders)
    assert done.returncode == 0, done.stderr


def test_a_certificate_without_alternative_names_leads_to_its_name_and_not_to_ca_file(
    node: BreakableNode, certificates: Path
) -> None:
    make_certificate(certificates, "localhost")
    with tls_broker(certificates) as port:
        node.set("mqtt.host=127.0.0.1", f"mqtt.port={port}", "mqtt.tls=on", f"mqtt.ca_file={certificates}/ca.crt")
        before = login_fault(node, "has no subjectAltName, only the common name localhost")
        assert "ca_file" not in before.message + before.remedy
        fix(node, before)
        assert_healthy(node)


def test_a_certificate_for_another_machine_leads_to_a_new_one(node: BreakableNode, certificates: Path) -> None:
    make_certificate(certificates, "elsewhere.invalid", "DNS:*.elsewhere.invalid")
    node.set("mqtt.host=127.0.0.1", "mqtt.tls=on", f"mqtt.ca_file={certificates}/ca.crt")
    with tls_broker(certificates) as port:
        node.set(f"mqtt.port={port}")
        before = login_fault(node, "is valid for *.elsewhere.invalid, not for 127.0.0.1")
    done = node.apply_remedy(before, stubs=("systemctl",), placeholders={ETC: str(certificates)})
    assert done.returncode == 0, done.stderr
    assert node.stub_calls() == ["systemctl restart mosquitto"]
    with tls_broker(certificates) as port:
        node.set(f"mqtt.port={port}")
        assert_healthy(node)


def test_a_ca_file_that_is_missing_leads_to_another(node: BreakableNode, certificates: Path) -> None:
    with tls_broker(certificates) as port:
        node.set("mqtt.host=localhost", f"mqtt.port={port}", "mqtt.tls=on", "mqtt.ca_file=none.crt")
        before = login_fault(node, "[mqtt] ca_file = ", "none.crt: No such file or directory")
        fix(node, before, **{"PATH/TO": str(certificates)})
        assert_healthy(node)


def test_a_tls_port_without_tls_leads_to_tls(node: BreakableNode, certificates: Path) -> None:
    with tls_broker(certificates) as port:
        node.set("mqtt.host=localhost", f"mqtt.port={port}", f"mqtt.ca_file={certificates}/ca.crt")
        fix(node, login_fault(node, "expects TLS"))
        assert_healthy(node)


def test_a_missing_client_certificate_leads_to_one(node: BreakableNode, certificates: Path) -> None:
    with tls_broker(certificates, f"cafile {certificates}/ca.crt", "require_certificate true") as port:
        node.set("mqtt.host=localhost", f"mqtt.port={port}", "mqtt.tls=on", f"mqtt.ca_file={certificates}/ca.crt")
        before = login_fault(node, "requires a client certificate")
        fix(node, before, **{"PATH/TO/client": f"{certificates}/server"})
        assert_healthy(node)


def test_a_broker_before_mqtt_5_leads_to_another_and_not_to_the_password(node: BreakableNode) -> None:
    with answering_server(refuses_mqtt_5) as old, running_broker() as (host, port):
        node.set("mqtt.host=127.0.0.1", f"mqtt.port={old}")
        before = login_fault(node, "before MQTT 5")
        assert "password" not in before.message + before.remedy
        fix(node, before, HOST=host, PORT=str(port))
        assert_healthy(node)


def test_a_url_as_host_is_named(node: BreakableNode) -> None:
    node.set("mqtt.host=mqtt://broker.local:1884")
    finding = run_doctor(node)[1]["settings"]
    assert "use host = broker.local, port = 1884" in finding["message"]


def test_a_slow_broker_is_not_taken_for_one_that_forbids(node: BreakableNode) -> None:
    with running_broker() as (host, port), slow_link(port, 2.2) as slow:
        node.set(f"mqtt.host={host}", f"mqtt.port={slow}")
        assert_healthy(node)


def test_a_broker_that_confirms_nothing_is_not_taken_for_one_that_forbids(node: BreakableNode) -> None:
    with hesitant_broker() as broker:
        node.set("mqtt.host=127.0.0.1", f"mqtt.port={broker.port}")
        finding = node.run_checks("broker")["broker.rights"]
    assert (finding.state, finding.remedy) == ("warning", f"imhearing doctor --data {node.data}")
    assert "busy" in finding.message
