"""`imhearing status`: whether the node records, and what waits. From its folder, and from what the broker keeps."""

from __future__ import annotations

import argparse
import secrets
import threading

from commands import logs, show
from commands.common import print_json, settings_to_ask
from commands.logs import escaped
from commands.node_view import NodeView, read_event, size
from edge import wire
from edge.errors import ImHearingError
from edge.events import ROOT
from edge.mqtt import Bus, Message
from edge.settings import Settings
from query_service import client
from query_service.protocol import StatusAnswer

_CONNECT_SECONDS = 2.0
_RETAINED_SECONDS = 1.0  # for what the broker keeps to arrive
_ROLES = ("recorder", "archiver", "query-service")


def run(args: argparse.Namespace) -> int:
    """0 while it records, 1 otherwise."""
    logs.set_up_for_people()
    chosen = settings_to_ask(args)
    report = client.query(chosen, "local", type="status")
    if not isinstance(report, StatusAnswer):
        raise ImHearingError("the node gave another answer than its status; are its programs of one version?")
    view = _ask_broker(chosen)
    recording = report.recorder.state == "recording" and report.recorder.alive
    if args.json:
        services = None if view is None else {role: view.online(role) for role in _ROLES}
        archiver = wire.to_plain(view.archiver) if view and view.archiver else None
        print_json({"recording": recording, "services": services, "archiver": archiver, "report": report})
        return 0 if recording else 1
    print_report(report, args.utc)
    _print_services(chosen, view)
    return 0 if recording else 1


def print_report(report: StatusAnswer, utc: bool) -> None:
    """What the node's folder tells."""
    recorder = report.recorder
    words = recorder.state.replace("_", " ") if recorder.alive else f"not running (last: {recorder.state})"
    if recorder.since is not None:
        words += f" since {show.full(recorder.since, utc)}"
    if recorder.device:
        words += f", from {escaped(recorder.device)}"
    print(f"node      {report.node} {report.version}")
    print(f"recorder  {words}")
    last = report.last_chunk
    print(f"chunks    last until {show.full(last.ended_at, utc)}" if last else "chunks    none yet")
    print(f"waiting   {report.spool.chunks} chunks, {size(report.spool.bytes)}")
    if report.disk_free is not None:
        print(f"disk      {size(report.disk_free)} free")
    if report.clock is not None and report.clock.uncertain:
        print("clock     not synchronised: times are uncertain")
    if report.catalog != "ready":
        print("catalog   not readable now, or not there yet")


def _print_services(settings: Settings, view: NodeView | None) -> None:
    if view is None:
        where = f"{settings.mqtt.host}:{settings.mqtt.port}" if settings.mqtt.host else "(none is known)"
        print(f"broker    does not answer: {where}")
        return
    for role in _ROLES:
        print(f"{role:13} {'online' if view.online(role) else 'OFFLINE'}")
    if view.archiver is not None:
        reason = f": {escaped(view.archiver.reason)}" if view.archiver.reason else ""
        print(f"uploads   {view.archiver.state}{reason}")


def _ask_broker(settings: Settings) -> NodeView | None:
    """What the broker keeps of the node; None when it does not answer."""
    if not settings.mqtt.host:
        return None
    view = NodeView()
    complete = threading.Event()

    def take(message: Message) -> None:
        event = read_event(message.topic, message.payload)
        if event is not None and message.retained:
            view.apply(event)
        if view.archiver is not None and all(role in view.services for role in _ROLES):
            complete.set()

    bus = Bus(settings.mqtt, f"{settings.node.name}-status", secrets.token_hex(4))
    bus.subscribe(f"{ROOT}/{settings.node.name}/+/+", take)
    bus.start()
    try:
        if not bus.wait_connected(_CONNECT_SECONDS):
            return None
        complete.wait(_RETAINED_SECONDS)
    finally:
        bus.stop()
    return view
