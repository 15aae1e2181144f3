"""Standard output whose own failures are told from all others, and end the command with one sentence."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

from edge.core.errors import OutputLost


class _Output(io.TextIOWrapper):
    """Raises OutputLost where it cannot be written, and BrokenPipeError, as ever, where its reader has gone."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            raise
        except OSError as problem:
            raise _lost(problem) from None

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            raise
        except OSError as problem:
            raise _lost(problem) from None


def watch() -> None:
    """From now on standard output tells its failures so. One that a test has put there stays."""
    given = sys.stdout
    if given is None:  # closed before we began: nobody wants it
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 -- for the life of the process
    if not isinstance(given, io.TextIOWrapper):
        return
    given.reconfigure(errors="replace")  # a terminal that is not UTF-8 has no glyph for the bar
    if given is not sys.__stdout__:
        return
    encoding, lines, through = given.encoding, given.line_buffering, given.write_through
    sys.stdout = _Output(given.detach(), encoding, "replace", line_buffering=lines, write_through=through)


def forget() -> None:
    """Writes to nowhere what is left, of which Python would complain once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _lost(problem: OSError) -> OutputLost:
    return OutputLost(f"the output cannot be written: {problem.strerror}")
