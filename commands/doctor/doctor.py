"""`imhearing doctor`: tests each part of the node, and says what is wrong and which command fixes it."""

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
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

from commands.cli.common import data_dir, load_settings, print_json, print_message
from commands.cli.logs import escaped
from commands.doctor import installed
from commands.doctor.node_under_test import Finding, NodeUnderTest, fault
from commands.show.formats import count
from commands.up.plan import MARKER
from edge.core.errors import ConfigError
from edge.core.kernel_clock import KernelClock

Part = Literal["software", "files", "clock", "spool", "device", "catalog", "broker", "store", "realtime", "http"]
PARTS: tuple[Part, ...] = get_args(Part)  # in the order of the report
_MODULES: dict[Part, str] = {  # others have a module of their own name
    "software": "machine", "files": "machine", "clock": "machine",
    "spool": "local_data", "catalog": "local_data",
    "realtime": "doors", "http": "doors",
}  # fmt: skip
_TIMEOUT = 13.0  # seconds for all checks; each has a shorter timeout of its own
_LABELS = {"ok": "ok     ", "warning": "WARNING", "fault": "FAULT  "}


def run(args: argparse.Namespace) -> int:
    """Exit code 1 if there is a fault; warnings alone give 0."""
    warnings.simplefilter("ignore")  # of libraries, which would appear between our lines
    for name in ("edge", "query_service", "commands"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the findings say the same
    try:
        node = _node(args)
        # a node has a folder, even if nothing was recorded yet
        exists = node.data_dir.is_dir() or node.settings.recorder.record_path.is_dir()
        found = examine(node) if exists else [_missing_node(node)]
    except ConfigError as problem:
        found = [_settings_fault(text, args) for text in problem.faults]
    except PermissionError as problem:
        found = [_inaccessible("files", problem)]
    numbers = Counter(finding.state for finding in found)
    if args.json:
        print_json({"ok": not numbers["fault"], "findings": found})
    else:
        _print_findings(found)
        totals = [
            count(numbers["fault"], "fault") if numbers["fault"] else "no faults",
            count(numbers["warning"], "warning") if numbers["warning"] else "no warnings",
        ]
        print_message(f"{count(len(found), 'check')}: {', '.join(totals)}")
    return 1 if numbers["fault"] else 0


def examine(node: NodeUnderTest, timeout: float = _TIMEOUT, parts: Sequence[Part] = PARTS) -> list[Finding]:
    """The findings on all parts, in order; a part that takes longer than `timeout` seconds is itself a fault.

    The parts are checked in parallel, in daemon threads, so that a check that hangs cannot delay the exit.
    """
    found: dict[Part, list[Finding]] = {part: [] for part in parts}
    results: queue.SimpleQueue[tuple[Part, Finding | None]] = queue.SimpleQueue()
    for part in parts:
        threading.Thread(target=_examine_part, args=(part, node, results), name=part, daemon=True).start()
    deadline, unfinished = time.monotonic() + timeout, set(parts)
    while unfinished:
        try:
            part, finding = results.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        if finding is None:
            unfinished.discard(part)
        else:
            found[part].append(finding)
    for part in unfinished:
        message = f"the checks did not finish within {timeout:g} s: something does not respond"
        found[part].append(fault(f"{part}.time", message, node.command("doctor")))
    return [finding for part in parts for finding in found[part]]


def checks_of(part: Part) -> Callable[[NodeUnderTest], Iterator[Finding]]:
    """The checks of `part`, imported on demand: a missing library then fails this part alone. ImportError."""
    module = importlib.import_module(f"commands.doctor.{_MODULES.get(part, part)}")
    checks: Callable[[NodeUnderTest], Iterator[Finding]] = getattr(module, f"check_{part}")
    return checks


def _examine_part(part: Part, node: NodeUnderTest, results: queue.SimpleQueue[tuple[Part, Finding | None]]) -> None:
    try:
        for finding in checks_of(part)(node):
            results.put((part, finding))
    except ImportError as problem:
        results.put((part, fault(f"{part}.libraries", f"cannot be loaded: {problem}", node.setup())))
    except PermissionError as problem:
        results.put((part, _inaccessible(part, problem)))
    except Exception as problem:  # one check that fails must not hide the others
        message = f"the check itself failed ({type(problem).__name__}: {problem})"
        results.put((part, fault(f"{part}.check", message, "report this line as a bug")))
    results.put((part, None))


def _inaccessible(part: Part, problem: PermissionError) -> Finding:
    path = str(problem.filename)
    remedy = f"namei -l {shlex.quote(path)}  # shows who may access it: run doctor as that user, or give it to this one"
    return fault(f"{part}.access", f"{path} cannot be accessed ({problem.strerror})", remedy)


def _node(args: argparse.Namespace) -> NodeUnderTest:
    folder = data_dir(args)
    default = folder / "config.ini"
    settings = load_settings(args)
    file: Path | None = args.config or (default if default.exists() else None)
    return NodeUnderTest(settings, folder, file, _is_written_by_up(default), KernelClock())


def _missing_node(node: NodeUnderTest) -> Finding:
    message = f"{node.data_dir} does not exist: no node has recorded there yet"
    return fault("files.data", message, f"{node.up()}  # or set the node's folder with --data")


def _is_written_by_up(path: Path) -> bool:
    try:
        return MARKER in path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    except OSError:
        return False


def _settings_fault(text: str, args: argparse.Namespace) -> Finding:
    """A fault in the configuration. If the message ends with `; run: COMMAND`, that is the remedy."""
    sudo = "sudo " if installed.is_installed(data_dir(args), args.config) else ""
    message, found, command = text.partition("; run: ")
    if found:
        return fault("settings", message, sudo + command)
    path = args.config or data_dir(args) / "config.ini"
    file = shlex.quote(str(path))
    if "Permission denied" in text:
        return fault("settings", text, f"namei -l {file}  # shows who may access it: run doctor as that user")
    return fault("settings", text, f"{sudo}{os.environ.get('EDITOR', 'nano')} {file}")


def _print_findings(found: list[Finding]) -> None:
    width = max((len(finding.check) for finding in found), default=0)
    for finding in found:
        print(f"{_LABELS[finding.state]} {finding.check:{width}}  {escaped(finding.message)}")
        if finding.remedy and finding.state != "ok":
            print(f"        {'':{width}}  → {escaped(finding.remedy)}")
    sys.stdout.flush()
