"""`imhearing watch`: the node's events and level from MQTT, live, until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import queue
import secrets
import sys
from typing import Any

from commands import logs
from commands.common import print_json, say, settings_with_broker
from commands.logs import escaped
from commands.node_view import describe, read_event
from commands.screen import level_bar
from commands.show import clock
from edge import wire
from edge.errors import DoorError, WireError
from edge.events import ROOT, LevelMeasured
from edge.mqtt import Bus, Message

_CONNECT_SECONDS = 5.0


def run(args: argparse.Namespace) -> int:
    logs.set_up_for_people()
    settings = settings_with_broker(args)
    inbox: queue.Queue[Message] = queue.Queue(10_000)
    bus = Bus(settings.mqtt, f"{settings.node.name}-watch", secrets.token_hex(4))
    bus.subscribe(f"{ROOT}/{settings.node.name}/#", lambda message: _enqueue(inbox, message))
    bus.start()
    try:
        if not bus.wait_connected(_CONNECT_SECONDS):
            raise DoorError(
                f"no MQTT broker answers at {settings.mqtt.host}:{settings.mqtt.port}; is `imhearing up` running?"
            )
        say(f"watching {settings.node.name}; Ctrl-C ends")
        while True:
            _show(inbox.get(), args.json, args.utc)
    finally:
        bus.stop()


def _enqueue(inbox: queue.Queue[Message], message: Message) -> None:
    with contextlib.suppress(queue.Full):
        inbox.put_nowait(message)


def _show(message: Message, as_json: bool, utc: bool) -> None:
    if as_json:
        with contextlib.suppress(WireError):
            print_json({"topic": message.topic, "payload": wire.decode(message.payload, Any)})
        return
    event = read_event(message.topic, message.payload)
    over = "\r\x1b[K" if sys.stdout.isatty() else ""
    if isinstance(event, LevelMeasured):
        line = f"{clock(event.at, utc)}  {event.laeq:6.1f} {event.unit}  {level_bar(event.laeq, event.unit, 40)}"
        print(f"{over}{line}", end="" if over else "\n", flush=True)
    elif event is not None and (text := describe(event)):
        print(f"{over}{clock(event.at, utc)}  {text}", flush=True)
    elif event is None:
        print(f"{over}{escaped(message.topic[:200])}", flush=True)
