"""The recorder process. Reads the microphone, pause.json and commands; writes the spool; publishes recorder/#."""

from __future__ import annotations

import ctypes
import logging
import threading
from typing import Literal

from edge import __version__
from edge.configuration.schedule import schedule_of
from edge.configuration.settings import Settings
from edge.core.instance import load_instance_id
from edge.core.kernel_clock import KernelClock
from edge.core.systemd import Heartbeat
from edge.messaging.bus import Bus
from edge.messaging.command_server import CommandServer, Handler
from edge.messaging.commands import Command, Pause, Resume, Rotate, SetLimit, SwitchRecording
from edge.messaging.events import RecorderStatus
from edge.messaging.name_guard import NameGuard
from edge.messaging.owner_proof import proof_check
from edge.recorder.announcer import Announcer
from edge.recorder.capture.sources import SourceChoice
from edge.recorder.commands import RecorderCommands
from edge.recorder.missing_disk import StraySound, wait_for_disk
from edge.recorder.pause import ScheduleWatch
from edge.recorder.recorder import Recorder
from edge.recorder.session import ModeReporter
from edge.spool.home import Home
from edge.spool.spool import spool_of

log = logging.getLogger(__name__)


def run(settings: Settings, stop: threading.Event) -> None:
    """Records until `stop` is set. Raises ConfigError for the settings of another node, SpoolError when the spool
    cannot be used at all, FileUnplayable."""
    _spare_memory()
    node, kernel = settings.node.name, KernelClock()
    home, spool = Home(settings), spool_of(settings)
    home.check_settings()
    identity = load_instance_id(settings.catalog.db_path.parent)

    def status(state: Literal["online", "offline"]) -> RecorderStatus:
        return RecorderStatus(at=kernel.now(), node=node, state=state, instance=identity, version=__version__)

    bus = Bus(settings.mqtt, node, "recorder", will=status("offline"))
    announcer, heartbeat = Announcer(settings, bus, kernel), Heartbeat()
    strays = StraySound(settings, home, kernel)
    online = status("online")
    NameGuard(bus, online)
    bus.publish(online)
    try:
        modes = ModeReporter(kernel, heartbeat, announcer)
        missing_since = wait_for_disk(spool, strays, kernel, modes, stop, heartbeat, on_missing=bus.start)
        if stop.is_set():
            return
        spool.create()
        _remember(home)
        source = SourceChoice(settings.recorder, kernel)
        recorder = Recorder(
            settings, spool, source, kernel, announcer, stop, heartbeat, strays=strays, disk_missing_since=missing_since
        )
        announcer.limits_changed(recorder.limits.active)
        schedule = ScheduleWatch(schedule_of(settings), kernel)  # for the thread of the commands
        commands = RecorderCommands(spool, kernel, recorder, schedule)
        CommandServer(bus, node, command_handlers(commands), proof_check(settings.http.owner_key.reveal()))
        if missing_since is None:
            bus.start()
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


def _remember(home: Home) -> None:
    try:
        home.remember()
    except OSError as problem:  # a full disk, for example: recording matters more
        log.warning("a missing disk, or the settings of another node, would not be noticed: %s", problem)


def _spare_memory() -> None:
    """One heap for all threads (mallopt(3), M_ARENA_MAX): each of ours would else keep one of its own."""
    ctypes.CDLL(None).mallopt(-8, 1)
