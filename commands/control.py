"""`imhearing pause`, `resume`, `rotate`, `archive`: commands to a node. `unannounce`: take one back.

On the node itself `pause` and `resume` write to the spool, where the recorder looks before each block, and wait for
what it then notes there: they need no broker, and believe nobody else's answer. Everything else goes over MQTT.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable
from typing import Any

from commands.cli.common import chosen_node, load_settings, load_settings_with_broker, now, print_json, print_message
from commands.cli.times import parse_duration
from commands.show.formats import when
from commands.show.node_view import describe_recorder
from edge.configuration.schedule import schedule_of
from edge.configuration.settings import Settings
from edge.core import wire
from edge.core.errors import DoorError, ImHearingError, SpoolError, UsageError
from edge.core.instant import MICROSECONDS, Instant
from edge.core.kernel_clock import KernelClock
from edge.core.values import SpoolState
from edge.messaging import topics
from edge.messaging.bus import Bus
from edge.messaging.command_client import ask, new_id
from edge.messaging.commands import LONGEST_PAUSE, ArchiveNow, Command, NotRecording, Pause, Resume, Rotate
from edge.messaging.events import EVENTS, ArchiverStatus, QueryStatus, RecorderStatus, Response, ServiceStatus
from edge.messaging.login import Role
from edge.recorder.pause import ScheduleWatch
from edge.spool.spool import Spool, spool_of

_CONNECT_SECONDS = 5.0
_REACTION_SECONDS, _POLL_SECONDS = 15.0, 0.02  # a sound server takes two seconds to open a microphone
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
    spool = _spool_here(args, chosen)
    if spool is None:
        seconds = None if length is None else length / MICROSECONDS
        data = _ask(args, chosen, Pause(id=new_id(), seconds=seconds))
        end = _end(Instant.parse(data["until"]) if data.get("until") else None, args.utc)
        _done(args, data, f"paused until {end}")
        return 0
    ordered = None if length is None else Instant(now() + length)
    spool.pause.order(ordered, KernelClock())
    end = _end(ordered, args.utc)
    reaction = _wait_for_reaction(spool, lambda state: state.state == "paused" and state.until == ordered)
    if reaction is None and ordered is not None:
        text = f"{_STOPPED} if it starts before {end}, it is paused until then"
    elif reaction is None:
        text = f"{_STOPPED} when it starts again, it is paused until {end}"
    elif reaction.state == "paused":
        text = f"paused until {end}"
    else:
        text = f"not recording: {_describe(NotRecording(state=reaction.state), args.utc)}; paused until {end} as well"
    _done(args, {"until": None if ordered is None else str(ordered)}, text)
    return 0


def resume(args: argparse.Namespace) -> int:
    chosen = load_settings(args)
    spool = _spool_here(args, chosen)
    if spool is None:
        data = _ask(args, chosen, Resume(id=new_id()))
        _done(args, data, _why_not(data, "not recording: ", args.utc) or "recording goes on")
        return 0
    spool.pause.remove()
    scheduled = ScheduleWatch(schedule_of(chosen), KernelClock()).active()
    pause = None if scheduled is None else NotRecording(state="paused", until=scheduled.until, reason=scheduled.reason)
    expected = ("recording", None) if pause is None else ("paused", pause.until)
    reaction = _wait_for_reaction(spool, lambda state: (state.state, state.until) == expected)
    if pause is None and reaction is not None and reaction.state != "recording":
        pause = NotRecording(state=reaction.state)
    if reaction is not None:
        text = "recording goes on" if pause is None else f"not recording: {_describe(pause, args.utc)}"
    else:
        text = (
            f"{_STOPPED} when it starts again, it {'records' if pause is None else f'is {_describe(pause, args.utc)}'}"
        )
    _done(args, {} if pause is None else wire.to_plain(pause), text)
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


def _why_not(data: dict[str, Any], before: str, utc: bool = False) -> str | None:
    """Why nothing is being recorded, after `before`; None if the recorder says nothing of the kind."""
    return f"{before}{_describe(wire.convert(data, NotRecording), utc)}" if data else None


def _describe(found: NotRecording, utc: bool) -> str:
    return f"{describe_recorder(found, now(), utc)}{f' ({found.reason})' if found.reason else ''}"


def _end(until: Instant | None, utc: bool) -> str:
    return "`imhearing resume`" if until is None else when(until, now(), utc)


def _spool_here(args: argparse.Namespace, chosen: Settings) -> Spool | None:
    """The spool of the node, if that is this one: whoever can write there needs no broker to command it."""
    spool = spool_of(chosen)
    return spool if chosen_node(args, chosen) == chosen.node.name and spool.path.is_dir() else None


def _ask(args: argparse.Namespace, chosen: Settings, command: Command) -> dict[str, Any]:
    return ask(load_settings_with_broker(args).mqtt, chosen_node(args, chosen), command, connect=_CONNECT_SECONDS)


def _wait_for_reaction(spool: Spool, has_reacted: Callable[[SpoolState], bool]) -> SpoolState | None:
    """What the recorder notes in the spool once it has reacted; None: none is running.

    One that cannot record anyway (no microphone, disk full) may take longer to react, and does not have to.
    """
    deadline = time.monotonic() + _REACTION_SECONDS
    while spool.recorder_lock.is_held():
        state = None
        with contextlib.suppress(SpoolError):
            state = spool.state.read()
        if state is not None and has_reacted(state):
            return state
        if time.monotonic() >= deadline:
            if state is not None and state.state in ("no_device", "disk_full"):
                return state
            raise ImHearingError(
                f"the recorder has not reacted within {_REACTION_SECONDS:g} s; it will find the order in the spool once"
                " it works again: see its log"
            )
        time.sleep(_POLL_SECONDS)
    return None


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
