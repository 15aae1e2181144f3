"""The thresholds that were set at run time, `settings.json` in the spool, before those of the configuration; and which
of them were told to be exceeded, `exceeded.json`, so that a restart neither tells it again nor forgets to tell the end.
"""

from __future__ import annotations

import logging
from pathlib import Path

from edge.core import wire
from edge.core.errors import WireError
from edge.core.files import write_atomically
from edge.messaging.events import Metric
from edge.spool.thresholds import Limits

log = logging.getLogger(__name__)

_NAME = "settings.json"
_EXCEEDED = "exceeded.json"

Exceeded = dict[Metric, tuple[float, float]]  # limit and value when it was told


def in_force(spool: Path, configured: Limits) -> Limits:
    """Those set at run time, else `configured`; what cannot be read is told in the log."""
    path = spool / _NAME
    try:
        return wire.decode(path.read_bytes(), Limits)
    except FileNotFoundError:
        return configured
    except (OSError, WireError) as problem:
        log.warning("%s: cannot be used (%s); the configured limits hold", path, problem)
        return configured


def keep(spool: Path, limits: Limits) -> None:
    """From now on `limits` hold, also after a restart. Raises OSError."""
    write_atomically(spool / _NAME, wire.encode(limits))


def exceeded(spool: Path) -> Exceeded:
    """What was told to be exceeded and not yet cleared; nothing where that cannot be read."""
    path = spool / _EXCEEDED
    try:
        return wire.decode(path.read_bytes(), Exceeded)
    except FileNotFoundError:
        return {}
    except (OSError, WireError) as problem:
        log.warning("%s: cannot be used (%s); what is exceeded is told again", path, problem)
        return {}


def keep_exceeded(spool: Path, over: Exceeded) -> None:
    """Raises OSError."""
    write_atomically(spool / _EXCEEDED, wire.encode(over))
