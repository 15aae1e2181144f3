"""Files that only we may read, and files that we must be able to read."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from commands.doctor.finding import Finding, Patient, fault, ok
from edge.configuration import calibration_file
from edge.core.errors import CalibrationError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def look(patient: Patient) -> Iterator[Finding]:
    yield secrets_are_ours(patient)
    yield data_is_private(patient)
    yield calibration_can_be_read(patient)


def secrets_are_ours(patient: Patient) -> Finding:
    check = "files.secrets"
    mqtt = patient.settings.mqtt
    files = [patient.config_file, patient.data_dir / "config.ini", patient.data_dir / "up.json"]
    files += [Path(mqtt.key_file)] if mqtt.key_file else []
    there = sorted({path for path in files if path is not None and path.is_file()})
    for path in there:
        if path.stat().st_mode & _OTHERS:
            return fault(
                check,
                f"{path} holds secrets and others can read it",
                f"{patient.sudo}chmod 600 {shlex.quote(str(path))}",
            )
    return ok(check, f"{', '.join(map(str, there)) or 'no file holds a secret, or none'} can be read by us alone")


def data_is_private(patient: Patient) -> Finding:
    """Sound and catalog are for the owner and the group, at most."""
    check = "files.data"
    for path in (patient.settings.recorder.record_path, patient.settings.catalog.db_path):
        if path.exists() and path.stat().st_mode & stat.S_IRWXO and _can_be_reached(path):
            here = shlex.quote(str(path))
            return fault(check, f"everybody on this machine can read {path}", f"{patient.sudo}chmod o-rwx {here}")
        if path.exists() and not os.access(path, os.R_OK):
            return fault(check, f"{path} cannot be read", patient.give_back(path))
    return ok(check, "sound and catalog are not for everybody")


def _can_be_reached(path: Path) -> bool:
    """Whether no folder above keeps everybody out."""
    return all(above.stat().st_mode & stat.S_IXOTH for above in path.absolute().parents)


def calibration_can_be_read(patient: Patient) -> Finding:
    check, folder = "files.calibration", patient.settings.catalog.db_path.parent
    try:
        kept = calibration_file.load(folder)
    except CalibrationError as problem:
        here = shlex.quote(str(folder / calibration_file.NAME))
        return fault(check, str(problem), f"{patient.sudo}mv {here} {here}.damaged && {patient.command('calibrate')}")
    if not kept:
        return ok(check, "no microphone is calibrated: levels are in dBFS")
    return ok(check, ", ".join(f"{name} {each.offset_db:+.1f} dB" for name, each in kept.items()))
