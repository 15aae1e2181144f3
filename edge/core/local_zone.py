"""The time zone of the machine, and whether it knows the one that it was given."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

_ZONES = Path("/usr/share/zoneinfo")  # of Debian's tzdata; TZDIR names another
_RULE = re.compile(r"(<[^>]+>|[A-Za-z]{3,})[+-]?\d")  # such as CET-1CEST (POSIX), which needs no file
_BUILT_IN = ("UTC", "GMT")


def unknown_zone(environ: Mapping[str, str]) -> str | None:
    """The value of TZ if this machine knows no such zone: the C library then silently uses UTC."""
    name = environ.get("TZ", "").removeprefix(":")
    if not name or name in _BUILT_IN or _RULE.match(name) or (Path(environ.get("TZDIR", _ZONES)) / name).is_file():
        return None
    return name


def zone_name(environ: Mapping[str, str] = os.environ, localtime: Path = Path("/etc/localtime")) -> str:
    """The IANA name of the machine's zone; UTC if it has no name, as with a rule in TZ."""
    name = environ.get("TZ", "").removeprefix(":")
    if not name:
        _, _, name = str(localtime.resolve()).partition(f"{_ZONES}/")
    return name if (_ZONES / name).is_file() else "UTC"
