"""`imhearing devices`: lists the input devices, and marks the one that the recorder would use."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from commands.cli import logs
from commands.cli.common import load_settings, print_json, print_message
from commands.cli.logs import escaped
from edge.core.errors import DeviceError

if TYPE_CHECKING:
    from edge.recorder.capture.microphone import InputDevice


def run(args: argparse.Namespace) -> int:
    from edge.recorder.capture.gain import read_gain  # noqa: PLC0415
    from edge.recorder.capture.microphone import choose_device, list_devices  # noqa: PLC0415 -- PortAudio, which prints messages

    logs.set_up_for_people()
    configured = load_settings(args).recorder.device
    devices = list_devices()
    used = _used(devices, configured)
    if args.json:
        gains = {device.name: read_gain(device.name) for device in devices}
        print_json([{**device._asdict(), "used": device == used, "gain": gains[device.name]} for device in devices])
        return 0
    if not devices:
        print_message("no input device; plug in a microphone (until then, `imhearing up` records a synthetic scene)")
        return 0
    for device in devices:
        mark = "*" if device == used else " "
        channels = "mono" if device.channels == 1 else f"up to {device.channels} channels"
        gain = read_gain(device.name)
        print(
            f"{mark} {escaped(device.name)}   {channels}, {device.rate} Hz, {escaped(device.host_api)}"
            f"{f', {gain}' if gain else ''}"
        )
    choose_device(devices, configured)  # raises if none matches
    print_message(f"* used by the recorder ([recorder] device = {configured or '(default)'})")
    return 0


def _used(devices: list[InputDevice], configured: str) -> InputDevice | None:
    from edge.recorder.capture.microphone import choose_device  # noqa: PLC0415

    try:
        return choose_device(devices, configured)
    except DeviceError:
        return None
