"""The command line, called in this process: starting Python for each call would take most of the time."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import imhearing

WIDTH = "100"


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def run(*arguments: str, home: Path = Path("/nonexistent")) -> Ended:
    """One call of `imhearing`, in a plain environment."""
    out, err = io.StringIO(), io.StringIO()
    with _plain_environment(home), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = imhearing.main(arguments)
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Ended(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _plain_environment(home: Path) -> Iterator[None]:
    environment = {"COLUMNS": WIDTH, "LANG": "C.UTF-8", "TZ": "UTC", "HOME": str(home), "PATH": os.environ["PATH"]}
    mask, level, handlers = os.umask(0o022), logging.root.level, logging.root.handlers[:]
    os.umask(mask)
    with mock.patch.dict(os.environ, environment, clear=True):
        try:
            yield
        finally:  # commands set these up for their process
            os.umask(mask)
            logging.root.setLevel(level)
            logging.root.handlers[:] = handlers
