"""`imhearing watch`: a node's events, live, until Ctrl-C; over MQTT with its level, else as its door lets it tell."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import queue
import shutil
import sys
from typing import Any, NoReturn

from commands.cli.common import (
    chosen_node,
    load_settings_for_query,
    load_settings_with_broker,
    print_json,
    print_message,
)
from commands.cli.logs import escaped
from commands.cli.nodes import chosen_via
from commands.cli.output import can_redraw
from commands.show.formats import clock, level_bar
from commands.show.node_view import describe
from edge.core import wire
from edge.core.backoff import Backoff
from edge.core.errors import DoorError, QueryRefused, WireError
from edge.messaging import topics
from edge.messaging.bus import Bus
from edge.messaging.events import LevelMeasured
from edge.messaging.messages import InboundMessage
from edge.messaging.subscriptions import decode_event
from query_service import api
from query_service.api import Via
from query_service.client.watching import POLL_SECONDS, NodeEvent

_CONNECT_SECONDS = 5.0
_SILENCE_SECONDS = 3.0  # until somebody who watches should hear that nothing comes
_OVER_ABLY = 10.0  # seconds between questions where each is paid for
_LEVEL_BAR = 40  # cells
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds before a lost connection is opened again


def run(args: argparse.Namespace) -> NoReturn:
    via = chosen_via(args.via)
    if via == "mqtt":
        _over_mqtt(args)
    asyncio.run(_through_door(args, via))


def _over_mqtt(args: argparse.Namespace) -> NoReturn:
    """All that the node says, its level each second too."""
    settings = load_settings_with_broker(args)
    node = chosen_node(args, settings)
    inbox: queue.Queue[InboundMessage] = queue.Queue(10_000)
    bus = Bus(settings.mqtt, node, "control")
    bus.subscribe_raw(topics.of_node(node), lambda message: _enqueue(inbox, message))
    bus.start()
    try:
        bus.require_connection(_CONNECT_SECONDS)
        print_message(f"watching {node}; Ctrl-C ends")
        message = _first(inbox, node)
        while True:
            _show(NodeEvent(message.topic, message.payload), args.json, args.utc)
            message = inbox.get()
    finally:
        bus.stop()


def _first(inbox: queue.Queue[InboundMessage], node: str) -> InboundMessage:
    """Waits for ever, and says so: the broker keeps what each node said last, so it has not heard of a silent one."""
    try:
        return inbox.get(timeout=_SILENCE_SECONDS)
    except queue.Empty:
        print_message(f"the broker has nothing from {node}; is it running, and is the name right? Waiting for it")
        return inbox.get()


async def _through_door(args: argparse.Namespace, via: Via) -> NoReturn:
    """Events of a remote node, or its answers to `status`; a connection that breaks is opened again."""
    settings = load_settings_for_query(args)
    every = _OVER_ABLY if via == "ably" else POLL_SECONDS
    backoff, answered = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE), False  # a failure before the first answer is final
    while True:
        try:
            async with api.connect(settings, via, node=args.node, timeout=args.timeout) as door:
                async for heard in api.watch(door, timeout=args.timeout, pause=every):
                    if not answered:
                        print_message(f"watching {escaped(door.node)}; Ctrl-C ends")
                    answered = True
                    backoff.reset()
                    _show(heard, args.json, args.utc)
        except (DoorError, QueryRefused) as problem:
            if not answered:
                raise
            delay = backoff.next_delay()
            print_message(f"{escaped(str(problem))}; trying again in {delay:g} s")
            await asyncio.sleep(delay)


def _enqueue(inbox: queue.Queue[InboundMessage], message: InboundMessage) -> None:
    with contextlib.suppress(queue.Full):
        inbox.put_nowait(message)


def _show(heard: NodeEvent, as_json: bool, utc: bool) -> None:
    if as_json:
        with contextlib.suppress(WireError):
            print_json({"topic": heard.topic, "payload": wire.decode(heard.payload, Any)})
        return
    try:
        event = decode_event(heard.topic, heard.payload)
    except WireError:
        event = None
    over = "\r\x1b[K" if can_redraw(sys.stdout) else ""
    if isinstance(event, LevelMeasured):
        line = f"{clock(event.at, utc)}  {event.laeq:6.1f} {event.unit}  "
        # one line of the terminal: of a longer one, only the last would be overwritten
        bar = max(0, min(_LEVEL_BAR, shutil.get_terminal_size().columns - len(line) - 1))
        print(f"{over}{line}{level_bar(event.laeq, event.unit, bar)}", end="" if over else "\n", flush=True)
    elif event is not None and (text := describe(event, utc)):
        print(f"{over}{clock(event.at, utc)}  {text}", flush=True)
    elif event is None:
        print(f"{over}{escaped(heard.topic[:200])}", flush=True)
