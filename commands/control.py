"""`imhearing pause`, `resume`, `rotate`, `archive`: commands to a node over MQTT. `unannounce`: take one back.

A pause must work with the broker down as well: on the node itself it is then written beside the spool, where the
recorder looks at each block.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from typing import Any

from commands.cli.common import chosen_node, load_settings, load_settings_with_broker, now, print_json, print_message
from commands.cli.times import parse_duration
from commands.show.formats import when
from commands.show.node_view import describe_recorder
from edge.configuration.schedule import schedule_of
from edge.configuration.settings import Settings
from edge.core import wire
from edge.core.errors import DoorError, SpoolError, UsageError
from edge.core.instant import MICROSECONDS, Instant
from edge.core.kernel_clock import KernelClock
from edge.messaging import topics
from edge.messaging.bus import Bus
from edge.messaging.command_client import ask, new_id
from edge.messaging.commands import LONGEST_PAUSE, ArchiveNow, Command, NotRecording, Pause, Resume, Rotate
from edge.messaging.events import EVENTS, ArchiverStatus, QueryStatus, RecorderStatus, Response, ServiceStatus
from edge.messaging.login import Role
from edge.recorder.pause import ScheduleWatch
from edge.spool.spool import Spool, spool_of

_CONNECT_SECONDS = 5.0
SENT: dict[str, tuple[type[Command], Callable[[dict[str, Any]], str]]] = {  # by subcommand; what its answer means
    "rotate": (Rotate, lambda data: _why_not(data, "no chunk to finish: ") or "the chunk ends, another begins"),
    "archive": (ArchiveNow, lambda data: f"archives planned: {len(data.get('archives', []))}"),
}
_STOPPED = "the recorder does not run;"


def pause(args: argparse.Namespace) -> int:
    chosen = load_settings(args)
    length = parse_duration(args.duration) if args.duration is not None else None
    if length is not None and not MICROSECONDS <= length <= LONGEST_PAUSE * MICROSECONDS:
        raise UsageError("a pause lasts 1s to 31d, or, without a duration, until `imhearing resume`")
    seconds = None if length is None else length / MICROSECONDS
    until = None if length is None else Instant(now() + length)
    command, in_spool = Pause(id=new_id(), seconds=seconds), {"until": None if until is None else str(until)}
    data, taken_up = _order(args, chosen, command, lambda spool: spool.pause.order(until, KernelClock()), in_spool)
    paused_until = data.get("until")
    end = when(Instant.parse(paused_until), now(), args.utc) if paused_until else "`imhearing resume`"
    if taken_up:
        text = f"paused until {end}"
    elif paused_until:
        text = f"{_STOPPED} if it starts before {end}, it is paused until then"
    else:
        text = f"{_STOPPED} when it starts again, it is paused until {end}"
    _done(args, data, text)
    return 0


def resume(args: argparse.Namespace) -> int:
    chosen = load_settings(args)
    written = wire.to_plain(_without_order(chosen) or {})
    data, taken_up = _order(args, chosen, Resume(id=new_id()), lambda spool: spool.pause.remove(), written)
    if taken_up:
        text = _why_not(data, "not recording: ", args.utc) or "recording goes on"
    else:
        text = f"{_STOPPED} when it starts again, it {_why_not(data, 'is ', args.utc) or 'records'}"
    _done(args, data, text)
    return 0


def send(args: argparse.Namespace) -> int:
    """`imhearing rotate`, `imhearing archive`: what has neither options nor another way than the broker."""
    chosen = load_settings_with_broker(args)
    command_type, done = SENT[args.command]
    data = ask(chosen.mqtt, chosen_node(args, chosen), command_type(id=new_id()))
    _done(args, data, done(data))
    return 0


def unannounce(args: argparse.Namespace) -> int:
    """`imhearing unannounce`: nothing of the node stays retained on the broker, and Home Assistant forgets it."""
    chosen = load_settings_with_broker(args)
    node = chosen_node(args, chosen)
    _take_back(chosen, node, "recorder", RecorderStatus)
    _take_back(chosen, node, "archiver", ArchiverStatus)
    _take_back(chosen, node, "query", QueryStatus)
    print_message(f"nothing of {node} is left on the broker")
    return 0


def _without_order(chosen: Settings) -> NotRecording | None:
    """What keeps the node whose spool is here from recording if no pause is ordered."""
    if (scheduled := ScheduleWatch(schedule_of(chosen), KernelClock()).active()) is not None:
        return NotRecording(state="paused", until=scheduled.until, reason=scheduled.reason)
    spool = Spool(chosen.recorder.record_path, chosen.node.name)
    with contextlib.suppress(OSError, SpoolError):
        state = spool.state.read() if spool.recorder_lock.is_held() else None
        if state is not None and state.state in ("no_device", "disk_full"):
            return NotRecording(state=state.state)
    return None


def _why_not(data: dict[str, Any], before: str, utc: bool = False) -> str | None:
    """Why nothing is being recorded, after `before`; None if the recorder says nothing of the kind."""
    if not data:
        return None
    found = wire.convert(data, NotRecording)
    return f"{before}{describe_recorder(found, now(), utc)}{f' ({found.reason})' if found.reason else ''}"


def _order(
    args: argparse.Namespace,
    chosen: Settings,
    command: Command,
    write: Callable[[Spool], object],
    written: dict[str, Any],
) -> tuple[dict[str, Any], bool]:
    """Over MQTT; where no broker can be reached and the node is this one, `write` puts it into the spool.

    Returns the answer, `written` for the spool, and whether a recorder runs that takes it up.
    """
    node = chosen_node(args, chosen)
    spool = spool_of(chosen)
    local = node == chosen.node.name and spool.path.is_dir()
    if chosen.mqtt.host or not local:
        mqtt = load_settings_with_broker(args).mqtt
        try:
            return ask(mqtt, node, command, connect=2.0 if local else _CONNECT_SECONDS), True
        except DoorError as problem:
            if not local:
                raise
            print_message(f"{problem}\nwritten into the spool instead, where the recorder will find it")
    write(spool)
    return written, spool.recorder_lock.is_held()


def _done(args: argparse.Namespace, data: dict[str, Any], text: str) -> None:
    if args.json:
        print_json(data)
    else:
        print_message(text)


def _take_back(chosen: Settings, node: str, role: Role, status_type: type[ServiceStatus]) -> None:
    retained = [event.topic_of(node) for event in EVENTS if event.RETAINED and event.TOPIC.startswith(f"{role}/")]
    if role == "recorder":
        retained.append(topics.discovery(node, chosen.mqtt.discovery or topics.HOME_ASSISTANT))
    bus = Bus(chosen.mqtt, node, role)
    running: list[str] = []

    def heard(status: ServiceStatus, _retained: bool) -> None:
        if status.state == "online":
            running.append(status.instance)

    bus.subscribe(status_type, heard)
    bus.start()
    try:
        bus.require_connection(_CONNECT_SECONDS)
        bus.send(topics.response(node, "unannounce"), wire.encode(Response(id=new_id(), ok=True)), expiry=1)
        if not bus.flush(_CONNECT_SECONDS) or running:  # the status came before the receipt
            raise DoorError(f"the {role} of {node} is still running; stop it first, else it announces itself again")
        for topic in retained:
            bus.retain(topic, b"")
        if not bus.flush(_CONNECT_SECONDS):
            raise DoorError(f"the broker did not take it; may {role} write {retained[0]}?")
    finally:
        bus.stop()
