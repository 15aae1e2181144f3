"""PortAudio's own failures are the device's, never the disk's."""

from __future__ import annotations

from typing import NoReturn

import pyaudio
import pytest

from edge.errors import DeviceError
from edge.recorder.microphone import Microphone, list_devices


def refuse(*_: object) -> NoReturn:
    raise OSError(-9999, "Unanticipated host error")


@pytest.mark.parametrize("failing", ["__init__", "get_device_count", "get_device_info_by_index"])
def test_what_portaudio_refuses_is_a_device_error(monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    monkeypatch.setattr(pyaudio.PyAudio, "get_device_count", lambda _self: 1)
    monkeypatch.setattr(pyaudio.PyAudio, failing, refuse)
    with pytest.raises(DeviceError, match="Unanticipated host error"):
        Microphone("", 48_000, 1, 16, 4_096).open()
    with pytest.raises(DeviceError, match="Unanticipated host error"):
        list_devices()
