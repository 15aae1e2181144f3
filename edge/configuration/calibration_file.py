"""`calibration.json` in the data folder: what each microphone's dBFS needs to become dBA. Written by `calibrate`."""

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
_LARGEST = 1_000_000  # bytes

Method = Literal["known_level", "calibrator"]


class Calibration(Struct, frozen=True, kw_only=True):
    """What is kept: levels of `device` are dBFS + `offset_db` from `at` on. `uncertainty_db` is expanded (k = 2).

    It holds for one microphone at one input gain: whoever changes either calibrates anew.
    """

    device: str
    at: Instant
    method: Method
    offset_db: Annotated[float, Meta(ge=-100, le=300)]
    uncertainty_db: Annotated[float, Meta(ge=0, le=100)]


class _File(Struct, frozen=True):
    calibrations: tuple[Calibration, ...] = ()


def load(folder: Path) -> dict[str, Calibration]:
    """The calibrations kept in `folder`, by device. CalibrationError when the file is there and cannot be used."""
    path = folder / NAME
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST)
        kept = wire.decode(data, _File)
    except FileNotFoundError:
        return {}
    except OSError as problem:
        raise CalibrationError(f"{path}: cannot be read ({problem.strerror}); mend its rights") from None
    except WireError as problem:
        raise CalibrationError(f"{path}: is damaged ({problem}); move it away and calibrate again") from None
    return {calibration.device: calibration for calibration in kept.calibrations}


def save(folder: Path, calibration: Calibration) -> Path:
    """Keeps `calibration` instead of an earlier one of the same device; gives the file. CalibrationError, OSError."""
    path = folder / NAME
    kept = load(folder) | {calibration.device: calibration}
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    write_atomically(path, wire.encode_pretty(_File(tuple(kept[name] for name in sorted(kept)))))
    return path


def offset_for(folder: Path, device: str) -> float | None:
    """What to add to the dBFS of `device`; None: uncalibrated. A damaged file is told in the log and counts as none."""
    try:
        kept = load(folder)
    except CalibrationError as problem:
        log.warning("%s; levels are told in dBFS", problem)
        return None
    alike = [each for name, each in kept.items() if _microphone(name) == _microphone(device)]
    found = kept.get(device) or (alike[0] if len(alike) == 1 else None)
    return None if found is None else found.offset_db


def _microphone(device: str) -> str:
    """Its name without ALSA's card number, which changes with the order of plugging in."""
    return re.sub(r" ?\(hw:\d+,\d+\)$", "", device)
