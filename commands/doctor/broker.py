"""The MQTT broker: whether it can be reached, lets each of our roles in, and carries what they say."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Iterator

from commands.doctor import installed
from commands.doctor.finding import Finding, Patient, fault, ok, warning
from edge.configuration.settings import Mqtt
from edge.core.errors import ConfigError
from edge.messaging import topics
from edge.messaging.access import ETC
from edge.messaging.bus import Bus
from edge.messaging.connection import Trouble
from edge.messaging.login import Role, credentials
from edge.messaging.messages import InboundMessage

_ROLES: tuple[Role, ...] = ("recorder", "archiver", "query")
_TCP_SECONDS = 3.0
_LOGIN_SECONDS, _LOOK_SECONDS = 6.0, 0.1
_CARRY_TIMES, _CARRY_SECONDS = 3, 0.7
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def look(patient: Patient) -> Iterator[Finding]:
    """Publishes one message for each role below `imhearing/<node>/<role>/doctor`; nothing is retained."""
    settings = patient.settings.mqtt
    if not settings.host:
        yield warning(
            "broker.connect",
            "no broker is named: events go nowhere, unless `imhearing up` starts one",
            patient.configure("mqtt.host=127.0.0.1"),
        )
        return
    reached = can_be_reached(patient)
    yield reached
    if reached.state != "fault":
        yield from carries(patient)


def can_be_reached(patient: Patient) -> Finding:
    check, settings = "broker.connect", patient.settings.mqtt
    where = f"{settings.host}:{settings.port}"
    try:
        socket.create_connection((settings.host, settings.port), _TCP_SECONDS).close()
    except socket.gaierror:
        return fault(check, f"there is no machine called {settings.host!r}", patient.configure("mqtt.host=HOST"))
    except OSError as problem:
        return fault(check, f"no broker at {where} ({problem.strerror or problem})", _start(patient))
    return ok(check, f"{where} accepts connections")


def _start(patient: Patient) -> str:
    settings = patient.settings.mqtt
    if patient.by_up:
        return patient.up()
    if settings.host in _LOOPBACK:
        return f"sudo systemctl enable --now {installed.broker_service()}"
    return (
        f"ping -c 3 {settings.host}  # start the broker there, or name another: {patient.configure('mqtt.host=HOST')}"
    )


def carries(patient: Patient) -> Iterator[Finding]:
    """Logs in as each role, and looks whether what it publishes comes back to who may read everything."""
    settings, node = patient.settings.mqtt, patient.settings.node.name
    refused: list[Finding] = []
    seen: dict[str, threading.Event] = {}

    def arrived(message: InboundMessage) -> None:
        if message.topic in seen:
            seen[message.topic].set()

    with _Connections(patient, refused) as open_as:
        control = open_as("control")
        buses = {role: open_as(role) for role in _roles(settings)}
        if refused:
            yield refused[0]
            return
        yield ok("broker.login", f"lets {_users(settings)} in")
        assert control is not None  # noqa: S101 - for the type checker
        control.subscribe_raw(topics.doctor(node, "+"), arrived)
        for role in buses:
            seen[topics.doctor(node, role)] = threading.Event()
        lost = [role for role, bus in buses.items() if bus and not _comes_back(bus, topics.doctor(node, role), seen)]
    yield _rights(patient, lost)


def _comes_back(bus: Bus, topic: str, seen: dict[str, threading.Event]) -> bool:
    """Said a few times: the subscription may not stand yet."""
    for _ in range(_CARRY_TIMES):
        bus.send(topic, b"{}", expiry=10)
        if seen[topic].wait(_CARRY_SECONDS):
            return True
    return False


def _rights(patient: Patient, lost: list[Role]) -> Finding:
    check, node = "broker.rights", patient.settings.node.name
    if not lost:
        return ok(check, "what each role publishes arrives")
    role = lost[0]
    user = credentials(patient.settings.mqtt, role)[0] or "(anonymous)"
    reader = credentials(patient.settings.mqtt, "control")[0] or "(anonymous)"
    return fault(
        check,
        f"what {user} publishes on {topics.doctor(node, role)} does not reach {reader}: the broker's ACL forbids it",
        f"{patient.as_root(f'broker-setup --into {ETC}')} && sudo systemctl reload {installed.broker_service()}",
    )


def _roles(settings: Mqtt) -> tuple[Role, ...]:
    """All where each has a login of its own; one is enough where they share it."""
    return _ROLES if "{role}" in settings.username else ("recorder",)


def _users(settings: Mqtt) -> str:
    names = sorted({credentials(settings, role)[0] or "anonymous programs" for role in (*_roles(settings), "control")})
    return ", ".join(names)


class _Connections:
    """Opens a connection for each role, and closes them all; what refused us goes into `refused`."""

    def __init__(self, patient: Patient, refused: list[Finding]) -> None:
        self._patient, self._refused = patient, refused
        self._buses: list[Bus] = []

    def __enter__(self) -> _Connections:
        return self

    def __call__(self, role: Role) -> Bus | None:
        settings = self._patient.settings.mqtt
        if self._refused:
            return None
        try:
            bus = Bus(settings, self._patient.settings.node.name, role, secrets.token_hex(4))
            bus.start()
            self._buses.append(bus)
            deadline = time.monotonic() + _LOGIN_SECONDS
            while bus.trouble is None and time.monotonic() < deadline:
                if bus.wait_connected(_LOOK_SECONDS):
                    return bus
            self._refused.append(self._why(role, bus.trouble))
        except ConfigError as problem:
            key = "ca_file" if "ca_file" in str(problem) else "cert_file"
            self._refused.append(fault("broker.login", str(problem), self._patient.configure(f"mqtt.{key}=")))
        return None

    def _why(self, role: Role, trouble: Trouble | None) -> Finding:
        check, patient, settings = "broker.login", self._patient, self._patient.settings.mqtt
        user = credentials(settings, role)[0]
        if trouble is not None and trouble.ending == "refused":
            key = "password" if not getattr(settings, f"{role}_password").reveal() else f"{role}_password"
            changes = [f"mqtt.{key}=-"] if user else ["mqtt.username=USER", "mqtt.password=-"]
            return fault(check, trouble.text, patient.configure(*changes))
        if trouble is not None and "certificate" in trouble.text.lower():
            return fault(check, trouble.text, patient.configure("mqtt.ca_file=PATH/TO/ca.crt"))
        if settings.tls == "on":
            return fault(check, "it accepts connections, but speaks no TLS", patient.configure("mqtt.tls=off"))
        return fault(
            check,
            "it accepts connections, and does not answer as an MQTT broker: is it the TLS port?",
            patient.configure("mqtt.tls=on"),
        )

    def __exit__(self, *_: object) -> None:
        for bus in self._buses:
            bus.stop(timeout=0.5)
