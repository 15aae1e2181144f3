"""The MQTT broker: is it reachable, does it accept each role's login, and do messages get through?"""

from __future__ import annotations

import contextlib
import shlex
import socket
import threading
import time
from collections.abc import Iterator

from commands.doctor import installed
from commands.doctor.node_under_test import LOOPBACK, Finding, NodeUnderTest, fault, ok, warning
from edge.configuration.settings import Mqtt
from edge.messaging import topics
from edge.messaging.broker_configuration import ETC
from edge.messaging.bus import Bus
from edge.messaging.diagnosis import Trouble, certificate_names, open_socket
from edge.messaging.login import Role, credentials
from edge.messaging.messages import InboundMessage

_ROLES: tuple[Role, ...] = ("recorder", "archiver", "query")
_LOGIN_TIMEOUT, _LOGIN_POLL = 6.0, 0.1
_ACKNOWLEDGED_TIMEOUT, _ARRIVAL_TIMEOUT = 4.0, 3.0  # only a missing right, or a machine far too busy, takes as long


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
    where = settings.address
    try:
        open_socket(settings).close()
    except socket.gaierror:
        return fault(check, f"the host name {settings.host!r} cannot be resolved", node.configure("mqtt.host=HOST"))
    except OSError as problem:
        return fault(check, f"no broker at {where} ({problem.strerror or problem})", _start(node))
    return ok(check, f"{where} accepts connections")


def _start(node: NodeUnderTest) -> str:
    host = node.settings.mqtt.host
    if node.by_up:
        return node.up()
    if host in LOOPBACK or node.settings.mqtt.socket_path is not None:
        return f"sudo systemctl enable --now {installed.broker_service()}"
    return f"ping -c 3 {host}  # start the broker there, or use another: {node.configure('mqtt.host=HOST')}"


def check_login_and_rights(node: NodeUnderTest) -> Iterator[Finding]:
    """Logs in as each role, and checks that what it publishes reaches `control`, which may read everything."""
    settings, name = node.settings.mqtt, node.settings.node.name
    arrivals = {topics.doctor(name, role): threading.Event() for role in _roles(settings)}
    subscribed = threading.Event()

    def arrived(message: InboundMessage) -> None:
        if message.topic in arrivals:
            arrivals[message.topic].set()

    with contextlib.ExitStack() as connections:
        control = Bus(settings, name, "control")
        control.subscribe_raw(topics.doctor(name, "+"), arrived)
        control.on_subscribed(subscribed.set)
        buses = {role: Bus(settings, name, role) for role in _roles(settings)}
        try:
            for role, bus in ("control", control), *buses.items():
                _connect(node, role, bus, connections)
            if _has_page(node):  # it has nothing to publish that could arrive
                _connect(node, "page", Bus(settings, name, "page"), connections)
        except _LoginFailed as failed:
            yield failed.finding
            return
        yield ok("broker.login", f"accepts {_users(node)}")
        deadline = time.monotonic() + _ACKNOWLEDGED_TIMEOUT
        acknowledged = subscribed.wait(_left(deadline))
        for role, bus in buses.items():
            bus.send(topics.doctor(name, role), b"{}", expiry=10)
        # the broker also acknowledges what its ACL then keeps from arriving
        acknowledged &= all(bus.flush(_left(deadline)) for bus in buses.values())
        deadline = time.monotonic() + _ARRIVAL_TIMEOUT
        lost = [role for role in buses if not arrivals[topics.doctor(name, role)].wait(_left(deadline))]
    if lost and not acknowledged:
        message = f"the broker acknowledged nothing within {_ACKNOWLEDGED_TIMEOUT:g} s: is it, or this machine, busy?"
        yield warning("broker.rights", message, node.command("doctor"))
    else:
        yield check_rights(node, lost)


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


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


def _has_page(node: NodeUnderTest) -> bool:
    return bool(node.settings.http.port) and "{role}" in node.settings.mqtt.username


def _users(node: NodeUnderTest) -> str:
    roles: list[Role] = [*_roles(node.settings.mqtt), "control"]
    if _has_page(node):
        roles.append("page")
    return ", ".join(sorted({credentials(node.settings.mqtt, role)[0] or "anonymous clients" for role in roles}))


class _LoginFailed(Exception):
    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


def _connect(node: NodeUnderTest, role: Role, bus: Bus, connections: contextlib.ExitStack) -> None:
    """Connects the bus, to be closed with `connections`. _LoginFailed."""
    bus.start()
    connections.callback(bus.stop, timeout=0.5)
    deadline = time.monotonic() + _LOGIN_TIMEOUT
    while bus.trouble is None and time.monotonic() < deadline:
        if bus.wait_connected(_LOGIN_POLL):
            return
    raise _LoginFailed(_login_fault(node, role, bus.trouble))


def _login_fault(node: NodeUnderTest, role: Role, trouble: Trouble | None) -> Finding:
    if trouble is None:
        message = "it accepts connections, but does not answer as an MQTT broker"
        return fault("broker.login", message, node.configure("mqtt.host=HOST", "mqtt.port=PORT"))
    return fault("broker.login", trouble.text, _remedy(node, role, trouble))


def _remedy(node: NodeUnderTest, role: Role, trouble: Trouble) -> str:  # noqa: PLR0911 -- one for each cause
    match trouble.cause:
        case "login":
            return _set_login(node, role)
        case "needs_tls":
            return node.configure("mqtt.tls=on")
        case "no_tls":
            return node.configure("mqtt.tls=off")
        case "untrusted" | "bad_certificate" | "ca_file":
            return node.configure("mqtt.ca_file=PATH/TO/ca.crt")
        case "cert_file":
            return node.configure("mqtt.cert_file=", "mqtt.key_file=")
        case "client_certificate":
            return node.configure("mqtt.cert_file=PATH/TO/client.crt", "mqtt.key_file=PATH/TO/client.key")
        case "wrong_name":
            return _match_certificate(node)
        case "expired":
            return _renew_certificate(node)
        case "not_yet_valid":
            return "sudo timedatectl set-ntp true"
        case _:
            return node.configure("mqtt.host=HOST", "mqtt.port=PORT")


def _set_login(node: NodeUnderTest, role: Role) -> str:
    settings = node.settings.mqtt
    key = f"{role}_password" if getattr(settings, f"{role}_password").reveal() else "password"
    with_user = bool(credentials(settings, role)[0])
    return node.configure(*([f"mqtt.{key}=-"] if with_user else ["mqtt.username=USER", "mqtt.password=-"]))


def _match_certificate(node: NodeUnderTest) -> str:
    """Uses a name in the broker's certificate, if one leads to the same machine; else a new certificate is needed."""
    settings = node.settings.mqtt
    names = certificate_names(settings)
    here = _addresses(settings.host)
    for name in names.alternative or [name for name in names.common if name not in here]:
        if here & _addresses(name):
            return node.configure(f"mqtt.host={name}")
    return _renew_certificate(node)


def _renew_certificate(node: NodeUnderTest) -> str:
    host, service = node.settings.mqtt.host, installed.broker_service()
    command = f"sudo imhearing broker-setup --into {ETC} --name {shlex.quote(host)} && sudo systemctl restart {service}"
    elsewhere = f"subjectAltName = {host}" if host in LOOPBACK else f"on {host}; subjectAltName = {host}"
    return f"{command}  # or renew the broker's certificate by other means, {elsewhere}"


def _addresses(name: str) -> set[str]:
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(name, None)}
    except (OSError, UnicodeError):  # a wildcard is no host name
        return set()
