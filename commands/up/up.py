"""`imhearing up`: runs a whole node in one terminal until Ctrl-C, with local servers for what is not configured."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from commands.cli.common import data_dir, print_message
from commands.cli.output import can_redraw
from commands.up.display import Display, PlainDisplay
from commands.up.local_node import LocalNode, commands_to_try
from commands.up.plan import (
    StartPlan,
    lost_overrides,
    make_plan,
    save_plan,
    secrets_of_environment,
    user_settings,
)
from edge.configuration.settings import Settings
from edge.core.errors import ImHearingError
from edge.core.files import remove_abandoned
from edge.spool.home import Home
from query_service.page.link import owner_link


class StopRequest:
    """True once a signal has arrived or `deadline` (monotonic seconds) has passed."""

    def __init__(self, deadline: float | None) -> None:
        self.deadline = deadline
        self._signalled = False

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signalled = True

    def __call__(self) -> bool:
        return self._signalled or (self.deadline is not None and time.monotonic() >= self.deadline)


def run(args: argparse.Namespace) -> int:
    """Starts everything, displays it, and stops it in order. ImHearingError."""
    folder = data_dir(args)
    settings = user_settings(folder, args.config, args.overrides)
    Home(settings).check_settings()  # before the files of the last `up` are overwritten
    _check_source(settings)
    _make_folder(folder)
    with _lock(folder):
        stopping = StopRequest(None if args.seconds is None else time.monotonic() + args.seconds)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, stopping.on_signal)
        remove_abandoned(folder, r"up\.json|config\.ini")
        plan = make_plan(folder, settings)
        if lost := lost_overrides(folder, args.config, args.overrides, settings):
            plan.notes.append(f"settings  --set is for one start; no longer set: {', '.join(lost)}")
        secrets = secrets_of_environment(folder, args.config, args.overrides, settings)
        save_plan(folder, plan, secrets, args.overrides)
        _print_plan(plan)
        _run_node(LocalNode(plan, _display()), stopping)
    return 0


def _run_node(node: LocalNode, stopping: StopRequest) -> None:
    try:
        node.start(stopping)
        node.watch(stopping, stopping.deadline)
    finally:
        print_message("stopping, recorder first, to finish its last chunk")
        for name in node.stop():
            print_message(f"! {name} did not stop in time and was killed; no finished chunk is lost")
        print_message(f"stopped; {node.summary()}")


def _display() -> Display:
    if not can_redraw(sys.stdout):
        return PlainDisplay()
    from rich.console import Console  # noqa: PLC0415 -- not needed without a terminal

    from commands.up.screen import ScreenDisplay  # noqa: PLC0415

    return ScreenDisplay(Console())


def _print_plan(plan: StartPlan) -> None:
    http = plan.settings.http
    print_message(f"page      {owner_link(http, plan.settings.query.cursor_key.reveal())}")
    print_message(f"node      {plan.settings.node.name}")
    for note in (f"data      {plan.folder}", *plan.notes):
        print_message(note)
    print_message("in a second terminal:")
    for command in commands_to_try(plan):
        print_message(f"  {shlex.join(command)}")


def _check_source(settings: Settings) -> None:
    """FileUnplayable if the sound file to record from cannot be played, before anything is started."""
    if settings.recorder.source in ("auto", "microphone", "synthetic"):
        return
    from edge.recorder.capture.sources import choose_source  # noqa: PLC0415 -- NumPy and PortAudio, only needed for a file

    with contextlib.closing(choose_source(settings.recorder)) as source:
        source.open()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "logs").mkdir(mode=0o700, exist_ok=True)
    except OSError as problem:
        raise ImHearingError(
            f"{folder}: cannot be used as the data folder ({problem.strerror}); use another with --data"
        ) from None


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Holds the folder's lock file, which contains our pid. The kernel releases it however we end."""
    path = folder / "up.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as problem:
        raise ImHearingError(
            f"{path}: cannot be written ({problem.strerror}); use another folder with --data"
        ) from None
    with os.fdopen(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = file.read(20).strip()
            raise ImHearingError(
                f"{folder}: another `imhearing up` (process {owner or 'unknown'}) is running here;"
                " stop it, or use another folder with --data"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
