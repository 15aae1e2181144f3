"""`imhearing devices`: lists the input devices. `calibrate`: stores a microphone's offset from dBFS to dBA."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from commands.cli.common import load_settings, now, print_json, print_message
from commands.cli.logs import escaped
from edge.configuration import calibration_file
from edge.configuration.settings import Settings
from edge.core.errors import DeviceError, UsageError

if TYPE_CHECKING:
    from edge.recorder.capture.excerpt import Excerpt
    from edge.recorder.capture.microphone import InputDevice

_DEFAULT_SECONDS = 10.0
_WHEN_USED = "The recorder uses it from its next stream on: restart it, or run  imhearing rotate"


def devices(args: argparse.Namespace) -> int:
    """`imhearing devices`: lists the input devices, and marks the one that the recorder would use."""
    from edge.recorder.capture.gain import read_gain  # noqa: PLC0415
    from edge.recorder.capture.microphone import choose_device, list_devices  # noqa: PLC0415 -- PortAudio, which prints messages

    configured = load_settings(args).recorder.device
    found = list_devices()
    used = _used(found, configured)
    if args.json:
        gains = {device.name: read_gain(device.name) for device in found}
        print_json([{**device._asdict(), "used": device == used, "gain": gains[device.name]} for device in found])
        return 0
    if not found:
        print_message("no input device; plug in a microphone (until then, `imhearing up` records a synthetic scene)")
        return 0
    for device in found:
        mark = "*" if device == used else " "
        channels = "mono" if device.channels == 1 else f"up to {device.channels} channels"
        gain = read_gain(device.name)
        print(
            f"{mark} {escaped(device.name)}   {channels}, {device.rate} Hz, {escaped(device.host_api)}"
            f"{f', {gain}' if gain else ''}"
        )
    choose_device(found, configured)  # raises if none matches
    print_message(f"* used by the recorder ([recorder] device = {configured or '(default)'})")
    return 0


def _used(devices: list[InputDevice], configured: str) -> InputDevice | None:
    from edge.recorder.capture.microphone import choose_device  # noqa: PLC0415

    try:
        return choose_device(devices, configured)
    except DeviceError:
        return None


def calibrate(args: argparse.Namespace) -> int:
    """`imhearing calibrate`: records, measures and stores. CalibrationError says why a recording is unfit."""
    # NumPy and PortAudio, which only some commands need
    from edge.recorder.signal.calibration import from_calibrator, from_known_level  # noqa: PLC0415

    settings = load_settings(args)
    heard = _record(settings, args.seconds or _DEFAULT_SECONDS, args.gain)
    samples, rate = heard.samples, heard.form.rate
    if args.known is not None:
        measured = from_known_level(samples, rate, heard.full_scale, args.known)
    else:
        measured = from_calibrator(samples, rate, heard.full_scale, args.level, args.frequency)
    calibration = measured.of(heard.form.device, now())
    path = calibration_file.save(settings.recorder_folder, calibration)
    print_message(
        f"{escaped(calibration.device)}: dBA = dBFS {calibration.offset_db:+.2f} dB,"
        f" ± {calibration.uncertainty_db:.2f} dB (k = 2), from {measured.seconds:g} s"
        f" at {measured.level_dbfs:.1f} dBFS; stored in {path}"
    )
    print_message(f"{_WHEN_USED}. Recalibrate after changing the gain or the microphone.")
    if args.json:
        print_json(calibration)
    return 0


def _record(settings: Settings, seconds: float, gain: int | None) -> Excerpt:
    from edge.recorder.capture.excerpt import record_excerpt  # noqa: PLC0415
    from edge.recorder.capture.sources import choose_source  # noqa: PLC0415

    source = choose_source(settings.recorder)
    if type(source).__name__ == "SyntheticSource":
        raise UsageError("no microphone to calibrate: [recorder] source is synthetic, or none is plugged in")
    if gain is not None:
        _set_gain(settings, gain)
    print_message(f"listening for {seconds:g} s ...")
    try:
        return record_excerpt(source, seconds)
    except DeviceError as problem:
        raise DeviceError(
            f"{problem}; if the recorder is using the microphone, run  imhearing pause 5m  and try again"
        ) from None


def _set_gain(settings: Settings, percent: int) -> None:
    from edge.recorder.capture.gain import set_gain  # noqa: PLC0415
    from edge.recorder.capture.microphone import choose_device, list_devices  # noqa: PLC0415

    if not 0 <= percent <= 100:
        raise UsageError(f"--gain {percent}: expected 0 to 100 percent")
    device = choose_device(list_devices(), settings.recorder.device)
    print_message(
        f"{escaped(device.name)}: {set_gain(device.name, percent)}; to keep it after a reboot: sudo alsactl store"
    )
