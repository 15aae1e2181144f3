"""The MQTT broker: is it reachable, does it accept each role's login, and do messages get through?"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

from commands.doctor import installed
from commands.doctor.node_under_test import LOOPBACK, Finding, NodeUnderTest, fault, ok, warning
from edge.configuration.settings import Mqtt
from edge.core.errors import ConfigError
from edge.messaging import topics
from edge.messaging.access import ETC
from edge.messaging.bus import Bus
from edge.messaging.connection import Trouble
from edge.messaging.login import Role, credentials
from edge.messaging.messages import InboundMessage

_ROLES: tuple[Role, ...] = ("recorder", "archiver", "query")
_TCP_TIMEOUT = 3.0
_LOGIN_TIMEOUT, _LOGIN_POLL = 6.0, 0.1
_PUBLISH_ATTEMPTS, _ARRIVAL_TIMEOUT = 3, 0.7


def check_broker(node: NodeUnderTest) -> Iterator[Finding]:
    """Publishes one message per role on `imhearing/<node>/<role>/doctor`; nothing is retained."""
    if not node.settings.mqtt.host:
        yield warning(
            "broker.connect",
            "no broker is configured: no events are published, unless `imhearing up` starts one",
            node.configure("mqtt.host=127.0.0.1"),
        )
        return
    connect = check_connect(node)
    yield connect
    if connect.state != "fault":
        yield from check_login_and_rights(node)


def check_connect(node: NodeUnderTest) -> Finding:
    check, settings = "broker.connect", node.settings.mqtt
    where = f"{settings.host}:{settings.port}"
    try:
        socket.create_connection((settings.host, settings.port), _TCP_TIMEOUT).close()
    except socket.gaierror:
        return fault(check, f"the host name {settings.host!r} cannot be resolved", node.configure("mqtt.host=HOST"))
    except OSError as problem:
        return fault(check, f"no broker at {where} ({problem.strerror or problem})", _start(node))
    return ok(check, f"{where} accepts connections")


def _start(node: NodeUnderTest) -> str:
    host = node.settings.mqtt.host
    if node.by_up:
        return node.up()
    if host in LOOPBACK:
        return f"sudo systemctl enable --now {installed.broker_service()}"
    return f"ping -c 3 {host}  # start the broker there, or use another: {node.configure('mqtt.host=HOST')}"


def check_login_and_rights(node: NodeUnderTest) -> Iterator[Finding]:
    """Logs in as each role, and checks that what it publishes reaches `control`, which may read everything."""
    settings, name = node.settings.mqtt, node.settings.node.name
    arrivals = {topics.doctor(name, role): threading.Event() for role in _roles(settings)}

    def arrived(message: InboundMessage) -> None:
        if message.topic in arrivals:
            arrivals[message.topic].set()

    with contextlib.ExitStack() as connections:
        try:
            control = _connect(node, "control", connections)
            buses = {role: _connect(node, role, connections) for role in _roles(settings)}
        except _LoginFailed as failed:
            yield failed.finding
            return
        yield ok("broker.login", f"accepts {_users(settings)}")
        control.subscribe_raw(topics.doctor(name, "+"), arrived)
        lost = [role for role, bus in buses.items() if not _arrives(bus, topics.doctor(name, role), arrivals)]
    yield check_rights(node, lost)


def _arrives(bus: Bus, topic: str, arrivals: dict[str, threading.Event]) -> bool:
    """Publishes a few times: the subscription may not be active yet."""
    for _ in range(_PUBLISH_ATTEMPTS):
        bus.send(topic, b"{}", expiry=10)
        if arrivals[topic].wait(_ARRIVAL_TIMEOUT):
            return True
    return False


def check_rights(node: NodeUnderTest, lost: list[Role]) -> Finding:
    """`lost`: roles whose message did not arrive."""
    check = "broker.rights"
    if not lost:
        return ok(check, "messages from every role get through")
    user = credentials(node.settings.mqtt, lost[0])[0] or "(anonymous)"
    reader = credentials(node.settings.mqtt, "control")[0] or "(anonymous)"
    return fault(
        check,
        f"messages from {user} on {topics.doctor(node.settings.node.name, lost[0])} do not reach {reader}:"
        " the broker's ACL forbids it",
        f"{node.as_root(f'broker-setup --into {ETC}')} && sudo systemctl reload {installed.broker_service()}",
    )


def _roles(settings: Mqtt) -> tuple[Role, ...]:
    """All roles if each has its own login; one is enough if they share it."""
    return _ROLES if "{role}" in settings.username else ("recorder",)


def _users(settings: Mqtt) -> str:
    names = sorted({credentials(settings, role)[0] or "anonymous clients" for role in (*_roles(settings), "control")})
    return ", ".join(names)


class _LoginFailed(Exception):
    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


def _connect(node: NodeUnderTest, role: Role, connections: contextlib.ExitStack) -> Bus:
    """A bus that is connected, and closed with `connections`. _LoginFailed."""
    try:
        bus = Bus(node.settings.mqtt, node.settings.node.name, role)
    except ConfigError as problem:
        key = "ca_file" if "ca_file" in str(problem) else "cert_file"
        raise _LoginFailed(fault("broker.login", str(problem), node.configure(f"mqtt.{key}="))) from None
    bus.start()
    connections.callback(bus.stop, timeout=0.5)
    deadline = time.monotonic() + _LOGIN_TIMEOUT
    while bus.trouble is None and time.monotonic() < deadline:
        if bus.wait_connected(_LOGIN_POLL):
            return bus
    raise _LoginFailed(_login_fault(node, role, bus.trouble))


def _login_fault(node: NodeUnderTest, role: Role, trouble: Trouble | None) -> Finding:
    check, settings = "broker.login", node.settings.mqtt
    if trouble is not None and trouble.ending == "refused":
        key = f"{role}_password" if getattr(settings, f"{role}_password").reveal() else "password"
        user = credentials(settings, role)[0]
        changes = [f"mqtt.{key}=-"] if user else ["mqtt.username=USER", "mqtt.password=-"]
        return fault(check, trouble.text, node.configure(*changes))
    if trouble is not None and "certificate" in trouble.text.lower():
        return fault(check, trouble.text, node.configure("mqtt.ca_file=PATH/TO/ca.crt"))
    if settings.tls == "on":
        return fault(check, "it accepts connections, but does not speak TLS", node.configure("mqtt.tls=off"))
    return fault(
        check,
        "it accepts connections, but does not respond as an MQTT broker: is this its TLS port?",
        node.configure("mqtt.tls=on"),
    )
