"""The `imhearing` command: reads the command line and runs one command. The only place that sees both packages."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from commands.cli import output
from commands.cli.parser import build_parser
from commands.cli.words import COMMANDS
from edge.core.errors import ImHearingError, OutputLost

if TYPE_CHECKING:
    import argparse


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and gives the exit code."""
    output.watch()
    try:
        try:
            return _run(arguments)
        finally:  # also where argparse ends the program, after --help
            sys.stdout.flush()
    except OutputLost as problem:
        output.forget()
        print(f"imhearing: {problem}", file=sys.stderr)
        return problem.exit_code
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        output.forget()
        return 141


def _run(arguments: Sequence[str] | None) -> int:
    parser = build_parser()
    args = parser.parse_args(arguments)
    if args.version:
        from edge import __version__  # noqa: PLC0415 -- importing it takes time that --help does not have

        print(f"imhearing {__version__}")
        return 0
    if args.command is None:
        parser.print_help()
        return 2
    return _guarded(args)


def _guarded(args: argparse.Namespace) -> int:
    """Runs the command; what goes wrong becomes a plain message and an exit code."""
    try:
        return _find(args.command)(args)
    except (OutputLost, BrokenPipeError):
        raise
    except ImHearingError as problem:
        from commands.cli.logs import escaped  # noqa: PLC0415

        for line in str(problem).rstrip("\n").split("\n"):
            print(f"imhearing: {escaped(line)}", file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as problem:  # the process's edge
        import logging  # noqa: PLC0415

        logging.getLogger("imhearing").exception("`imhearing %s` failed in a way nobody foresaw", args.command)
        what = ascii(f"{type(problem).__name__}: {problem}"[:200])
        print(f"imhearing: a fault in imhearing itself, {what}; please report it with the lines above", file=sys.stderr)
        return 1


def _find(command: str) -> Callable[[argparse.Namespace], int]:
    module, _, name = next(words.run for words in COMMANDS if words.name == command).partition(":")
    found: Callable[[argparse.Namespace], int] = getattr(importlib.import_module(module), name)
    return found


if __name__ == "__main__":
    sys.exit(main())
