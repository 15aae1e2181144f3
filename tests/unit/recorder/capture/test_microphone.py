"""PortAudio's failures are device errors; a refusal lists the choices; 2 s without samples are a device loss."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pyaudio
import pytest

from edge.core.errors import DeviceError
from edge.core.kernel_clock import KernelClock
from edge.recorder.capture.blocks import Block, BlockQueue, Samples
from edge.recorder.capture.microphone import Microphone, list_devices
from tests.support.kernel_clock import ManualClock

BOTH = (pyaudio.paInt16, pyaudio.paInt32)


def refuse(*_: object) -> NoReturn:
    raise OSError(-9999, "Unanticipated host error")


@pytest.mark.parametrize("failing", ["__init__", "get_device_count", "get_device_info_by_index"])
def test_portaudio_failures_are_device_errors(monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    monkeypatch.setattr(pyaudio.PyAudio, "get_device_count", lambda _self: 1)
    monkeypatch.setattr(pyaudio.PyAudio, failing, refuse)
    with pytest.raises(DeviceError, match="Unanticipated host error"):
        Microphone("", 48_000, 1, 16, 4_096, KernelClock()).open()
    with pytest.raises(DeviceError, match="Unanticipated host error"):
        list_devices()


class Card:
    """A PyAudio with one device of two channels, which opens with `formats`: pairs of rate and sample format."""

    formats: frozenset[tuple[int, int]] = frozenset()
    busy = False
    opened: dict[str, Any]

    def get_device_count(self) -> int:
        return 1

    def get_device_info_by_index(self, index: int) -> dict[str, Any]:
        return {"index": index, "name": "Card", "hostApi": 0, "maxInputChannels": 2, "defaultSampleRate": 44_100.0}

    def get_default_input_device_info(self) -> dict[str, Any]:
        return self.get_device_info_by_index(0)

    def get_host_api_info_by_index(self, _index: int) -> dict[str, Any]:
        return {"name": "ALSA"}

    def is_format_supported(self, rate: int, *, input_device: int, input_channels: int, input_format: int) -> bool:
        assert (input_device, input_channels) == (0, 2)
        if (rate, input_format) not in self.formats:
            raise ValueError("Invalid sample rate", -9997)
        return True

    def open(self, **options: Any) -> SimpleNamespace:
        if self.busy:
            raise OSError(errno.EBUSY, "Device unavailable")
        if (options["rate"], options["format"]) not in self.formats:
            raise OSError(-9997, "Invalid sample rate")
        self.opened = options
        return SimpleNamespace(close=lambda: None)

    def terminate(self) -> None: ...


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    card = Card()
    monkeypatch.setattr(pyaudio, "PyAudio", lambda: card)
    return card


def refusal(rate: int, channels: int, bits: int) -> str:
    with pytest.raises(DeviceError) as refused:
        Microphone("", rate, channels, bits, 960, KernelClock()).open()
    return str(refused.value)


def test_an_unsupported_rate_is_refused_with_the_supported_ones(card: Card) -> None:
    card.formats = frozenset((rate, bits) for rate in (44_100, 48_000) for bits in BOTH)
    assert refusal(96_000, 2, 16) == (
        "'Card' cannot record 2 channels of 16 bits at 96000 Hz ([Errno -9997] Invalid sample rate);"
        " set [recorder] sample_rate to one of 44100, 48000"
    )


def test_an_unsupported_bit_depth_is_refused_with_the_supported_one(card: Card) -> None:
    card.formats = frozenset({(48_000, pyaudio.paInt16)})
    assert refusal(48_000, 2, 24).endswith("; set [recorder] bits to 16")


def test_a_rate_supported_only_at_the_other_depth_is_refused_with_both_choices(card: Card) -> None:
    card.formats = frozenset({(96_000, pyaudio.paInt16), (48_000, pyaudio.paInt32)})
    assert refusal(96_000, 2, 24).endswith("; set [recorder] sample_rate to one of 48000 or bits to 16")


@pytest.mark.parametrize("formats", [set(), {(48_000, pyaudio.paInt16)}])
def test_a_device_in_use_is_reported_without_suggesting_formats(card: Card, formats: set[tuple[int, int]]) -> None:
    card.formats, card.busy = frozenset(formats), True
    message = refusal(48_000, 2, 16)
    assert "in use by another program" in message
    assert "sample_rate" not in message


def test_too_many_channels_are_refused_with_the_supported_number(card: Card) -> None:
    assert refusal(48_000, 3, 16) == "'Card' has 2 input channels, not 3; set [recorder] channels to 1..2"


@pytest.mark.parametrize(
    ("bits", "sample_format", "frames"),
    [
        (16, pyaudio.paInt16, np.array([[1, -2], [32_767, -32_768], [5, 6]], np.int16)),
        (24, pyaudio.paInt32, np.array([[1, -2], [2**23 - 1, -(2**23)], [5, 6]], np.int32) << 8),
    ],
)
def test_samples_arrive_as_the_card_delivered_them(card: Card, bits: int, sample_format: int, frames: Samples) -> None:
    card.formats = frozenset({(48_000, sample_format)})
    microphone = Microphone("card", 48_000, 2, bits, 3, KernelClock())
    assert microphone.open() == ("Card", 48_000, 2, bits)
    card.opened["stream_callback"](frames.tobytes(), 3, {}, 0)
    block = microphone.read(0)
    assert block is not None
    assert block.samples.dtype == frames.dtype
    assert block.samples.tolist() == frames.tolist()


class WaitClock(ManualClock):
    """Time passes only in waits for a block."""

    stopped_for = 0.0  # how long the process is stopped within each wait, in seconds

    def make_queue(self, max_bytes: int) -> BlockQueue:
        clock = self

        class Queue(BlockQueue):
            def get(self, timeout: float) -> Block | None:
                block = super().get(0)
                if block is None:
                    clock.advance(timeout + clock.stopped_for)
                return block

        return Queue(max_bytes)


@pytest.fixture
def clock() -> WaitClock:
    return WaitClock()


@pytest.fixture
def microphone(card: Card, clock: WaitClock) -> Microphone:
    card.formats = frozenset({(48_000, pyaudio.paInt16)})
    microphone = Microphone("", 48_000, 1, 16, 960, clock, clock.make_queue)
    microphone.open()
    return microphone


def deliver(card: Card, microphone: Microphone) -> None:
    card.opened["stream_callback"](bytes(1_920), 960, {}, 0)
    assert microphone.read(0.5) is not None


def silence_until_lost(microphone: Microphone, clock: WaitClock) -> float:
    """Reads in steps of 0.5 s until the device is given up; gives the seconds that took."""
    started = clock.monotonic()
    while clock.monotonic() < started + 60_000_000:
        try:
            assert microphone.read(0.5) is None
        except DeviceError:
            return (clock.monotonic() - started) / 1e6
    raise AssertionError("it was never given up")


def test_no_samples_for_2_s_is_a_device_loss(card: Card, clock: WaitClock, microphone: Microphone) -> None:
    deliver(card, microphone)
    assert silence_until_lost(microphone, clock) == 2.5  # the first step after 2 s
    deliver(card, microphone)
    assert silence_until_lost(microphone, clock) == 2.5


def test_a_device_that_was_just_opened_has_10_s_to_deliver(clock: WaitClock, microphone: Microphone) -> None:
    assert silence_until_lost(microphone, clock) == 10.5


def test_a_stall_of_the_process_between_two_reads_is_no_device_loss(
    card: Card, clock: WaitClock, microphone: Microphone
) -> None:
    deliver(card, microphone)
    clock.advance(60)
    assert silence_until_lost(microphone, clock) == 2.5


def test_a_stall_of_the_process_while_waiting_is_no_device_loss(
    card: Card, clock: WaitClock, microphone: Microphone
) -> None:
    deliver(card, microphone)
    clock.stopped_for = 60
    assert microphone.read(0.5) is None
    clock.stopped_for = 0
    assert silence_until_lost(microphone, clock) == 2.5
