"""What the node runs on: Python, the libraries of requirements.txt in the versions that were tested, programs."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from commands.doctor.finding import Finding, Patient, fault, ok, warning
from edge import __version__
from edge.core.errors import ImHearingError
from edge.embedded.broker import find_mosquitto
from edge.embedded.store import find_rclone

ROOT = Path(__file__).parents[2]
_NEEDED = ("PyAudio", "soundfile", "numpy", "msgspec", "paho-mqtt", "boto3", "pony", "ably", "PyJWT", "aiohttp", "rich")
_PINNED = re.compile(r"^([\w.-]+)==([\w.]+)", re.MULTILINE)
_PYTHONS = (3, 11), (3, 14)
_FORGETS_NOTHING = (3, 12, 0), (3, 12, 7)  # what pathlib interns was immortal there


def look(patient: Patient) -> Iterator[Finding]:
    yield python(patient)
    yield libraries(ROOT / "requirements.txt", patient.setup())
    yield from programs(patient)


def python(patient: Patient) -> Finding:
    check, found = "software.python", ".".join(map(str, sys.version_info[:3]))
    if not _PYTHONS[0] <= sys.version_info[:2] < _PYTHONS[1]:
        return fault(check, f"Python {found}: 3.11 to 3.13 are needed", patient.setup())
    if _FORGETS_NOTHING[0] <= sys.version_info[:3] < _FORGETS_NOTHING[1]:
        told = f"Python {found} never frees a file name it saw: each service grows, by about 1 MB a day; 3.12.7 does"
        return warning(check, told, f"install another Python, then: {patient.setup()}")
    return ok(check, f"imhearing {__version__} on Python {found}")


def libraries(requirements: Path, remedy: str = "scripts/setup") -> Finding:
    """Each library that the node needs; where the pinned list is at hand, in its version."""
    check = "software.libraries"
    wanted: dict[str, str | None] = dict.fromkeys(_NEEDED)
    if requirements.is_file():
        wanted = dict(_PINNED.findall(requirements.read_text(encoding="utf-8")))
        wanted.pop("setuptools", None)  # builds, and does not run
    missing, other = [], []
    for name, version in wanted.items():
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
        return warning(check, f"not the versions that were tested: {', '.join(other)}", remedy)
    return ok(check, f"{len(wanted)} libraries in the versions that were tested")


def programs(patient: Patient) -> Iterator[Finding]:
    """Those that `imhearing up` starts where nothing else is named."""
    settings = patient.settings
    for needed, find, name in (
        (not settings.mqtt.host or patient.by_up, find_mosquitto, "mosquitto"),
        (not settings.s3.s3_bucket_name or patient.by_up, find_rclone, "rclone"),
    ):
        if needed:
            try:
                yield ok(f"software.{name}", find())
            except ImHearingError as problem:
                yield fault(f"software.{name}", str(problem), patient.setup())
