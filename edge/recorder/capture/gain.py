"""A microphone's input gain, through ALSA's mixer (`amixer` of alsa-utils): PortAudio has no access to it."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

from edge.core.errors import DeviceError

_CARD = re.compile(r"\(hw:(\d+),\d+\)")
_CONTROL = re.compile(r"Simple mixer control '([^']+)',(\d+)")
_VALUE = re.compile(r"Capture \d+ \[(\d+)%\](?: \[(-?[\d.]+)dB\])?(?: \[(on|off)\])?")
_PREFERRED = ("Capture", "Mic", "Input", "ADC")
_SECONDS = 5.0


class Gain(NamedTuple):
    """Of the first channel. `decibels` where the card reports them; `on` is False while its capture switch is off."""

    control: str
    percent: int
    decibels: float | None
    on: bool

    def __str__(self) -> str:
        decibels = "" if self.decibels is None else f" ({self.decibels:+.1f} dB)"
        return f"gain {self.percent} %{decibels}{'' if self.on else ', switched off'}"


def read_gain(device: str) -> Gain | None:
    """That of the input device called `device`; None where there is no way to know."""
    card = _card(device)
    if card is None:
        return None
    return preferred(list(controls(_amixer(*card, "scontents") or "")))


def set_gain(device: str, percent: int) -> Gain:
    """Sets it, switches capture on, and gives what it is then. DeviceError where the device has none to set."""
    card, before = _card(device), read_gain(device)
    if card is None or before is None:
        raise DeviceError(f"{device!r} has no gain that can be set here; check with  alsamixer -V capture")
    done = _amixer(*card, "sset", before.control, f"{percent}%", "cap")
    after = read_gain(device)
    if done is None or after is None:
        raise DeviceError(f"the gain of {device!r} cannot be set; check with  alsamixer -V capture")
    return after


def set_command(device: str, gain: Gain, *words: str) -> str:
    """What to type to set the control of `gain` to amixer's `words`."""
    # amixer takes the name without its quotes too, which a shell would eat
    return shlex.join(["amixer", *(_card(device) or ()), "sset", gain.control.replace("'", ""), *words])


def controls(output: str) -> Iterator[Gain]:
    """Every control with a capture volume in the output of `amixer scontents`."""
    for block in re.split(r"(?=Simple mixer control )", output):
        name, value = _CONTROL.match(block), _VALUE.search(block)
        if name and value:
            decibels = float(value[2]) if value[2] else None
            yield Gain(f"'{name[1]}',{name[2]}", int(value[1]), decibels, value[3] != "off")


def preferred(found: list[Gain]) -> Gain | None:
    """The one that is the microphone's, by its usual names."""
    for name in _PREFERRED:
        for gain in found:
            if gain.control.startswith(f"'{name}"):
                return gain
    return found[0] if found else None


def _card(device: str) -> tuple[str, str] | None:
    """amixer's words for the device: a card by its number, or a sound server."""
    match = _CARD.search(device)
    if match:
        return "-c", match[1]
    return ("-D", device) if device in ("pulse", "pipewire", "default") else None


def _amixer(*words: str) -> str | None:
    try:
        done = subprocess.run(["amixer", *words], capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):  # not installed, or a sound server that does not answer
        return None
    return None if done.returncode else done.stdout
