"""What holds for every test."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator

import pytest
from hypothesis import settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    # a script's `&` starts programs so, and those that tests end by Ctrl-C would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

# machines are shared and noisy: how long an example takes says nothing
settings.register_profile("imhearing", deadline=None, print_blob=True)
settings.register_profile("campaign", parent=settings.get_profile("imhearing"), max_examples=10_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "imhearing"))

OURS = ("edge", "query_service", "commands")  # the loggers of the product


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Commands set up logging for their process; here the process goes on with other tests."""
    manager = logging.root.manager
    for name in list(manager.loggerDict):  # a fixture of a whole module may have run a command
        if name.partition(".")[0] in OURS:
            logging.getLogger(name).setLevel(logging.NOTSET)
    loggers = {name: logger for name, logger in manager.loggerDict.items() if isinstance(logger, logging.Logger)}
    before = {name: (logger.level, logger.disabled, logger.propagate) for name, logger in loggers.items()}
    root_level, disabled = logging.root.level, manager.disable
    yield
    for name, logger in manager.loggerDict.items():
        if isinstance(logger, logging.Logger):
            level, logger.disabled, logger.propagate = before.get(name, (logging.NOTSET, False, True))
            logger.setLevel(level)
    logging.root.setLevel(root_level)
    logging.disable(disabled)
