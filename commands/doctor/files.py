"""Files: is what must be private private, and is what must be readable readable?"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from commands.doctor.finding import Finding, fault, ok
from commands.doctor.node_under_test import NodeUnderTest
from edge.configuration import calibration_file
from edge.core.errors import CalibrationError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def check_files(node: NodeUnderTest) -> Iterator[Finding]:
    yield check_secrets(node)
    yield check_data(node)
    yield check_calibration(node)


def check_secrets(node: NodeUnderTest) -> Finding:
    check = "files.secrets"
    mqtt = node.settings.mqtt
    files = [node.config_file, node.data_dir / "config.ini", node.data_dir / "up.json"]
    files += [Path(mqtt.key_file)] if mqtt.key_file else []
    existing = sorted({path for path in files if path is not None and path.is_file()})
    for path in existing:
        if path.stat().st_mode & _OTHERS:
            return fault(
                check,
                f"{path} contains secrets but other users can read it",
                f"{node.sudo}chmod 600 {shlex.quote(str(path))}",
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
    check, folder = "files.calibration", node.settings.catalog.db_path.parent
    try:
        by_device = calibration_file.load(folder)
    except CalibrationError as problem:
        here = shlex.quote(str(folder / calibration_file.NAME))
        return fault(check, str(problem), f"{node.sudo}mv {here} {here}.damaged && {node.command('calibrate')}")
    if not by_device:
        return ok(check, "no microphone is calibrated: levels are in dBFS")
    return ok(check, ", ".join(f"{name} {each.offset_db:+.1f} dB" for name, each in by_device.items()))
