"""`recorder/calibration.json` in the data folder: each microphone's offset from dBFS to dBA. Written by `calibrate`."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from edge.core import wire
from edge.core.errors import CalibrationError, WireError
from edge.core.files import write_atomically
from edge.core.instant import Instant

log = logging.getLogger(__name__)

NAME = "calibration.json"
_MAX_BYTES = 1_000_000

Method = Literal["known_level", "calibrator"]


class Calibration(Struct, frozen=True, kw_only=True):
    """From `at` on, levels of `device` in dBA are dBFS + `offset_db`. `uncertainty_db` is expanded (k = 2).

    Valid for one microphone at one input gain; recalibrate after changing either.
    """

    device: str
    at: Instant
    method: Method
    offset_db: Annotated[float, Meta(ge=-100, le=300)]
    uncertainty_db: Annotated[float, Meta(ge=0, le=100)]


class _File(Struct, frozen=True):
    calibrations: tuple[Calibration, ...] = ()


def load(folder: Path) -> dict[str, Calibration]:
    """The calibrations stored in `folder`, by device. CalibrationError if the file exists but cannot be used."""
    path = folder / NAME
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES)
        stored = wire.decode(data, _File)
    except FileNotFoundError:
        return {}
    except OSError as problem:
        raise CalibrationError(f"{path}: cannot be read ({problem.strerror}); fix its permissions") from None
    except WireError as problem:
        raise CalibrationError(f"{path}: is damaged ({problem}); move it away and calibrate again") from None
    return {calibration.device: calibration for calibration in stored.calibrations}


def save(folder: Path, calibration: Calibration) -> Path:
    """Stores `calibration`, replacing any of the same device; returns the file. CalibrationError, OSError."""
    path = folder / NAME
    by_device = load(folder) | {calibration.device: calibration}
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    write_atomically(path, wire.encode_pretty(_File(tuple(by_device[name] for name in sorted(by_device)))))
    return path


def offset_for(folder: Path, device: str) -> float | None:
    """The offset from dBFS to dBA of `device`; None if uncalibrated. A damaged file is logged and ignored."""
    try:
        by_device = load(folder)
    except CalibrationError as problem:
        log.warning("%s; reporting levels in dBFS", problem)
        return None
    same_model = [each for name, each in by_device.items() if _without_card(name) == _without_card(device)]
    found = by_device.get(device) or (same_model[0] if len(same_model) == 1 else None)
    return None if found is None else found.offset_db


def _without_card(device: str) -> str:
    """The name without ALSA's card number, which depends on the order in which devices are plugged in."""
    return re.sub(r" ?\(hw:\d+,\d+\)$", "", device)
