"""Reference cycles are freed on request, and older objects are scanned only once."""

from __future__ import annotations

import subprocess
import sys

from tests.support.wait import DEADLINE

CODE = """
import gc, weakref
from edge.core import reference_cycles as garbage

class Link:
    pass

def cycle():
    link = Link()
    link.itself = link
    return weakref.ref(link)

gc.disable()
first = cycle()
garbage.free_reference_cycles()
assert first() is None
frozen = gc.get_freeze_count()
assert frozen > 1_000, frozen
second, held = cycle(), Link()
garbage.free_reference_cycles()
assert second() is None
assert gc.get_freeze_count() <= frozen
assert gc.is_tracked(held) and any(thing is held for thing in gc.get_objects())
"""


def test_cycles_are_freed_and_existing_objects_are_scanned_only_once() -> None:
    """In a process of its own: what is frozen stays so."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False, timeout=DEADLINE)
    assert done.returncode == 0, done.stderr
