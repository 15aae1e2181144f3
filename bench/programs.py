"""The programs that a bench calls: it says what is missing before it measures anything."""

from __future__ import annotations

import shutil
import sys

MICROPHONE = ("pulseaudio", "pactl", "paplay")  # of tests.support.recording.microphone


def require(*programs: str) -> None:
    """Ends the bench with a message unless all of `programs` are installed."""
    if missing := [program for program in programs if shutil.which(program) is None]:
        sys.exit(f"this bench needs {', '.join(missing)}, not installed here; run: scripts/setup --dev")
