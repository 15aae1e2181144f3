"""`imhearing doctor`: really tries each part of the node, says what is wrong, and the command that mends it."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import queue
import shlex
import sys
import threading
import time
import warnings
from pathlib import Path

from commands.cli import logs
from commands.cli.common import data_dir, load_settings, print_json, print_message
from commands.cli.logs import escaped
from commands.doctor import installed
from commands.doctor.finding import Check, Finding, Patient, fault
from commands.show.formats import count
from commands.up.plan import MARKER
from edge.core.errors import ConfigError
from edge.core.kernel_clock import KernelClock

log = logging.getLogger(__name__)

ROOMS = ("software", "files", "clock", "spool", "device", "catalog", "broker", "store", "realtime", "http")
_MODULES = {"files": "modes"}
_SECONDS = 13.0  # for all of them; each has patience of its own below it
_WORDS = {"ok": "ok     ", "warning": "WARNING", "fault": "FAULT  "}


def run(args: argparse.Namespace) -> int:
    """0 when nothing is at fault, 1 otherwise; warnings alone are no fault."""
    logs.set_up_for_people()
    warnings.simplefilter("ignore")  # a library's, which would stand between our lines
    for name in ("edge", "query_service", "commands"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what they complain of is what we report
    try:
        patient = _patient(args)
        found = [_no_node(patient)] if is_nowhere(patient) else examine(patient)
    except ConfigError as problem:
        found = [_of_settings(text, args) for text in problem.faults]
    if args.json:
        print_json({"ok": not _faults(found), "findings": found})
    else:
        _tell(found)
    return 1 if _faults(found) else 0


def examine(patient: Patient, seconds: float = _SECONDS) -> list[Finding]:
    """What all rooms found, in their order; a room that is not done after `seconds` is a fault itself.

    The rooms run side by side, in threads that nobody waits for at the end of the process.
    """
    found: dict[str, list[Finding]] = {room: [] for room in ROOMS}
    results: queue.SimpleQueue[tuple[str, Finding | None]] = queue.SimpleQueue()
    for room in ROOMS:
        threading.Thread(target=_examine_room, args=(room, patient, results), name=room, daemon=True).start()
    deadline, left = time.monotonic() + seconds, set(ROOMS)
    while left:
        try:
            room, finding = results.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        if finding is None:
            left.discard(room)
        else:
            found[room].append(finding)
    for room in left:
        told = f"the look at it was not done within {seconds:g} s: something in it does not answer"
        found[room].append(fault(f"{room}.time", told, patient.command("doctor")))
    return [finding for room in ROOMS for finding in found[room]]


def _examine_room(room: str, patient: Patient, results: queue.SimpleQueue[tuple[str, Finding | None]]) -> None:
    try:
        look: Check = importlib.import_module(f"commands.doctor.{_MODULES.get(room, room)}").look
        for finding in look(patient):
            results.put((room, finding))
    except ImportError as problem:
        results.put((room, fault(f"{room}.libraries", f"cannot be loaded: {problem}", patient.setup())))
    except Exception as problem:  # the edge of a check: one that fails must not hide the others
        told = f"the check itself failed ({type(problem).__name__}: {problem})"
        results.put((room, fault(f"{room}.check", told, "report it, with this line")))
    results.put((room, None))


def _patient(args: argparse.Namespace) -> Patient:
    folder = data_dir(args)
    own = folder / "config.ini"
    file: Path | None = args.config or (own if own.exists() else None)
    return Patient(load_settings(args), folder, file, _is_by_up(own), KernelClock())


def is_nowhere(patient: Patient) -> bool:
    """Whether there is no folder of a node at all. One that is there needs no recording in it yet."""
    return not patient.data_dir.is_dir() and not patient.settings.recorder.record_path.is_dir()


def _no_node(patient: Patient) -> Finding:
    told = f"{patient.data_dir} is not there: no node has recorded in it yet"
    return fault("files.data", told, f"{patient.up()}  # or name the node's folder with --data")


def _is_by_up(path: Path) -> bool:
    try:
        return MARKER in path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    except OSError:
        return False


def _of_settings(text: str, args: argparse.Namespace) -> Finding:
    """A fault of the configuration; what to run stands at its end, where a command can mend it."""
    sudo = "sudo " if installed.is_installed(data_dir(args), args.config) else ""
    told, found, command = text.partition("; run: ")
    if found:
        return Finding("settings", "fault", told, sudo + command)
    file = shlex.quote(str(args.config or data_dir(args) / "config.ini"))
    return Finding("settings", "fault", text, f"{sudo}{os.environ.get('EDITOR', 'nano')} {file}")


def _faults(found: list[Finding]) -> int:
    return sum(finding.state == "fault" for finding in found)


def _tell(found: list[Finding]) -> None:
    width = max((len(finding.check) for finding in found), default=0)
    for finding in found:
        print(f"{_WORDS[finding.state]} {finding.check:{width}}  {escaped(finding.message)}")
        if finding.remedy and finding.state != "ok":
            print(f"        {'':{width}}  → {escaped(finding.remedy)}")
    sys.stdout.flush()
    faults, warnings = _faults(found), sum(finding.state == "warning" for finding in found)
    words = [
        count(number, word) if number else f"no {word}s" for number, word in ((faults, "fault"), (warnings, "warning"))
    ]
    print_message(f"{count(len(found), 'look')}: {', '.join(words)}")
