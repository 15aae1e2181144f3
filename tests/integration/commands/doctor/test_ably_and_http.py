"""Faults of the Ably key, the realtime server and the HTTP door: doctor names each, and its remedy fixes it."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest
from msgspec.structs import replace

from commands.doctor.node_under_test import Finding
from edge.embedded import ports
from query_service.realtime import tokens
from tests.support.messaging.odd_brokers import make_certificate, make_plain_ca
from tests.support.messaging.realtime import server_in_thread
from tests.support.nodes.breakable_node import BreakableNode
from tests.support.nodes.doctor import assert_fault, assert_ok, run_doctor


def test_a_malformed_ably_key_is_reported_and_fixed(node: BreakableNode) -> None:
    with server_in_thread() as server:
        node.set("ably.api_key=no-key-at-all", f"ably.endpoint={server.endpoint}")
        before = Finding(**run_doctor(node, EDITOR="nano")[1]["settings"])  # type: ignore[arg-type]
        assert_fault(before, "name:secret")
        assert "no-key-at-all" not in before.message
        right = f"sed -i s/no-key-at-all/{server.api_key.reveal()}/"
        assert node.apply_remedy(before, placeholders={"nano": right}).returncode == 0
        found = node.run_checks("realtime")
    assert {finding.state for finding in found.values()} == {"ok"}, found


def test_a_rejected_ably_key_is_reported_and_fixed(node: BreakableNode) -> None:
    with server_in_thread() as server:
        right = server.api_key.reveal()
        node.set(f"ably.api_key={right[:-3]}xyz", f"ably.endpoint={server.endpoint}")
        before = node.run_checks("realtime")["realtime.connect"]
        assert_fault(before)
        assert "ably.api_key=-" in before.remedy
        assert node.apply_remedy(before, typed=f"{right}\n").returncode == 0
        assert_ok(node.run_checks("realtime")["realtime.rights"])


def test_a_realtime_server_that_is_not_running_is_reported_and_fixed(node: BreakableNode) -> None:
    with server_in_thread() as server:
        node.set(f"ably.api_key={server.api_key.reveal()}", f"ably.endpoint=127.0.0.1:{ports.choose(14_010)}")
        before = node.run_checks("realtime")["realtime.connect"]
        assert_fault(before, "127.0.0.1:14010")  # a port is no status code
        changed = Finding(before.check, "fault", before.message, before.remedy.replace(
            "ably.endpoint=", f"ably.endpoint={server.endpoint}"
        ))  # fmt: skip
        assert node.apply_remedy(changed).returncode == 0
        assert_ok(node.run_checks("realtime")["realtime.connect"])


def test_an_http_port_in_use_is_reported_and_fixed(node: BreakableNode) -> None:
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        with contextlib.suppress(OSError, OverflowError):  # then somebody has the next one anyway
            stack.enter_context(socket.create_server(("127.0.0.1", port + 1)))
        node.set(f"http.port={port}")
        before = node.run_checks("http")["http.door"]
        assert_fault(before, "in use by another program")
        assert node.apply_remedy(before).returncode == 0
        assert_ok(node.run_checks("http")["http.door"])


def test_an_http_door_open_to_the_network_without_a_token_is_reported_and_fixed(node: BreakableNode) -> None:
    node.set("http.host=0.0.0.0", f"http.port={ports.choose(None)}")
    before = node.run_checks("http")["http.settings"]
    assert_fault(before, "token")
    assert node.apply_remedy(before, typed="a-long-enough-token-for-the-garden\n").returncode == 0
    assert {finding.state for finding in node.run_checks("http").values()} == {"ok"}


def test_a_certificate_that_cannot_be_used_is_reported_and_replaced(node: BreakableNode, tmp_path: Path) -> None:
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    make_plain_ca(certificates)
    make_certificate(certificates, "porch", "DNS:porch", days=300)
    node.set(f"http.certificate={tmp_path}/page.crt", f"http.port={ports.choose(None)}")
    before = node.run_checks("http")["http.certificate"]
    assert_fault(before, "page.crt: cannot be read (No such file or directory)")
    placeholders = {
        "PATH/TO/page.crt": f"{certificates}/server.crt", "PATH/TO/page.key": f"{certificates}/server.key"
    }  # fmt: skip
    assert node.apply_remedy(before, placeholders=placeholders).returncode == 0
    found = node.run_checks("http")
    assert {finding.state for finding in found.values()} == {"ok"}
    assert "valid for 300 days" in found["http.certificate"].message


@pytest.mark.parametrize(("days", "message"), [(-1, "has expired; renew it"), (5, "expires in 5 days; renew it")])
def test_a_certificate_of_our_own_ca_is_renewed(node: BreakableNode, tmp_path: Path, days: int, message: str) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    make_plain_ca(folder)
    make_certificate(folder, "porch", "DNS:porch", days=days)
    for ending in ("crt", "key"):
        (folder / f"server.{ending}").rename(folder / f"page.{ending}")
    node.set(f"http.certificate={folder}/page.crt", f"http.key={folder}/page.key", f"http.port={ports.choose(None)}")
    before = node.run_checks("http")["http.certificate"]
    assert_fault(before, message)
    assert node.apply_remedy(before).returncode == 0
    assert_ok(node.run_checks("http")["http.certificate"])


def test_an_ably_key_with_too_few_rights_is_a_fault(node: BreakableNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ably lets a token do what its key may and no more."""
    whole = tokens.capabilities_for_node

    def without_publish(node: str) -> dict[str, list[str]]:
        return {channel: can for channel, can in whole(node).items() if "publish" not in can}

    with server_in_thread() as server:
        node.set(f"ably.api_key={server.api_key.reveal()}", f"ably.endpoint={server.endpoint}")
        with monkeypatch.context() as patched:
            patched.setattr(tokens, "capabilities_for_node", without_publish)
            found = node.run_checks("realtime")
            assert found["realtime.connect"].state == "ok"
            before = found["realtime.rights"]
        assert before.state == "fault"
        advice, _, command = before.remedy.partition(": ")
        assert advice.startswith("give the key publish, subscribe and presence on imhearing:*")
        assert node.apply_remedy(replace(before, remedy=command), typed=f"{server.api_key.reveal()}\n").returncode == 0
        assert node.run_checks("realtime")["realtime.rights"].state == "ok"
