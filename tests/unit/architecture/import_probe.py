"""Imports modules under an audit hook: `python -B import_probe.py ROOT MODULE...`, prints one line per side effect.

Counts what a module of ROOT does in its own body, or calls from there. What an outside library does while it is
imported is its own affair. Imports nothing of ours.
"""

import importlib
import sys
import threading
from pathlib import Path
from types import FrameType

ROOT = Path(sys.argv[1]).resolve()
EFFECTS = ("open", "os.", "socket.", "sqlite3.", "subprocess.", "shutil.", "tempfile.", "pty.", "fcntl.")
HARMLESS = {"os.putenv"}  # the process's own environment


def on_event(event: str, args: tuple[object, ...]) -> None:
    if event.startswith(EFFECTS) and event not in HARMLESS:
        report(f"{event} {str(args)[:120]}")


def start_thread(thread: threading.Thread) -> None:
    """In place of `Thread.start`, as Python 3.11 has no audit event for it."""
    report(f"starts thread {thread.name}")
    real_start(thread)


def report(effect: str) -> None:
    body = importing(sys._getframe(2))
    if body is not None:
        sys.stdout.write(f"{body} {effect}\n")


def importing(frame: FrameType | None) -> str | None:
    """The file of ROOT whose body is running; None inside the import machinery, or in an outside library's body."""
    if frame is not None and frame.f_code.co_filename.startswith("<frozen importlib"):
        return None
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            path = Path(frame.f_code.co_filename)
            inside = path.is_relative_to(ROOT) and not path.is_relative_to(Path(sys.prefix)) and path != Path(__file__)
            return path.relative_to(ROOT).as_posix() if inside else None
        frame = frame.f_back
    return None


real_start = threading.Thread.start
threading.Thread.start = start_thread  # type: ignore[method-assign,assignment]
sys.path.insert(0, str(ROOT))
sys.addaudithook(on_event)
for name in sys.argv[2:]:
    importlib.import_module(name)
