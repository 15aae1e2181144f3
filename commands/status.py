"""`imhearing status`: is the node recording, and what is waiting? With its broker, also which services are online."""

from __future__ import annotations

import argparse
import threading

from commands.cli.common import load_settings_for_query, print_json
from commands.cli.logs import escaped
from commands.cli.nodes import chosen_via, query_every_node
from commands.show import formats as show
from commands.show.node_view import NodeView, size
from edge.configuration.settings import Mqtt
from edge.core import wire
from edge.core.errors import ImHearingError
from edge.core.ids import EVERY_NODE
from edge.messaging.events import Event
from query_service import api
from query_service.api import Via
from query_service.queries.protocol import GoodAnswer
from query_service.queries.status import RecorderReport, StatusAnswer

_CONNECT_SECONDS = 2.0
_RETAINED_SECONDS = 1.0  # for retained messages to arrive
_ROLES = ("recorder", "archiver", "query-service")


def run(args: argparse.Namespace) -> int:
    """Exit code 0 if the node (with `--node all`, every node) is recording, else 1."""
    via = chosen_via(args.via)
    if args.node == EVERY_NODE:
        return _every_node(args, via)
    settings = load_settings_for_query(args)
    answer = api.query(settings, via, type="status", node=args.node, timeout=args.timeout)
    report = _report(answer)
    has_broker = via in ("local", "mqtt")  # otherwise the node may use another broker
    view, problem = _view_from_broker(settings.mqtt, report.node) if has_broker else (None, "")
    if args.json:
        services = None if view is None else {role: view.online(role) for role in _ROLES}
        archiver = wire.to_plain(view.archiver) if view and view.archiver else None
        print_json({"recording": _is_recording(report), "services": services, "archiver": archiver, "report": report})
    else:
        print_report(report, args.utc, reason_of(report, view))
        if has_broker:
            _print_services(view, problem)
    return 0 if _is_recording(report) else 1


def _every_node(args: argparse.Namespace, via: Via) -> int:
    def show(answer: GoodAnswer) -> None:
        print_report(_report(answer), args.utc)

    fleet, is_complete = query_every_node(args, via, {"type": "status"}, args.timeout, show)
    return 0 if is_complete and all(_is_recording(_report(answer)) for answer in fleet.answers.values()) else 1


def _report(answer: GoodAnswer) -> StatusAnswer:
    if not isinstance(answer, StatusAnswer):
        raise ImHearingError("the node did not answer with its status; do all its services run the same version?")
    return answer


def _is_recording(report: StatusAnswer) -> bool:
    return report.recorder.state == "recording" and report.recorder.alive


def reason_of(report: StatusAnswer, view: NodeView | None) -> str | None:
    """Why the recorder is in its state, which it publishes on the broker only."""
    state = view.recorder if view is not None and view.online("recorder") else None
    return state.reason if state is not None and state.state == report.recorder.state else None


def print_report(report: StatusAnswer, utc: bool, reason: str | None = None) -> None:
    """Prints the node's report, and why the recorder is in its state."""
    recorder = _recorder(report.recorder, utc)
    if reason:
        recorder += f": {escaped(reason)}"
    print(f"node      {report.node} {escaped(report.version)}")
    print(f"recorder  {recorder}")
    last = report.last_chunk
    print(f"chunks    last until {show.full(last.ended_at, utc)}" if last else "chunks    none yet")
    if report.spool is not None:
        print(f"waiting   {show.count(report.spool.chunks, 'chunk')}, {size(report.spool.bytes)}")
    else:
        print("waiting   unknown: the node cannot read its spool; see its log")
    if report.disk_free is not None:
        print(f"disk      {size(report.disk_free)} free")
    if report.clock is not None and report.clock.uncertain:
        print("clock     not synchronised: times are uncertain")
    if report.catalog != "ready":
        print("catalog   not readable, or not created yet")


def _recorder(recorder: RecorderReport, utc: bool) -> str:
    text = recorder.state.replace("_", " ")
    # a stopped recorder may well be alive, as after the end of a file; in any other state it must be
    if not recorder.alive and recorder.state not in ("stopped", "unknown"):
        text = f"not running (last: {text})"
    if recorder.since is not None:
        text += f" since {show.full(recorder.since, utc)}"
        if recorder.until is not None:
            text += f" until {show.when(recorder.until, recorder.since, utc)}"
    return text + (f", from {escaped(recorder.device)}" if recorder.device else "")


def _print_services(view: NodeView | None, problem: str) -> None:
    if view is None:
        print(f"broker    {escaped(problem)}")
        return
    for role in _ROLES:
        print(f"{role:13} {'online' if view.online(role) else 'OFFLINE'}")
    if view.recorder is not None and view.recorder.hint and view.online("recorder"):
        print(f"input     {escaped(view.recorder.hint)}")
    if view.archiver is not None:
        reason = f": {escaped(view.archiver.reason)}" if view.archiver.reason else ""
        print(f"uploads   {view.archiver.state}{reason}")
        if view.archiver.expiry:
            print(f"expiry    held back: {escaped(view.archiver.expiry)}")


def _view_from_broker(mqtt: Mqtt, node: str) -> tuple[NodeView | None, str]:
    """The node's state from its retained messages, or None and the reason."""
    if not mqtt.host:
        return None, "not configured"
    from edge.messaging.bus import Bus  # noqa: PLC0415 - paho, where there is a broker

    view = NodeView()
    complete = threading.Event()

    def take(event: Event, retained: bool) -> None:
        if retained:
            view.apply(event)
        if view.archiver is not None and all(role in view.services for role in _ROLES):
            complete.set()

    bus = Bus(mqtt, node, "control")
    bus.subscribe_all(take)
    bus.start()
    try:
        if not bus.wait_connected(_CONNECT_SECONDS):
            return None, bus.trouble.text if bus.trouble else f"{mqtt.address} does not respond"
        complete.wait(_RETAINED_SECONDS)
    finally:
        bus.stop()
    return view, ""
