"""The MQTT broker: whether it can be reached, lets each of our roles in, and carries what they say."""

from __future__ import annotations

import logging
import secrets
import socket
import threading
import time
from collections.abc import Iterator

from commands.doctor import installed
from commands.doctor.finding import Finding, Patient, fault, ok, warning
from edge.configuration.settings import Mqtt
from edge.core.errors import ConfigError
from edge.messaging.access import ETC
from edge.messaging.bus import Bus, Message
from edge.messaging.events import ROOT
from edge.messaging.login import Role, credentials

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

    def arrived(message: Message) -> None:
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
        control.subscribe(f"{ROOT}/{node}/+/doctor", arrived)
        for role in buses:
            seen[_topic(node, role)] = threading.Event()
        lost = [role for role, bus in buses.items() if bus and not _comes_back(bus, _topic(node, role), seen)]
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
        f"what {user} publishes on {_topic(node, role)} does not reach {reader}: the broker's ACL forbids it",
        f"{patient.as_root(f'broker-setup --into {ETC}')} && sudo systemctl reload {installed.broker_service()}",
    )


def _topic(node: str, role: Role) -> str:
    """Every role may publish below its own name, and `control` may read all of them."""
    return f"{ROOT}/{node}/{role}/doctor"


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
        name = f"{self._patient.settings.node.name}-doctor-{role}"
        overheard = _Overheard()
        try:
            overheard.begin()
            bus = Bus(settings, name, secrets.token_hex(4))
            bus.start()
            self._buses.append(bus)
            deadline = time.monotonic() + _LOGIN_SECONDS
            while not overheard.last and time.monotonic() < deadline:
                if bus.wait_connected(_LOOK_SECONDS):
                    return bus
            self._refused.append(self._why(role, overheard.last))
        except ConfigError as problem:
            key = "ca_file" if "ca_file" in str(problem) else "cert_file"
            self._refused.append(fault("broker.login", str(problem), self._patient.configure(f"mqtt.{key}=")))
        finally:
            overheard.end()
        return None

    def _why(self, role: Role, told: str) -> Finding:
        check, patient, settings = "broker.login", self._patient, self._patient.settings.mqtt
        user = credentials(settings, role)[0]
        lowered = told.lower()
        if "refuses" in told:
            key = "password" if not getattr(settings, f"{role}_password").reveal() else f"{role}_password"
            changes = [f"mqtt.{key}=-"] if user else ["mqtt.username=USER", "mqtt.password=-"]
            return fault(check, told, patient.configure(*changes))
        if "certificate" in lowered:
            return fault(check, told, patient.configure("mqtt.ca_file=PATH/TO/ca.crt"))
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


class _Overheard(logging.Handler):
    """The last trouble that the connection told of: it goes on trying and raises nothing. Nobody else hears it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""
        self._logger = logging.getLogger("edge.messaging.bus")
        self._before = self._logger.level, self._logger.propagate

    def begin(self) -> None:
        self._logger.addHandler(self)
        self._logger.setLevel(logging.WARNING)  # commands for people silence it
        self._logger.propagate = False

    def end(self) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._before[0])
        self._logger.propagate = self._before[1]

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()
