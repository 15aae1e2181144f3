"""Standard output that reports its own failures as OutputError, so that the command ends with a clear message."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

from edge.core.errors import OutputError


class _Output(io.TextIOWrapper):
    """Raises OutputError if it cannot be written, and BrokenPipeError, as usual, if the reader has closed the pipe."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as problem:
            raise _output_error(problem) from None

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as problem:
            raise _output_error(problem) from None


def install() -> None:
    """Replaces standard output, except one that a test has put there."""
    given = sys.stdout
    if given is None:  # closed by the caller: output is not wanted
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 -- for the life of the process
    if not isinstance(given, io.TextIOWrapper):
        return
    given.reconfigure(errors="replace")  # a terminal that is not UTF-8 has no glyph for the bar
    if given is not sys.__stdout__:
        return
    encoding, lines, through = given.encoding, given.line_buffering, given.write_through
    sys.stdout = _Output(given.detach(), encoding, "replace", line_buffering=lines, write_through=through)


def discard() -> None:
    """Redirects what is still buffered to /dev/null; Python would fail again on it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _output_error(problem: OSError) -> Exception:
    if isinstance(problem, BrokenPipeError):
        return problem
    return OutputError(f"cannot write the output: {problem.strerror}")
