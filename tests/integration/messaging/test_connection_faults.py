"""Why there is no connection to the broker: the log names the fault, and what is repaired is used without a restart."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.configuration.settings import Mqtt
from edge.core.errors import DoorError
from edge.embedded import ports
from edge.messaging.bus import Bus
from edge.messaging.diagnosis import Cause, Trouble
from tests.support.messaging.broker import running_broker
from tests.support.messaging.odd_brokers import (
    answering_server,
    drops_mqtt_5,
    make_certificate,
    make_plain_ca,
    refuses_mqtt_5,
    tls_broker,
)
from tests.support.wait import DEADLINE, wait_until


def trouble_with(port: int, host: str = "localhost", **settings: Any) -> Trouble:
    """Why a bus with these settings has no connection."""
    bus = Bus(Mqtt(host=host, port=port, **settings), "porch", "recorder")
    bus.start()
    try:
        return wait_until(lambda: bus.trouble, "there is trouble")
    finally:
        bus.stop()


def assert_connects(port: int, host: str = "localhost", **settings: Any) -> None:
    bus = Bus(Mqtt(host=host, port=port, **settings), "porch", "recorder")
    bus.start()
    try:
        assert bus.wait_connected(DEADLINE), bus.trouble
    finally:
        bus.stop()


def assert_named(trouble: Trouble, cause: Cause, *fragments: str) -> None:
    assert trouble.cause == cause, trouble
    for fragment in fragments:
        assert fragment in trouble.text


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates are verified as Python 3.13 does by default."""
    make: Callable[..., ssl.SSLContext] = ssl.create_default_context

    def make_strict(*arguments: Any, **options: Any) -> ssl.SSLContext:
        context = make(*arguments, **options)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", make_strict)


def test_a_ca_without_key_usage_is_accepted_as_ca_file_by_every_python(certificates: Path, strict: None) -> None:
    with tls_broker(certificates) as port:
        assert_connects(port, tls="on", ca_file=str(certificates / "ca.crt"))


def test_a_ca_that_only_a_strict_python_rejects_is_named_with_the_way_out(
    certificates: Path, strict: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the system's store, whose rules are not ours to relax."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.crt"))
    with tls_broker(certificates) as port:
        trouble = trouble_with(port, tls="on")
    assert_named(trouble, "bad_certificate", "CA cert does not include key usage extension", "[mqtt] ca_file")


def test_a_certificate_without_alternative_names_is_named_with_its_common_name(certificates: Path) -> None:
    make_certificate(certificates, "localhost")
    with tls_broker(certificates) as port:
        tls = {"tls": "on", "ca_file": str(certificates / "ca.crt")}
        trouble = trouble_with(port, "127.0.0.1", **tls)
        assert_connects(port, "localhost", **tls)
    assert_named(trouble, "wrong_name", "has no subjectAltName, only the common name localhost", "127.0.0.1")
    assert "ca_file" not in trouble.text


def test_a_certificate_for_other_names_is_named_with_them(certificates: Path) -> None:
    with tls_broker(certificates) as port:
        trouble = trouble_with(port, "127.0.0.1", tls="on", ca_file=str(certificates / "ca.crt"))
    assert_named(trouble, "wrong_name", "is valid for localhost, not for 127.0.0.1")


def test_a_ca_that_did_not_sign_the_certificate_is_named(
    certificates: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = make_plain_ca(tmp_path_factory.mktemp("other"))
    with tls_broker(certificates) as port:
        assert_named(trouble_with(port, tls="on", ca_file=str(other)), "untrusted", f"[mqtt] ca_file = {other}")
        assert_named(trouble_with(port, tls="on"), "untrusted", "set [mqtt] ca_file")


def test_a_tls_port_without_tls_is_named(certificates: Path) -> None:
    with tls_broker(certificates) as port:
        assert_named(trouble_with(port), "needs_tls", "set [mqtt] tls = on")


def test_a_tls_port_that_wants_a_client_certificate_is_named(certificates: Path) -> None:
    with tls_broker(certificates, f"cafile {certificates}/ca.crt", "require_certificate true") as port:
        assert_named(trouble_with(port), "needs_tls")
        trouble = trouble_with(port, tls="on", ca_file=str(certificates / "ca.crt"))
    assert_named(trouble, "client_certificate", "set [mqtt] cert_file and key_file")


def test_a_port_without_tls_is_named_when_tls_is_on(certificates: Path) -> None:
    with running_broker() as (_, port):
        trouble = trouble_with(port, "127.0.0.1", tls="on", ca_file=str(certificates / "ca.crt"))
    assert_named(trouble, "no_tls", "does not speak TLS")


@pytest.mark.parametrize("answer", [refuses_mqtt_5, drops_mqtt_5])
def test_a_broker_before_mqtt_5_is_named_and_the_password_is_not_blamed(answer: Callable[[bytes], bytes]) -> None:
    with answering_server(answer) as port:
        trouble = trouble_with(port, "127.0.0.1")
    assert_named(trouble, "mqtt_3", "before MQTT 5")
    assert "password" not in trouble.text


def test_a_server_that_is_no_broker_is_named() -> None:
    with answering_server(lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        assert_named(trouble_with(port, "127.0.0.1"), "not_mqtt", "does not answer as an MQTT broker")


def test_a_probe_carries_no_credentials() -> None:
    packets: list[bytes] = []

    def answer(packet: bytes) -> bytes:
        packets.append(packet)
        return drops_mqtt_5(packet)

    with answering_server(answer) as port:
        trouble_with(port, "127.0.0.1", username="porch")
    assert [b"porch" in packet for packet in packets].count(True) == 1, packets  # our own CONNECT
    assert len(packets) > 1


@pytest.mark.parametrize("damage", ["missing", "not a certificate", "another CA"])
def test_a_repaired_ca_file_is_used_without_a_restart(
    certificates: Path, tmp_path_factory: pytest.TempPathFactory, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    ca_file = tmp_path_factory.mktemp("node") / "ca.crt"
    if damage == "not a certificate":
        ca_file.write_text("nothing of the sort")
    elif damage == "another CA":
        make_plain_ca(ca_file.parent)
    with tls_broker(certificates) as port:
        bus = Bus(Mqtt(host="localhost", port=port, tls="on", ca_file=str(ca_file)), "porch", "recorder")
        bus.start()
        try:
            wait_until(lambda: f"[mqtt] ca_file = {ca_file}" in caplog.text, "the log names the file")
            ca_file.write_bytes((certificates / "ca.crt").read_bytes())
            assert bus.wait_connected(DEADLINE), bus.trouble
        finally:
            bus.stop()


def test_a_command_says_why_it_could_not_connect(certificates: Path) -> None:
    with tls_broker(certificates) as port:
        bus = Bus(Mqtt(host="localhost", port=port), "porch", "control")
        bus.start()
        try:
            wait_until(lambda: bus.trouble, "the first attempt failed")
            with pytest.raises(DoorError, match="expects TLS"):
                bus.require_connection(0.1)
        finally:
            bus.stop()


def test_a_broker_that_is_away_is_named_with_up() -> None:
    bus = Bus(Mqtt(host="127.0.0.1", port=ports.choose(None)), "porch", "control")
    bus.start()
    try:
        wait_until(lambda: bus.trouble, "the first attempt failed")
        with pytest.raises(DoorError, match=r"cannot connect to the MQTT broker at .* is `imhearing up` running"):
            bus.require_connection(0.1)
    finally:
        bus.stop()
