"""The only file that imports PyAudio: finds input devices by name, and turns one into a source of blocks."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyaudio

from edge.core.errors import DeviceError
from edge.core.instant import MICROSECONDS
from edge.core.kernel_clock import KernelClock
from edge.recorder.capture.blocks import Block, BlockQueue, Samples, SourceFormat

log = logging.getLogger(__name__)

QUEUE_BYTES = 16_000_000  # what a stalled consumer may leave waiting: 170 s at 48 kHz, mono, 16 bit
_OPENING_SECONDS = 10.0  # a sound server may take seconds to deliver its first block
_DEAD_SECONDS = 2.0
_USUAL_RATES = (8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000)


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
    default = None
    with contextlib.suppress(OSError):  # there is none
        default = portaudio.get_default_input_device_info()["index"]
    try:
        infos = [portaudio.get_device_info_by_index(index) for index in range(portaudio.get_device_count())]
        return [
            InputDevice(
                info["index"],
                str(info["name"]),
                str(portaudio.get_host_api_info_by_index(info["hostApi"])["name"]),
                int(info["maxInputChannels"]),
                round(float(info["defaultSampleRate"])),
                info["index"] == default,
            )
            for info in infos
            if info["maxInputChannels"] >= 1
        ]
    except OSError as problem:
        raise DeviceError(f"the sound system cannot list its devices ({problem}); is one being reset?") from None


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

    def __init__(
        self,
        device: str,
        rate: int,
        channels: int,
        bits: int,
        block_frames: int,
        clock: KernelClock,
        make_queue: Callable[[int], BlockQueue] = BlockQueue,
    ) -> None:
        self._wanted = SourceFormat(device, rate, channels, bits)
        self._block_frames = block_frames
        self._clock, self._make_queue = clock, make_queue
        self._queue = make_queue(QUEUE_BYTES)
        self._portaudio: pyaudio.PyAudio | None = None
        self._stream: pyaudio.PyAudio.Stream | None = None
        self._silent = 0.0  # seconds waited in vain since the last block
        self._delivered = False

    def open(self) -> SourceFormat:
        """Opens the device and starts it. DeviceError says what it cannot do and what it can."""
        self._queue = self._make_queue(QUEUE_BYTES)
        self._silent, self._delivered = 0.0, False
        self._portaudio = _initialised()  # afresh each time: PortAudio sees new devices only at initialisation
        try:
            device = choose_device(_input_devices(self._portaudio), self._wanted.device)
            self._start(device)
        except BaseException:
            self.close()
            raise
        return self._wanted._replace(device=device.name)

    def _start(self, device: InputDevice) -> None:
        assert self._portaudio is not None  # noqa: S101 - for the type checker: open() made it
        if self._wanted.channels > device.channels:
            raise DeviceError(
                f"{device.name!r} has {device.channels} input channels, not {self._wanted.channels};"
                f" set [recorder] channels to 1..{device.channels}"
            )
        try:
            with _quiet_stderr():
                self._stream = self._portaudio.open(
                    rate=self._wanted.rate,
                    channels=self._wanted.channels,
                    format=_sample_format(self._wanted.bits),
                    input=True,
                    input_device_index=device.number,
                    frames_per_buffer=self._block_frames,
                    stream_callback=self._callback,
                )
        except (OSError, ValueError) as problem:
            raise DeviceError(
                f"{device.name!r} cannot record {self._wanted.channels} channels of {self._wanted.bits} bits at"
                f" {self._wanted.rate} Hz ({problem}); {self._choices(device)}"
            ) from None

    def _choices(self, device: InputDevice) -> str:
        """What to do when `device` could not be opened: what it says it can do, for the end of a message."""
        wanted = self._wanted
        with _quiet_stderr():
            rates = [rate for rate in sorted({*_USUAL_RATES, device.rate}) if self._supports(device, rate, wanted.bits)]
            depths = [bits for bits in (16, 24) if self._supports(device, wanted.rate, bits)]
        if wanted.bits in depths or not (rates or depths):  # so our format is not the cause
            return "it may be in use by another program: end that one, or set [recorder] device to another device"
        choices = []
        if rates:
            choices.append(f"sample_rate to one of {', '.join(map(str, rates))}")
        if depths:
            choices.append(f"bits to {depths[0]}")  # one at most: the wanted depth is not among them
        return f"set [recorder] {' or '.join(choices)}"

    def _supports(self, device: InputDevice, rate: int, bits: int) -> bool:
        assert self._portaudio is not None  # noqa: S101 - for the type checker: open() made it
        try:
            return bool(
                self._portaudio.is_format_supported(
                    rate,
                    input_device=device.number,
                    input_channels=self._wanted.channels,
                    input_format=_sample_format(bits),
                )
            )
        except (OSError, ValueError):
            return False

    def _callback(
        self, data: bytes | None, frames: int, _times: Any, status: int
    ) -> tuple[None, int]:  # in PortAudio's thread: no lock, no disk, no network, no log
        # PortAudio's own capture times are wrong by up to 0.6 s after opening (ALSA's pulse plug-in): trust the arrival
        if data is not None:
            captured_at = self._clock.monotonic() - frames * 1_000_000 // self._wanted.rate
            flat: Samples = np.frombuffer(data, np.int16) if self._wanted.bits == 16 else np.frombuffer(data, np.int32)
            suspect = bool(status & pyaudio.paInputOverflow)
            self._queue.put(Block(flat.reshape(-1, self._wanted.channels), captured_at, suspect=suspect))
        return None, pyaudio.paContinue

    def read(self, timeout: float) -> Block | None:
        """The next block. DeviceError when none came for 2 s (10 after opening) in which this process was running."""
        started = self._clock.monotonic()
        block = self._queue.get(timeout)
        waited = (self._clock.monotonic() - started) / MICROSECONDS
        if block is not None:
            self._silent = 0.0
            self._delivered = True
            return block
        # only waits count, not our own work between two reads; a wait in which we were stopped starts the count again
        self._silent = 0.0 if waited > timeout + 0.5 else self._silent + waited
        if self._silent > (_DEAD_SECONDS if self._delivered else _OPENING_SECONDS):
            raise DeviceError(f"the microphone has delivered nothing for {self._silent:.0f} s; is it unplugged?")
        return None

    def close(self) -> None:
        """Releases the device; never raises."""
        stream, portaudio = self._stream, self._portaudio
        self._stream = self._portaudio = None
        with _quiet_stderr():
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
            if portaudio is not None:
                portaudio.terminate()


def _sample_format(bits: int) -> int:
    """PortAudio's; 24 bit comes left-justified in 32."""
    return int(pyaudio.paInt16 if bits == 16 else pyaudio.paInt32)


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
        ctypes.CDLL(None).fflush(None)  # what C left in its buffer must not get out either
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
