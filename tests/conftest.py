"""Settings of Hypothesis, signals and logging for every test."""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
from collections.abc import Iterator

import pytest
from hypothesis import settings
from xdist.remote import Producer

from tests.support.workers import Workers

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    # a script's `&` starts programs so, and those that tests end by Ctrl-C would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

# machines are shared and noisy: how long an example takes says nothing
settings.register_profile("imhearing", deadline=None, print_blob=True)
settings.register_profile("campaign", parent=settings.get_profile("imhearing"), max_examples=10_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "imhearing"))


def _levels() -> dict[str, tuple[int, bool, bool]]:
    loggers = {name: each for name, each in logging.root.manager.loggerDict.items() if isinstance(each, logging.Logger)}
    return {name: (each.level, each.disabled, each.propagate) for name, each in loggers.items()}


_AT_FIRST = _levels()
_UMASK = os.umask(0o022)
os.umask(_UMASK)


def _restore_loggers() -> None:
    for name, logger in logging.root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger):
            level, logger.disabled, logger.propagate = _AT_FIRST.get(name, (logging.NOTSET, False, True))
            logger.setLevel(level)


@pytest.fixture(autouse=True)
def _process_as_it_was() -> Iterator[None]:
    """Commands set up logging and umask for their process; here the process goes on with other tests.

    Before each test too: a fixture of a whole module may have run a command.
    """
    root_level, disabled = logging.root.level, logging.root.manager.disable
    _restore_loggers()
    os.umask(_UMASK)
    yield
    _restore_loggers()
    os.umask(_UMASK)
    logging.root.setLevel(root_level)
    logging.disable(disabled)


def pytest_collection_finish() -> None:
    """What is here by now stays: full collections, of which services make one after each job, need not scan it."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Workers | None:
    """Unless another way was chosen on the command line."""
    return Workers(config, log) if config.getoption("dist") == "load" else None
