"""The only file that imports PyAudio: finds input devices by name, and turns one into a source of blocks."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyaudio

from edge.errors import DeviceError
from edge.recorder.blocks import Block, BlockQueue, Samples, SourceFormat

log = logging.getLogger(__name__)

QUEUE_BYTES = 16_000_000  # what a stalled consumer may leave waiting: 170 s at 48 kHz, mono, 16 bit
_OPENING_SECONDS = 10.0  # a sound server may take seconds to deliver its first block
_DEAD_SECONDS = 2.0


class InputDevice(NamedTuple):
    """One device that can record."""

    number: int  # PortAudio's; changes when devices come and go
    name: str
    host_api: str
    channels: int  # at most
    rate: int  # its own default, frames per second
    default: bool


def list_devices() -> list[InputDevice]:
    """Every input device there is now; none where there is no sound system. DeviceError when PortAudio fails."""
    portaudio = _initialised()
    try:
        return _input_devices(portaudio)
    finally:
        portaudio.terminate()


def _input_devices(portaudio: pyaudio.PyAudio) -> list[InputDevice]:
    """DeviceError when PortAudio fails."""
    try:
        return list(_each_input_device(portaudio))
    except OSError as problem:
        raise DeviceError(f"the sound system cannot list its devices ({problem}); is one being reset?") from None


def _each_input_device(portaudio: pyaudio.PyAudio) -> Iterator[InputDevice]:
    try:
        default = portaudio.get_default_input_device_info()["index"]
    except OSError:
        default = None
    for index in range(portaudio.get_device_count()):
        info = portaudio.get_device_info_by_index(index)
        channels = int(info["maxInputChannels"])
        if channels < 1:
            continue
        host_api = portaudio.get_host_api_info_by_index(info["hostApi"])["name"]
        yield InputDevice(
            index, str(info["name"]), str(host_api), channels, round(float(info["defaultSampleRate"])),
            index == default,
        )  # fmt: skip


def choose_device(devices: list[InputDevice], wanted: str) -> InputDevice:
    """The device whose name holds `wanted` (any case); the default one for ''. DeviceError lists what there is."""
    if not devices:
        raise DeviceError("there is no input device; plug in a microphone, or set [recorder] source = synthetic")
    if not wanted:
        return next((device for device in devices if device.default), devices[0])
    for device in devices:
        if wanted.lower() in device.name.lower():
            return device
    names = ", ".join(repr(device.name) for device in devices)
    raise DeviceError(f"no input device has {wanted!r} in its name; set [recorder] device to a part of one of: {names}")


class Microphone:
    """A source: one input device, opened with PortAudio's callback, whose thread does nothing but enqueue."""

    def __init__(self, device: str, rate: int, channels: int, bits: int, block_frames: int) -> None:
        self._wanted = device
        self._rate, self._channels, self._bits = rate, channels, bits
        self._block_frames = block_frames
        self._queue = BlockQueue(QUEUE_BYTES)
        self._portaudio: pyaudio.PyAudio | None = None
        self._stream: pyaudio.PyAudio.Stream | None = None
        self._last_read = 0.0
        self._delivered = False

    def open(self) -> SourceFormat:
        """Opens the device and starts it. DeviceError says what it cannot do and what it can."""
        self._queue = BlockQueue(QUEUE_BYTES)
        self._delivered = False
        self._portaudio = _initialised()  # afresh each time: PortAudio sees new devices only at initialisation
        try:
            device = choose_device(_input_devices(self._portaudio), self._wanted)
            self._start(device)
        except BaseException:
            self.close()
            raise
        self._last_read = time.monotonic()
        return SourceFormat(device.name, self._rate, self._channels, self._bits)

    def _start(self, device: InputDevice) -> None:
        assert self._portaudio is not None  # noqa: S101 - for the type checker: open() made it
        if self._channels > device.channels:
            raise DeviceError(
                f"{device.name!r} has {device.channels} input channels, not {self._channels};"
                f" set [recorder] channels to 1..{device.channels}"
            )
        try:
            with _quiet_stderr():
                self._stream = self._portaudio.open(
                    rate=self._rate,
                    channels=self._channels,
                    format=pyaudio.paInt16 if self._bits == 16 else pyaudio.paInt32,
                    input=True,
                    input_device_index=device.number,
                    frames_per_buffer=self._block_frames,
                    stream_callback=self._callback,
                )
        except (OSError, ValueError) as problem:
            raise DeviceError(
                f"{device.name!r} cannot record {self._channels} channels of {self._bits} bits at {self._rate} Hz"
                f" ({problem}); its own rate is {device.rate} Hz: see [recorder] sample_rate, channels and device"
            ) from None

    def _callback(
        self, data: bytes | None, frames: int, _times: Any, status: int
    ) -> tuple[None, int]:  # in PortAudio's thread: no lock, no disk, no network, no log
        # PortAudio's own capture times are wrong by up to 0.6 s after opening (ALSA's pulse plug-in): arrival is not
        if data is not None:
            captured_at = time.monotonic_ns() // 1000 - frames * 1_000_000 // self._rate
            flat: Samples = np.frombuffer(data, np.int16) if self._bits == 16 else np.frombuffer(data, np.int32)
            suspect = bool(status & pyaudio.paInputOverflow)
            self._queue.put(Block(flat.reshape(-1, self._channels), captured_at, suspect=suspect))
        return None, pyaudio.paContinue

    def read(self, timeout: float) -> Block | None:
        """The next block. DeviceError when none came for 2 s in which we ourselves were running."""
        started = time.monotonic()
        if started - self._last_read > _DEAD_SECONDS:
            self._last_read = started  # we were busy or stopped: that says nothing about the device
        block = self._queue.get(timeout)
        now = time.monotonic()
        if block is not None:
            self._last_read = now
            self._delivered = True
            return block
        if now - started > timeout + 0.5:
            self._last_read = now  # we were stopped while waiting
        if now - self._last_read > (_DEAD_SECONDS if self._delivered else _OPENING_SECONDS):
            raise DeviceError(
                f"the microphone has delivered nothing for {now - self._last_read:.0f} s; is it unplugged?"
            )
        return None

    def close(self) -> None:
        """Lets go of the device; never raises."""
        stream, portaudio = self._stream, self._portaudio
        self._stream = self._portaudio = None
        with _quiet_stderr():
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
            if portaudio is not None:
                portaudio.terminate()


def _initialised() -> pyaudio.PyAudio:
    try:
        with _quiet_stderr():
            return pyaudio.PyAudio()
    except OSError as problem:
        raise DeviceError(f"the sound system cannot be used ({problem}); is one running, and may we use it?") from None


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """ALSA and JACK print pages about devices that are not there; what matters reaches us as an error code."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        ctypes.CDLL(None).fflush(None)  # what C left in its buffer belongs to the silence too
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
