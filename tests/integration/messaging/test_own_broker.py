"""The node's own broker: who reaches it, what it refuses, and that no client uses up what the others need."""

from __future__ import annotations

import contextlib
import shlex
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from commands.up.own_broker import viewer_command
from edge.core.instant import Instant
from edge.messaging.bus import Bus
from edge.messaging.events import ArchiverState, Event, LevelMeasured, RecorderState
from edge.messaging.login import Role
from edge.messaging.messages import MAX_PACKET, MAX_PAYLOAD
from tests.support.messaging.mqtt import Client, connected
from tests.support.messaging.own_broker import NODE, OwnBroker, running_own_broker
from tests.support.wait import DEADLINE, wait_until

OWN = f"imhearing/{NODE}"
_AT = Instant.parse("2026-11-22T05:44:08.000000Z")
_MEMORY = 64e6  # bytes: MemoryMax= of imhearing-broker.service


@pytest.fixture
def broker() -> Iterator[OwnBroker]:
    with running_own_broker() as running:
        yield running


@contextlib.contextmanager
def logged_in(broker: OwnBroker, role: Role) -> Iterator[Bus]:
    bus = Bus(broker.settings, NODE, role)
    bus.start()
    try:
        bus.require_connection(DEADLINE)
        yield bus
    finally:
        bus.stop()


def resident(pid: int) -> int:
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1_024


# who reaches it


def test_every_role_logs_in_on_the_socket_and_no_port_is_open(broker: OwnBroker) -> None:
    roles: tuple[Role, ...] = ("recorder", "archiver", "query", "control", "page")
    with contextlib.ExitStack() as stack:
        for role in roles:
            stack.enter_context(logged_in(broker, role))
        inet = {
            line.split()[9]
            for table in ("tcp", "tcp6")
            for line in Path(f"/proc/{broker.pid}/net/{table}").read_text().splitlines()[1:]
        }
        held = {str(each.readlink()) for each in Path(f"/proc/{broker.pid}/fd").iterdir()}
        assert not {f"socket:[{inode}]" for inode in inet} & held


def test_only_the_owner_can_put_a_socket_in_the_place_of_the_brokers(broker: OwnBroker) -> None:
    assert stat.S_IMODE(broker.socket.parent.stat().st_mode) == 0o700
    for name in ("acl", "passwords", "mosquitto.conf", "viewer/mosquitto_sub"):
        assert stat.S_IMODE((broker.folder / name).stat().st_mode) == 0o600


@pytest.mark.parametrize(("user", "password"), [(None, None), ("porch-viewer", "wrong"), ("porch-recorder", None)])
def test_nobody_gets_in_without_a_password(broker: OwnBroker, user: str | None, password: str | None) -> None:
    with (
        pytest.raises(AssertionError, match=r"(?i)not authorized|bad user"),
        connected(broker.socket, user, password),
    ):
        pass


