"""The software: Python, the libraries of requirements.txt in their tested versions, and programs."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from commands.doctor.finding import Finding, fault, ok, warning
from commands.doctor.node_under_test import NodeUnderTest
from edge import __version__
from edge.core.errors import ImHearingError
from edge.embedded.servers import find_mosquitto, find_rclone

ROOT = Path(__file__).parents[2]
_LIBRARIES = (  # without a pinned list
    "PyAudio", "soundfile", "numpy", "msgspec", "paho-mqtt", "boto3", "pony", "ably", "PyJWT", "aiohttp", "rich",
)  # fmt: skip
_PINNED = re.compile(r"^([\w.-]+)==([\w.]+)", re.MULTILINE)
_PYTHONS = (3, 11), (3, 14)
_LEAKY_PYTHONS = (3, 12, 0), (3, 12, 7)  # interned strings, as from pathlib, were immortal there


def check_software(node: NodeUnderTest) -> Iterator[Finding]:
    yield check_python(node)
    yield check_libraries(ROOT / "requirements.txt", node.setup())
    yield from check_programs(node)


def check_python(node: NodeUnderTest) -> Finding:
    check, found = "software.python", ".".join(map(str, sys.version_info[:3]))
    if not _PYTHONS[0] <= sys.version_info[:2] < _PYTHONS[1]:
        return fault(check, f"Python {found}: 3.11 to 3.13 is required", node.setup())
    if _LEAKY_PYTHONS[0] <= sys.version_info[:3] < _LEAKY_PYTHONS[1]:
        message = f"Python {found} leaks file names, about 1 MB a day in each service; fixed in 3.12.7"
        return warning(check, message, f"install another Python, then: {node.setup()}")
    return ok(check, f"imhearing {__version__} on Python {found}")


def check_libraries(requirements: Path, remedy: str = "scripts/setup") -> Finding:
    """Whether every required library is installed, in the pinned version if `requirements` exists."""
    check = "software.libraries"
    required: dict[str, str | None] = dict.fromkeys(_LIBRARIES)
    if requirements.is_file():
        required = dict(_PINNED.findall(requirements.read_text(encoding="utf-8")))
        required.pop("setuptools", None)  # needed to build only
    missing, other = [], []
    for name, version in required.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if version is not None and found != version:
            other.append(f"{name} {found} instead of {version}")
    if missing:
        return fault(check, f"not installed: {', '.join(missing)}", remedy)
    if other:
        return warning(check, f"untested versions: {', '.join(other)}", remedy)
    return ok(check, f"{len(required)} libraries, all in tested versions")


def check_programs(node: NodeUnderTest) -> Iterator[Finding]:
    """The programs that `imhearing up` starts for services that are not configured."""
    settings = node.settings
    for needed, find, name in (
        (not settings.mqtt.host or node.by_up, find_mosquitto, "mosquitto"),
        (not settings.s3.s3_bucket_name or node.by_up, find_rclone, "rclone"),
    ):
        if needed:
            try:
                yield ok(f"software.{name}", find())
            except ImHearingError as problem:
                yield fault(f"software.{name}", str(problem), node.setup())
