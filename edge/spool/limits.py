"""The limits set at run time, in `settings.json` of the spool, which override the configured ones; and the exceeded
limits already reported, in `exceeded.json`, so that a restart neither repeats a report nor forgets to report its end.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TypeVar

from edge.core import wire
from edge.core.errors import WireError
from edge.core.files import read_placed_file, write_atomically
from edge.core.values import Metric
from edge.spool.files import spool_errors
from edge.spool.thresholds import Limits

log = logging.getLogger(__name__)

_SET = "settings.json"
_REPORTED = "exceeded.json"

T = TypeVar("T")
Reported = dict[Metric, tuple[float, float]]  # limit, and value when it was reported


def active(spool: Path, configured: Limits) -> Limits:
    """The limits set at run time, else `configured`; a file that cannot be read is logged."""
    return _read(spool / _SET, Limits, configured, "using the configured limits")


@spool_errors
def save(spool: Path, limits: Limits) -> None:
    """Makes `limits` the active ones, also after a restart. Raises SpoolError."""
    write_atomically(spool / _SET, wire.encode(limits))


def reported(spool: Path) -> Reported:
    """The limits reported as exceeded and not yet as cleared; none where the file cannot be read."""
    return _read(spool / _REPORTED, Reported, {}, "exceeded limits will be reported again")


@spool_errors
def save_reported(spool: Path, over: Reported) -> None:
    """Raises SpoolError."""
    write_atomically(spool / _REPORTED, wire.encode(over))


def _read(path: Path, wanted: type[T], otherwise: T, consequence: str) -> T:
    try:
        return wire.decode(read_placed_file(path), wanted)
    except FileNotFoundError:
        return otherwise
    except (OSError, WireError) as problem:
        log.warning("%s: cannot be used (%s); %s", path, problem, consequence)
        return otherwise
