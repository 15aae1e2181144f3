"""The `imhearing` command: parses the command line and runs one subcommand."""

from __future__ import annotations

import argparse
import errno
import gc
import importlib
import os
import sys
from collections.abc import Callable, Sequence

from commands.cli import output
from commands.cli.help_texts import COMMANDS
from commands.cli.parser import build_parser
from edge.core.errors import ImHearingError, OutputError

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)  # the message alone says it all


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    output.install()
    try:
        try:
            return _run(arguments)
        finally:  # also after --help, where argparse exits
            sys.stdout.flush()
    except OutputError as problem:
        output.discard()
        print(f"imhearing: {problem}", file=sys.stderr)
        return problem.exit_code
    except BrokenPipeError:  # the reader closed our output early, as `head` does
        output.discard()
        return 141


def _run(arguments: Sequence[str] | None) -> int:
    args = _parsed(arguments)
    gc.collect()  # the parser is all cycles: 0.2 MB that a service would keep as long as it runs
    return _guarded(args) if isinstance(args, argparse.Namespace) else args


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace | int:
    """The options, or the exit code where nothing is left to do."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    if args.version:
        from edge import __version__  # noqa: PLC0415 -- keeps --help fast

        print(f"imhearing {__version__}")
        return 0
    if args.command is None:
        parser.print_help()
        return 2
    return args


def _guarded(args: argparse.Namespace) -> int:
    """Runs the command, turning failures into a message and an exit code."""
    from commands.cli import logs  # noqa: PLC0415 -- keeps --help fast

    if (
        args.command != "fetch"
    ):  # it writes the user's own files; all others write the node's, which are for nobody else
        os.umask(os.umask(0o077) | 0o027)
    run = next(text.run for text in COMMANDS if text.name == args.command)
    if not run.startswith("commands.services:"):  # those set up their own log
        logs.set_up_for_people()
    try:
        return _load_handler(run)(args)
    except (OutputError, BrokenPipeError):
        raise
    except ImHearingError as problem:
        text = str(problem).removesuffix("; trying again")  # the command ends here
        for line in text.rstrip("\n").split("\n"):
            print(f"imhearing: {logs.escaped(line)}", file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        return 130
    except OSError as problem:
        if problem.filename is None and problem.errno not in _DISK_ERRORS:
            return _internal_error(args.command, problem)
        path = "" if problem.filename is None else f"{os.fsdecode(problem.filename)}: "
        hint = "" if problem.errno in _DISK_ERRORS else "; check this path and its permissions, or use another"
        print(f"imhearing: {logs.escaped(path)}{problem.strerror}{hint}", file=sys.stderr)
        return 1
    except Exception as problem:  # the process's edge
        return _internal_error(args.command, problem)


def _internal_error(command: str, problem: Exception) -> int:
    """Logs the exception being handled; returns the exit code."""
    import logging  # noqa: PLC0415 -- keeps --help fast

    logging.getLogger("imhearing").exception("`imhearing %s`: unexpected error", command)
    what = ascii(f"{type(problem).__name__}: {problem}"[:200])
    print(f"imhearing: internal error: {what}; please report it with the lines above", file=sys.stderr)
    return 1


def _load_handler(run: str) -> Callable[[argparse.Namespace], int]:
    """The function that runs the command, imported on demand, so that no command pays for another's libraries."""
    module, _, name = run.partition(":")
    handler: Callable[[argparse.Namespace], int] = getattr(importlib.import_module(module), name)
    return handler


if __name__ == "__main__":
    sys.exit(main())
