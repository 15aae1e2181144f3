"""`imhearing up`: the whole node in one terminal, what is not configured included, until Ctrl-C."""

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

from commands.cli import logs
from commands.cli.common import data_dir, print_message
from commands.up.display import Display, PlainDisplay
from commands.up.node import Node, commands_to_paste
from commands.up.plan import Plan, asked_settings, make_plan, remember, secrets_of_environment
from edge.configuration.settings import Settings
from edge.core.errors import ImHearingError


class Stopping:
    """Whether it is time to end: a signal came, or `deadline` (monotonic seconds) has passed."""

    def __init__(self, deadline: float | None) -> None:
        self.deadline = deadline
        self._signalled = False

    def signalled(self, _number: int, _frame: FrameType | None) -> None:
        self._signalled = True

    def __call__(self) -> bool:
        return self._signalled or (self.deadline is not None and time.monotonic() >= self.deadline)


def run(args: argparse.Namespace) -> int:
    """Starts everything, shows it, and ends it all in order. ImHearingError in plain words."""
    folder = data_dir(args)
    asked = asked_settings(folder, args.config, args.overrides)
    logs.set_up_for_people()
    _check_source(asked)
    _make_folder(folder)
    with _only_one(folder):
        stopping = Stopping(None if args.seconds is None else time.monotonic() + args.seconds)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, stopping.signalled)
        plan = make_plan(folder, asked)
        remember(folder, plan, secrets_of_environment(folder, args.config, args.overrides, asked))
        _tell(folder, plan)
        _run_node(Node(folder, plan, _display(), stopping.deadline), stopping)
    return 0


def _run_node(node: Node, stopping: Stopping) -> None:
    try:
        node.start(stopping)
        node.watch(stopping)
    finally:
        print_message("ending: recorder first, so that its last chunk is finished")
        for name in node.stop():
            print_message(f"! {name} did not end in time and was ended by force; nothing finished is lost")
        print_message(f"ended; {node.summary()}")


def _display() -> Display:
    if not sys.stdout.isatty():
        return PlainDisplay()
    from rich.console import Console  # noqa: PLC0415 -- not needed without a terminal

    from commands.up.screen_display import ScreenDisplay  # noqa: PLC0415

    return ScreenDisplay(Console())


def _tell(folder: Path, plan: Plan) -> None:
    print_message(f"node      {plan.settings.node.name}")
    for note in (f"data      {folder}", *plan.notes):
        print_message(note)
    print_message("in a second terminal:")
    for command in commands_to_paste(folder, plan):
        print_message(f"  {shlex.join(command)}")


def _check_source(asked: Settings) -> None:
    """FileUnplayable where a file is to be recorded from and cannot be: the recorder would be started in vain."""
    if asked.recorder.source in ("auto", "microphone", "synthetic"):
        return
    from edge.recorder.capture.sources import choose_source  # noqa: PLC0415 -- NumPy and PortAudio, for a file alone

    with contextlib.closing(choose_source(asked.recorder)) as source:
        source.open()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "logs").mkdir(mode=0o700, exist_ok=True)
    except OSError as problem:
        raise ImHearingError(
            f"{folder}: cannot be used as data folder ({problem.strerror}); name another with --data"
        ) from None


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Holds the folder's lock; the file tells whose it is. The kernel lets go of it whatever ends us."""
    path = folder / "up.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as problem:
        raise ImHearingError(
            f"{path}: cannot be written ({problem.strerror}); name another folder with --data"
        ) from None
    with os.fdopen(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = file.read(20).strip()
            raise ImHearingError(
                f"{folder}: another `imhearing up` (process {owner or 'unknown'}) runs here;"
                " end it, or name another folder with --data"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