def test_the_printed_line_shows_events_as_the_viewer_without_a_password_in_it(broker: OwnBroker) -> None:
    line = viewer_command(NODE, broker.folder, broker.settings, "imhearing/#")
    assert not any(password in shlex.join(line) for password in broker.passwords.values())
    with logged_in(broker, "recorder") as recorder:
        recorder.publish(RecorderState(at=_AT, node=NODE, state="recording", since=_AT))
        shown = subprocess.run([*line, "-C", "1", "-W", "30"], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith(f"{OWN}/recorder/state ")


def test_a_pause_is_not_sent_to_a_program_that_listens_where_a_broker_used_to(broker: OwnBroker) -> None:
    """A listener on 1883 received the password of `porch-control`, and its false answer was believed."""
    with socket.socket() as fake:
        fake.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        fake.bind(("127.0.0.1", 0))
        fake.listen()
        fake.settimeout(0.5)
        with logged_in(broker, "control"), pytest.raises(TimeoutError):
            fake.accept()


# limits


def test_a_client_with_too_many_subscriptions_is_cut_off_and_no_other(broker: OwnBroker) -> None:
    with (
        connected(*broker.login("control")) as control,
        logged_in(broker, "recorder") as recorder,
        logged_in(broker, "archiver") as archiver,
    ):
        control.subscribe(f"{OWN}/#")
        where, user, password = broker.login("viewer")
        attacker = paho.Client(CallbackAPIVersion.VERSION2, transport="unix", reconnect_on_failure=False)
        attacker.username_pw_set(user, password)
        lost: list[object] = []
        attacker.on_disconnect = lambda *_: lost.append(True)
        attacker.connect(str(where))
        attacker.loop_start()
        try:
            for start in range(0, 400_000, 500):
                if lost:
                    break
                attacker.subscribe([(f"{OWN}/recorder/{'x' * 60}/{number}", 1) for number in range(start, start + 500)])
            wait_until(lambda: lost, "the attacker is cut off")
        finally:
            attacker.loop_stop()
        assert resident(broker.pid) < _MEMORY
        _still_work(control, recorder, archiver)


def test_stopped_subscribers_cut_off_neither_recorder_nor_archiver(broker: OwnBroker) -> None:
    line = viewer_command(NODE, broker.folder, broker.settings, "#")
    with contextlib.ExitStack() as stack:
        control = stack.enter_context(connected(*broker.login("control")))
        control.subscribe(f"{OWN}/#")
        recorder = stack.enter_context(logged_in(broker, "recorder"))
        archiver = stack.enter_context(logged_in(broker, "archiver"))
        for number in range(10):
            options = ["-q", "1", "-c", "-i", f"stopped-{number}", "-k", "60"]
            stopped = subprocess.Popen([*line, *options], stdout=subprocess.PIPE)
            stack.callback(stopped.wait)
            stack.callback(stopped.kill)
            assert stopped.stdout is not None
            recorder.publish(RecorderState(at=_AT, node=NODE, state="recording", since=_AT))
            assert stopped.stdout.readline()  # it is subscribed
            stopped.send_signal(signal.SIGSTOP)
        reconnected: list[object] = []
        for bus in (recorder, archiver):
            bus.on_connected(lambda: reconnected.append(True))
        for _ in range(1_200):  # 72 MB: more than the broker may use for all of them
            recorder.send(f"{OWN}/recorder/chunk", b"x" * 60_000)
            recorder.publish(_level())
            assert recorder.flush(DEADLINE)
        assert resident(broker.pid) < _MEMORY
        assert not reconnected
        _still_work(control, recorder, archiver)


def test_a_packet_beyond_the_limit_ends_its_senders_connection_and_no_other(broker: OwnBroker) -> None:
    with connected(*broker.login("control")) as control, logged_in(broker, "recorder") as recorder:
        control.subscribe(f"{OWN}/#")
        raw = paho.Client(CallbackAPIVersion.VERSION2, transport="unix", reconnect_on_failure=False)
        where, user, password = broker.login("control")
        raw.username_pw_set(user, password)
        lost: list[object] = []
        raw.on_disconnect = lambda *_: lost.append(True)

        def send(*_: Any) -> None:
            raw.publish(f"{OWN}/request/pause", b"x" * MAX_PACKET, qos=1)

        raw.on_connect = send
        raw.connect(str(where))
        raw.loop_start()
        try:
            wait_until(lambda: lost, "it is cut off")
        finally:
            raw.loop_stop()
        recorder.publish(_level())
        control.wait_for_message(f"{OWN}/recorder/level")
        assert not control.messages_on(f"{OWN}/request/pause")


def test_a_request_of_the_largest_documented_size_still_arrives(broker: OwnBroker) -> None:
    with connected(*broker.login("control")) as control, connected(*broker.login("recorder")) as recorder:
        recorder.subscribe(f"{OWN}/request/pause")
        response = f"{OWN}/response/{'r' * 200}"
        control.publish(f"{OWN}/request/pause", b"x" * MAX_PAYLOAD, response_topic=response, correlation=b"c" * 1_024)
        assert len(recorder.wait_for_message(f"{OWN}/request/pause").payload) == MAX_PAYLOAD


def test_an_event_too_large_for_the_broker_is_not_sent_and_costs_no_connection(
    broker: OwnBroker, caplog: pytest.LogCaptureFixture
) -> None:
    with connected(*broker.login("control")) as control, logged_in(broker, "recorder") as recorder:
        control.subscribe(f"{OWN}/#")
        reconnected: list[object] = []
        recorder.on_connected(lambda: reconnected.append(True))
        recorder.publish(RecorderState(at=_AT, node=NODE, state="paused", since=_AT, reason="x" * MAX_PAYLOAD))
        recorder.publish(_level())
        control.wait_for_message(f"{OWN}/recorder/level")
        assert not control.messages_on(f"{OWN}/recorder/state")
        assert not reconnected
    assert "recorder/state" in caplog.text


def _still_work(control: Client, recorder: Bus, archiver: Bus) -> None:
    """Each sends until it is heard: `control` may be behind, and loses what its full queue cannot hold."""
    idle = ArchiverState(at=_AT, node=NODE, state="idle", backlog_chunks=0, backlog_bytes=0)
    for bus, event, topic in ((recorder, _level(), "recorder/level"), (archiver, idle, "archiver/state")):
        before = len(control.messages_on(f"{OWN}/{topic}"))

        def is_heard(bus: Bus = bus, event: Event = event, topic: str = topic, before: int = before) -> bool:
            bus.publish(event)
            return len(control.messages_on(f"{OWN}/{topic}")) > before

        wait_until(is_heard, f"{topic} is heard")


def _level() -> LevelMeasured:
    return LevelMeasured(
        at=_AT, node=NODE, laeq=-52.3, lafmax=-47.9, lcpeak=-36.0, unit="dBFS", calibrated=False, lafmax_minute=-41.5
    )
