"""The recorder process. Reads the microphone, pause.json and commands; writes the spool; publishes recorder/#."""

from __future__ import annotations

import ctypes
import threading
from typing import Literal

from edge import __version__
from edge.configuration.settings import Settings
from edge.core.instance import load_instance_id
from edge.core.kernel_clock import KernelClock
from edge.core.systemd import Heartbeat
from edge.messaging.bus import Bus
from edge.messaging.command_server import CommandServer, Handler
from edge.messaging.commands import Command, Pause, Resume, Rotate, SetLimit, SwitchRecording
from edge.messaging.events import RecorderStatus
from edge.messaging.name_guard import NameGuard
from edge.recorder.announcer import Announcer
from edge.recorder.capture.sources import SourceChoice
from edge.recorder.commands import RecorderCommands
from edge.recorder.recorder import Recorder
from edge.spool.home import Home
from edge.spool.spool import spool_of


def run(settings: Settings, stop: threading.Event) -> None:
    """Records until `stop` is set. Raises ConfigError for the settings of another node, SpoolError when the spool
    cannot be used at all, FileUnplayable."""
    _spare_memory()
    node, kernel = settings.node.name, KernelClock()
    home, spool = Home(settings), spool_of(settings)
    home.check_settings()
    spool.create()
    home.remember()
    identity = load_instance_id(settings.catalog.db_path.parent)

    def status(state: Literal["online", "offline"]) -> RecorderStatus:
        return RecorderStatus(at=kernel.now(), node=node, state=state, instance=identity, version=__version__)

    bus = Bus(settings.mqtt, node, "recorder", identity, will=status("offline"))
    announcer, heartbeat = Announcer(settings, bus, kernel), Heartbeat()
    recorder = Recorder(settings, spool, SourceChoice(settings.recorder, kernel), kernel, announcer, stop, heartbeat)
    announcer.limits_changed(recorder.limits.active)
    commands = RecorderCommands(spool, kernel, recorder)
    CommandServer(bus, node, command_handlers(commands), stray=True)
    NameGuard(bus, status("online"))
    bus.publish(status("online"))
    bus.start()
    try:
        recorder.run()
        while not stop.wait(1.0):  # a file has been played to its end: being started again would play it again
            heartbeat.beat()
    finally:
        heartbeat.stopping()
        bus.stop(farewell=status("offline"))


def command_handlers(commands: RecorderCommands) -> dict[type[Command], Handler]:
    """Who carries out which command."""
    return {
        Pause: commands.pause,
        Resume: commands.resume,
        SwitchRecording: commands.switch,
        Rotate: commands.rotate,
        SetLimit: commands.set_limit,
    }


def _spare_memory() -> None:
    """One heap for all threads (mallopt(3), M_ARENA_MAX): each of ours would else keep one of its own."""
    ctypes.CDLL(None).mallopt(-8, 1)
