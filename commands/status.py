"""`imhearing status`: whether a node records, and what waits; on its broker also which of its services run."""

from __future__ import annotations

import argparse
import secrets
import threading

from commands.cli import logs
from commands.cli.asking import check_fleet, chosen_via, tell_missing
from commands.cli.common import print_json, settings_to_ask
from commands.cli.logs import escaped
from commands.show import formats as show
from commands.show.node_view import NodeView, size
from edge.configuration.settings import Mqtt, Settings
from edge.core import wire
from edge.core.errors import ImHearingError
from edge.core.ids import EVERY_NODE
from edge.core.instant import Instant
from edge.messaging.bus import Bus
from edge.messaging.events import Event
from query_service.client import client
from query_service.client.client import Via
from query_service.queries.protocol import GoodAnswer, RecorderReport, StatusAnswer

_CONNECT_SECONDS = 2.0
_RETAINED_SECONDS = 1.0  # for what the broker keeps to arrive
_ROLES = ("recorder", "archiver", "query-service")


def run(args: argparse.Namespace) -> int:
    """0 while it records (with `--node all`: while every node does), 1 otherwise."""
    logs.set_up_for_people()
    via, chosen = chosen_via(args.via), settings_to_ask(args)
    if args.node == EVERY_NODE:
        return _every_node(args, via, chosen)
    answer = client.query(chosen, via, type="status", node=args.node, timeout=args.timeout)
    report = _report(answer)
    by_broker = via in ("local", "mqtt")  # elsewhere its broker is not ours
    view = _ask_broker(chosen.mqtt, report.node) if by_broker else None
    if args.json:
        services = None if view is None else {role: view.online(role) for role in _ROLES}
        archiver = wire.to_plain(view.archiver) if view and view.archiver else None
        told = {"recording": _is_recording(report), "services": services, "archiver": archiver, "report": report}
        print_json(told)
    else:
        print_report(report, args.utc, reason_of(report, view))
        if by_broker:
            _print_services(chosen.mqtt, view)
    return 0 if _is_recording(report) else 1


def _every_node(args: argparse.Namespace, via: Via, chosen: Settings) -> int:
    check_fleet(via)
    fleet = client.query_all(chosen, type="status", timeout=args.timeout)
    if args.json:
        print_json(fleet)
    else:
        for answer in fleet.answers.values():
            print_report(_report(answer), args.utc)
            print()
    whole = tell_missing(fleet, args.timeout)
    return 0 if whole and all(_is_recording(_report(answer)) for answer in fleet.answers.values()) else 1


def _report(answer: GoodAnswer) -> StatusAnswer:
    if not isinstance(answer, StatusAnswer):
        raise ImHearingError("the node gave another answer than its status; are its programs of one version?")
    return answer


def _is_recording(report: StatusAnswer) -> bool:
    return report.recorder.state == "recording" and report.recorder.alive


def reason_of(report: StatusAnswer, view: NodeView | None) -> str | None:
    """Why it is in that state, which the recorder tells the broker alone."""
    told = view.recorder if view is not None and view.online("recorder") else None
    return told.reason if told is not None and told.state == report.recorder.state else None


def print_report(report: StatusAnswer, utc: bool, reason: str | None = None) -> None:
    """What the node itself tells, and why the recorder is in its state."""
    words = _recorder(report.recorder, utc)
    if reason:
        words += f": {escaped(reason)}"
    print(f"node      {report.node} {escaped(report.version)}")
    print(f"recorder  {words}")
    last = report.last_chunk
    print(f"chunks    last until {show.full(last.ended_at, utc)}" if last else "chunks    none yet")
    print(f"waiting   {show.count(report.spool.chunks, 'chunk')}, {size(report.spool.bytes)}")
    if report.disk_free is not None:
        print(f"disk      {size(report.disk_free)} free")
    if report.clock is not None and report.clock.uncertain:
        print("clock     not synchronised: times are uncertain")
    if report.catalog != "ready":
        print("catalog   not readable now, or not there yet")


def _recorder(recorder: RecorderReport, utc: bool) -> str:
    words = recorder.state.replace("_", " ")
    # who stopped said so, and its process may run on, as after the end of a file; any other is gone without a word
    if not recorder.alive and recorder.state != "stopped":
        words = f"not running (last: {words})"
    if recorder.since is not None:
        words += f" since {show.full(recorder.since, utc)}"
        if recorder.until is not None:
            words += f" until {_end(recorder.since, recorder.until, utc)}"
    return words + (f", from {escaped(recorder.device)}" if recorder.device else "")


def _end(start: Instant, end: Instant, utc: bool) -> str:
    return show.clock(end, utc) if show.same_day(start, end, utc) else show.full(end, utc)


def _print_services(mqtt: Mqtt, view: NodeView | None) -> None:
    if view is None:
        where = f"{mqtt.host}:{mqtt.port}" if mqtt.host else "(none is known)"
        print(f"broker    does not answer: {where}")
        return
    for role in _ROLES:
        print(f"{role:13} {'online' if view.online(role) else 'OFFLINE'}")
    if view.recorder is not None and view.recorder.hint and view.online("recorder"):
        print(f"input     {escaped(view.recorder.hint)}")
    if view.archiver is not None:
        reason = f": {escaped(view.archiver.reason)}" if view.archiver.reason else ""
        print(f"uploads   {view.archiver.state}{reason}")


def _ask_broker(mqtt: Mqtt, node: str) -> NodeView | None:
    """What the broker keeps of the node; None when it does not answer."""
    if not mqtt.host:
        return None
    view = NodeView()
    complete = threading.Event()

    def take(event: Event, retained: bool) -> None:
        if retained:
            view.apply(event)
        if view.archiver is not None and all(role in view.services for role in _ROLES):
            complete.set()

    bus = Bus(mqtt, node, "control", secrets.token_hex(4))
    bus.subscribe_all(take)
    bus.start()
    try:
        if not bus.wait_connected(_CONNECT_SECONDS):
            return None
        complete.wait(_RETAINED_SECONDS)
    finally:
        bus.stop()
    return view
