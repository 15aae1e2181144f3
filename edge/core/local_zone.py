"""Time zones: those that the machine knows by name, and its own."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

_ZONES = Path("/usr/share/zoneinfo")  # of Debian's tzdata; TZDIR names another
_RULE = re.compile(r"(<[^>]+>|[A-Za-z]{3,})[+-]?\d")  # such as CET-1CEST (POSIX), which needs no file
_BUILT_IN = ("UTC", "GMT")


def unknown_zone(environ: Mapping[str, str]) -> str | None:
    """The value of TZ if this machine knows no such zone: the C library then silently uses UTC."""
    name = environ.get("TZ", "").removeprefix(":")
    if not name or name in _BUILT_IN or _RULE.match(name) or (Path(environ.get("TZDIR", _ZONES)) / name).is_file():
        return None
    return name


def zone_named(name: str) -> ZoneInfo:
    """Raises ValueError if this machine knows no such zone."""
    try:
        return ZoneInfo(name)
    except (ValueError, KeyError, OSError):  # such as the name of a folder
        raise ValueError(f"zone: {name[:40]!r} is not an IANA time zone such as Europe/Berlin") from None


def local_zone_name(environ: Mapping[str, str] = os.environ, localtime: Path = Path("/etc/localtime")) -> str | None:
    """The IANA name of this machine's zone; None where it has none, as with a rule or a copied file."""
    name = environ.get("TZ", "").removeprefix(":")
    try:
        if not name:
            target = Path(os.path.normpath(localtime.parent / localtime.readlink()))
            name = str(target.relative_to(environ.get("TZDIR", _ZONES)))
        return zone_named(name).key
    except (OSError, ValueError):
        return None
