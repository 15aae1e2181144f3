"""The source that the settings name, and those beside the microphone: a sound file, and the synthetic scene."""

from __future__ import annotations

import logging
from pathlib import Path

from msgspec.structs import replace

from edge.configuration.encoder_limits import check_encodable
from edge.configuration.loader import expand_user
from edge.configuration.settings import Recorder
from edge.core.errors import FileUnencodable, FileUnplayable
from edge.core.kernel_clock import KernelClock
from edge.recorder.capture.blocks import Block, EndOfSound, SoundSource, SourceFormat, block_frames
from edge.recorder.capture.microphone import Microphone, list_devices
from edge.recorder.capture.scene import Scene
from edge.recorder.capture.sound_file import SoundFile, Undecodable

log = logging.getLogger(__name__)


class SourceChoice:
    """Opens the source that the settings name, as often as it is lost. What `auto` means is decided once: a microphone
    that is unplugged is waited for, and never replaced by synthetic sound. A file resumes where it stopped."""

    def __init__(self, settings: Recorder, clock: KernelClock) -> None:
        self._settings, self._clock = settings, clock
        self._file: FileSource | None = None

    def __call__(self) -> SoundSource:
        if self._file is not None:
            return self._file
        self._settings = replace(self._settings, source=_resolved(self._settings))
        source = choose_source(self._settings, self._clock)
        self._file = source if isinstance(source, FileSource) else None
        return source


def _resolved(settings: Recorder) -> str:
    """What the source's name stands for: `auto` is a microphone if one is plugged in now."""
    if settings.source != "auto":
        return settings.source
    return "microphone" if settings.device or list_devices() else "synthetic"


def choose_source(settings: Recorder, clock: KernelClock | None = None) -> SoundSource:
    """The source that `[recorder] source` names; `auto` looks for an input device now. DeviceError when unusable."""
    name, clock = _resolved(settings), clock or KernelClock()
    if name == "microphone":
        return Microphone(
            settings.device,
            settings.sample_rate,
            settings.channels,
            settings.bits,
            block_frames(settings.block_ms, settings.sample_rate),
            clock,
        )
    if name == "synthetic":
        return SyntheticSource(settings, clock)
    return FileSource(expand_user(Path(name)), settings, clock)


class _Pacer:
    """Knows when the frames of a source that could run ahead are due. `lead` frames of it lie in the past already."""

    def __init__(self, clock: KernelClock, rate: int, real: bool, lead: int) -> None:
        self._clock, self._rate, self._real = clock, rate, real
        self._started = clock.monotonic() - lead * 1_000_000 // rate

    def wait(self, first_frame: int, frames: int, timeout: float) -> int | None:
        """Waits for the end of these frames, at most `timeout` seconds.

        Returns when they begin, in µs of the monotonic clock; None: they have not ended yet.
        """
        begin = self._started + first_frame * 1_000_000 // self._rate
        if self._real:
            left = (begin + frames * 1_000_000 // self._rate - self._clock.monotonic()) / 1e6
            self._clock.sleep(min(left, timeout))
            if left > timeout:
                return None
        return begin


class FileSource:
    """A sound file, played once. The reader waits for nothing: no sound is ever dropped.

    With pace `max` the file ends now; with pace `real` it begins now. Opened again, it resumes where it stopped.
    """

    def __init__(self, path: Path, settings: Recorder, clock: KernelClock) -> None:
        self._path, self._settings, self._clock = path, settings, clock
        self._real = settings.pace == "real"
        self._file: SoundFile | None = None
        self._form: SourceFormat | None = None  # once opened
        self._next_frame = 0

    def open(self) -> SourceFormat:
        """FileUnplayable, except for a file of which something was played: that one is taken to have ended."""
        try:
            file = SoundFile(self._path, self._next_frame)
        except (OSError, Undecodable) as problem:
            if self._form is not None:
                # no error: it would end the process, and the next one would play the file from its first sample
                log.error("%s: %s; treating that as its end", self._path, _why_not(self._path, problem))  # noqa: TRY400
                return self._form
            raise FileUnplayable(
                f"{self._path}: {_why_not(self._path, problem)}; set [recorder] source to a sound file,"
                " `microphone`, `synthetic` or `auto`"
            ) from None
        self._check_encodable(file)
        self._file = file
        self._block_frames = block_frames(self._settings.block_ms, file.rate)
        lead = self._next_frame if self._real else file.frames
        self._pacer = _Pacer(self._clock, file.rate, self._real, lead)
        self._form = SourceFormat(f"file {self._path.name}", file.rate, file.channels, file.bits)
        return self._form

    def _check_encodable(self, file: SoundFile) -> None:
        settings = self._settings
        fault = check_encodable(file.rate, file.channels, file.bits, settings.format, settings.record_period)
        if fault is not None:
            file.close()
            changes = tuple(f"recorder.{change}" for change in fault.changes)
            raise FileUnencodable(f"{self._path}: cannot be recorded: {fault}", changes)

    def read(self, timeout: float) -> Block | None:
        if self._file is None:
            raise EndOfSound
        if (begin := self._pacer.wait(self._next_frame, self._block_frames, timeout)) is None:
            return None
        try:
            samples = self._file.read(self._block_frames)
        except Undecodable as problem:
            log.error("%s: damaged after frame %d (%s); ending it there", self._path, self._next_frame, problem)  # noqa: TRY400
            raise EndOfSound from None
        if not len(samples):
            raise EndOfSound
        self._next_frame += len(samples)
        return Block(samples, begin)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _why_not(path: Path, problem: Exception) -> str:
    """Why a file cannot be opened: libsndfile calls everything that the system refused a `System error`."""
    if isinstance(problem, OSError):
        return f"cannot be played ({problem.strerror})"
    try:
        with path.open("rb"):
            return f"is no sound file that can be played ({problem})"
    except OSError as refused:
        return f"cannot be played ({refused.strerror})"


class SyntheticSource:
    """A synthetic garden for machines without a microphone: quiet noise, a hum, and birds. Always the same."""

    def __init__(self, settings: Recorder, clock: KernelClock) -> None:
        self._settings, self._clock = settings, clock
        self._next_frame = 0

    def open(self) -> SourceFormat:
        settings = self._settings
        self._scene = Scene(settings.sample_rate, settings.channels, settings.bits)
        self._next_frame = 0
        self._pacer = _Pacer(self._clock, settings.sample_rate, settings.pace == "real", 0)
        return SourceFormat("synthetic scene", settings.sample_rate, settings.channels, settings.bits)

    def read(self, timeout: float) -> Block | None:
        frames = block_frames(self._settings.block_ms, self._settings.sample_rate)
        if (begin := self._pacer.wait(self._next_frame, frames, timeout)) is None:
            return None
        samples = self._scene.render(self._next_frame, frames)
        self._next_frame += frames
        return Block(samples, begin)

    def close(self) -> None:
        """Nothing to release."""
