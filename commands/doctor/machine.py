"""The machine: its software, who can read the node's files, and its clock."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shlex
import stat
import sys
import urllib.error
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

from commands.doctor.node_under_test import Finding, NodeUnderTest, fault, ok, open_url, warning
from edge import __version__
from edge.configuration import calibration_file
from edge.configuration.schedule import schedule_of
from edge.core.errors import CalibrationError, ImHearingError
from edge.core.files import can_others_read
from edge.core.instant import Instant
from edge.core.local_zone import unknown_zone
from edge.embedded.servers import find_mosquitto, find_rclone

ROOT = Path(__file__).parents[2]
_LIBRARIES = (  # without a pinned list
    "PyAudio", "soundfile", "numpy", "msgspec", "paho-mqtt", "boto3", "pony", "ably", "PyJWT", "aiohttp", "rich",
)  # fmt: skip
_PINNED = re.compile(r"^([\w.-]+)==([\w.]+)", re.MULTILINE)
_PYTHONS = (3, 11), (3, 14)
_LEAKY_PYTHONS = (3, 12, 0), (3, 12, 7)  # interned strings, as from pathlib, were immortal there
_INSTALL_ZONES = "sudo apt-get install tzdata  # and correct TZ"
_ENABLE_NTP = "sudo timedatectl set-ntp true"
_MAX_OFFSET = 900.0  # seconds: S3 rejects requests signed by a clock further off
_NOTABLE_OFFSET = 5.0  # seconds; a Date header has a resolution of one
_FIRST_YEAR = 2025


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
        (node.by_up or not (settings.s3.s3_bucket_name or node.installed), find_rclone, "rclone"),
    ):
        if needed:
            try:
                yield ok(f"software.{name}", find())
            except ImHearingError as problem:
                yield fault(f"software.{name}", str(problem), node.setup())


def check_files(node: NodeUnderTest) -> Iterator[Finding]:
    yield check_secrets(node)
    yield check_data(node)
    yield check_calibration(node)


def check_secrets(node: NodeUnderTest) -> Finding:
    check = "files.secrets"
    mqtt = node.settings.mqtt
    files = [node.config_file, node.data_dir / "config.ini", node.data_dir / "up.json"]
    files += [Path(key) for key in (mqtt.key_file, node.settings.http.key) if key]
    existing = sorted({path for path in files if path is not None and path.is_file()})
    for path in existing:
        if can_others_read(path.stat()):
            return fault(
                check,
                f"{path} contains secrets but other users can read it",
                node.give_back(path) if node.installed else f"chmod 600 {shlex.quote(str(path))}",
            )
    return ok(check, f"private: {', '.join(map(str, existing)) or 'there is no file with secrets'}")


def check_data(node: NodeUnderTest) -> Finding:
    """At most the owner and the group may read sound and catalog."""
    check = "files.data"
    for path in (node.settings.recorder.record_path, node.settings.catalog.db_path):
        if path.exists() and path.stat().st_mode & stat.S_IRWXO and _is_reachable(path):
            here = shlex.quote(str(path))
            return fault(check, f"every user on this machine can read {path}", f"{node.sudo}chmod o-rwx {here}")
        if path.exists() and not os.access(path, os.R_OK):
            return fault(check, f"{path} cannot be read", node.give_back(path))
    return ok(check, "sound and catalog are not readable by every user")


def _is_reachable(path: Path) -> bool:
    """Whether every parent folder lets every user through."""
    return all(above.stat().st_mode & stat.S_IXOTH for above in path.absolute().parents)


def check_calibration(node: NodeUnderTest) -> Finding:
    check, folder = "files.calibration", node.settings.recorder_folder
    try:
        by_device = calibration_file.load(folder)
    except CalibrationError as problem:
        here = shlex.quote(str(folder / calibration_file.NAME))
        return fault(check, str(problem), f"{node.sudo}mv {here} {here}.damaged && {node.command('calibrate')}")
    if not by_device:
        return ok(check, "no microphone is calibrated: levels are in dBFS")
    return ok(check, ", ".join(f"{name} {each.offset_db:+.1f} dB" for name, each in by_device.items()))


def check_clock(node: NodeUnderTest) -> Iterator[Finding]:
    yield check_synchronised(node)
    if zone := unknown_zone(os.environ):
        yield fault("clock.zone", f"TZ={zone}: no such time zone here, so local times are UTC", _INSTALL_ZONES)
    if node.settings.s3.s3_bucket_name:
        yield check_offset(node)
    if node.settings.recorder.schedule:
        yield check_schedule(node)


def check_schedule(node: NodeUnderTest) -> Finding:
    schedule = schedule_of(node.settings).at(node.kernel.now())
    state = "recording" if schedule.on else "paused"
    return ok("clock.schedule", f"scheduled: {state} until {schedule.until.datetime().astimezone():%d %b %H:%M}")


def check_synchronised(node: NodeUnderTest) -> Finding:
    check, now = "clock.synchronised", node.kernel.now()
    if node.kernel.synchronised():
        return ok(check, f"synchronised, {now.datetime():%Y-%m-%d %H:%M:%S} UTC")
    if now.datetime().year < _FIRST_YEAR:
        return fault(check, f"the clock shows {now.datetime():%Y-%m-%d}; recordings get wrong times", _ENABLE_NTP)
    return warning(check, "not synchronised: until it is, times are marked uncertain", _ENABLE_NTP)


def check_offset(node: NodeUnderTest) -> Finding:
    """Compares with the Date header (RFC 9110) of any response, so that neither key nor bucket matter."""
    check, url = "clock.offset", node.store_url
    try:
        date = _date_of(url, node.settings.s3.ca_file)
    except OSError as problem:
        return warning(check, f"{url} does not respond ({problem})", node.reach_store())
    except ValueError as problem:
        return warning(check, f"{url} does not tell the time ({problem})", f"curl -sI {url}; date -u  # compare")
    offset = (node.kernel.now() - date) / 1e6
    message = f"the clock is {abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} the store's"
    if abs(offset) >= _MAX_OFFSET:
        return fault(check, f"{message}, which rejects more than 15 minutes", _ENABLE_NTP)
    if abs(offset) >= _NOTABLE_OFFSET:
        return warning(check, message, _ENABLE_NTP)
    return ok(check, "agrees with the store's clock")


def _date_of(url: str, ca_file: str) -> Instant:
    try:
        with open_url(url, ca_file) as answer:
            date = answer.headers.get("Date", "")
    except urllib.error.HTTPError as refusal:  # an error response has a Date too
        date = refusal.headers.get("Date", "")
        refusal.close()
    try:
        return Instant.from_seconds(parsedate_to_datetime(date).timestamp())
    except (TypeError, ValueError):
        raise ValueError("no Date header") from None
