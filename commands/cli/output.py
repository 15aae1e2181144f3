"""Standard output that reports its own failures as OutputError, so that the command ends with a clear message.

Where its encoding has no block characters, it writes ASCII characters that are as easy to tell apart.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from pathlib import Path
from typing import TextIO

from edge.core.errors import OutputError

_IN_ASCII = {"█": "#", "▓": "%", "▒": "+", "▌": "|", "─": "-", "·": ".", "…": "."}
_FALLBACK = "imhearing-ascii"  # the name of our error handler (codecs.register_error)


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
    codecs.register_error(_FALLBACK, _in_ascii)
    given.reconfigure(errors=_FALLBACK)
    if given is not sys.__stdout__:
        return
    given.flush()
    # not detached: `shutil.get_terminal_size` asks sys.__stdout__ for the size
    sys.stdout = _Output(
        given.buffer, given.encoding, _FALLBACK, line_buffering=given.line_buffering, write_through=given.write_through
    )


def can_redraw(stream: TextIO) -> bool:
    """Whether it is a terminal that obeys control sequences, so that text can be overwritten."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def discard() -> None:
    """Redirects what is still buffered to /dev/null; Python would fail again on it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _in_ascii(problem: UnicodeError) -> tuple[str, int]:
    """Replaces what the encoding lacks, one character for each."""
    if not isinstance(problem, UnicodeEncodeError):
        raise problem
    missing = problem.object[problem.start : problem.end]
    return "".join(_IN_ASCII.get(char, "?") for char in missing), problem.end


def _output_error(problem: OSError) -> Exception:
    if isinstance(problem, BrokenPipeError):
        return problem
    return OutputError(f"cannot write the output: {problem.strerror}")
