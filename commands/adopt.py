"""`imhearing adopt`: accepts the settings or the disk that the recorder refuses, and moves sound into the spool."""

from __future__ import annotations

import argparse
from pathlib import Path

from commands.cli.common import load_settings, print_message
from edge.configuration.settings import Settings
from edge.core.errors import ImHearingError, UsageError
from edge.core.kernel_clock import KernelClock
from edge.spool.home import Home
from edge.spool.spool import Spool


def run(args: argparse.Namespace) -> int:
    settings = load_settings(args)
    node = settings.node
    spool = Spool(settings.recorder.record_path, node.name, node.earlier_names)  # whatever disk it is on
    spool.create()
    with spool.recorder_lock.hold():
        if args.old is not None:
            _move_sound(args.old.expanduser().absolute(), spool, settings)
        try:
            Home(settings).adopt()
        except OSError as problem:
            folder = settings.recorder_folder
            raise ImHearingError(f"{folder}: cannot be written ({problem.strerror}); run this as its user") from None
    sound = "encrypted" if settings.recorder.recipients.strip() else "not encrypted"
    print_message(f"{spool.path} is the spool of node {node.name}; its sound is {sound}")
    return 0


def _move_sound(folder: Path, spool: Spool, settings: Settings) -> None:
    """Raises UsageError, SpoolError."""
    from edge.recorder.durable.joining import join  # noqa: PLC0415 -- NumPy
    from edge.recorder.durable.repair import repair  # noqa: PLC0415

    if not folder.is_dir() or folder.samefile(spool.path):
        raise UsageError(f"--from {folder}: expected the folder of another spool")
    kernel = KernelClock()
    before = len(spool.chunks.finished())
    try:
        state, _ = repair(spool, kernel, settings=settings)
        join(Spool(folder, spool.node, spool.names[1:]), spool, state, kernel, settings)
    except OSError as problem:
        raise ImHearingError(
            f"{problem.filename or folder}: failed ({problem.strerror}); fix that and run this again: it resumes"
        ) from None
    print_message(f"{len(spool.chunks.finished()) - before} chunks moved from {folder}")
