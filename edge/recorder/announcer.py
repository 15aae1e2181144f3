"""Turns what happens in the recorder into events on the bus. Reads the spool where a limit is judged."""

from __future__ import annotations

import logging
from collections import deque

import msgspec

from edge.configuration.settings import Settings
from edge.core.errors import SpoolError
from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock
from edge.core.values import Chunk, Hole, SoundSpan, Stream
from edge.messaging.bus import Bus
from edge.messaging.events import (
    ChunkCompleted,
    ClockCorrected,
    GapFound,
    LevelMeasured,
    LimitsSet,
    RecorderState,
    SoundHeard,
    SoundingChanged,
    ThresholdCrossed,
)
from edge.messaging.home_assistant import Discovery
from edge.recorder.durable.journal import RecorderMode
from edge.recorder.durable.repair import readable_stream
from edge.recorder.recording import ModeListener
from edge.recorder.signal.input_watch import InputWatch
from edge.recorder.signal.levels import BlockLevels, SecondLevels
from edge.recorder.signal.sounds import SoundChange
from edge.recorder.stream_recorder import StreamRecorder
from edge.recorder.timing.correction import believed, real_holes
from edge.spool import limits as limit_files
from edge.spool import thresholds
from edge.spool.spool import Spool
from edge.spool.thresholds import Limits

log = logging.getLogger(__name__)

_MB = 1_000_000
_WISHED: dict[RecorderMode, int] = {"recording": logging.INFO, "paused": logging.INFO}  # a pause is somebody's wish
_MINUTE = 60  # levels, one each second


class Announcer(ModeListener):
    """Hears from the recorder; `set_limits` comes from the thread that takes commands."""

    def __init__(self, settings: Settings, spool: Spool, bus: Bus, kernel: KernelClock, limits: Limits) -> None:
        self._node = settings.node.name
        self._spool, self._bus, self._kernel = spool, bus, kernel
        self._discovery = Discovery(bus, self._node, settings.mqtt.discovery)
        self._level_crossings = thresholds.Crossings(settings.levels.hysteresis)
        self._store_crossings = thresholds.Crossings(over=limit_files.exceeded(spool.path))
        self._device: str | None = None
        self._state: RecorderState | None = None
        self._last_gap: Hole | None = None
        self._minute: deque[float] = deque(maxlen=_MINUTE)
        self._input = InputWatch()
        self._tell_sounding(False, kernel.now(), None)
        self.set_limits(limits)

    def set_limits(self, limits: Limits) -> None:
        """These hold from now on."""
        self._limits = limits
        self._bus.publish(LimitsSet(at=self._kernel.now(), node=self._node, **msgspec.structs.asdict(limits)))

    def mode_changed(self, mode: RecorderMode, since: Instant, reason: str | None, until: Instant | None) -> None:
        log.log(_WISHED.get(mode, logging.WARNING), "%s%s", mode, f": {reason}" if reason else "")
        if mode != "recording":
            self._minute.clear()
            self._input = InputWatch()
        found = self._input.finding
        self._state = RecorderState(
            at=self._kernel.now(), node=self._node, state=mode, since=since, until=until, device=self._device,
            reason=reason, last_gap=self._last_gap,
            input_fault=found.fault if found else None, hint=found.hint if found else None,
        )  # fmt: skip
        self._bus.publish(self._state)

    def stream_opened(self, stream: Stream) -> None:
        log.info("recording %s: %s", stream.stream_id, _format(stream))
        self._device = stream.device

    def stream_timed(self, stream: Stream) -> None:
        for hole in real_holes(stream.before):
            if hole.cause != "paused":
                self._last_gap = hole
                log.warning("nothing was recorded for %.3f s: %s", (hole.to - hole.from_) / 1e6, hole.cause)
                self._bus.publish(
                    GapFound(
                        at=self._kernel.now(), node=self._node, started_at=hole.from_, ended_at=hole.to,
                        cause=hole.cause,
                    )
                )  # fmt: skip
        if self._state is not None and self._state.last_gap != self._last_gap:
            self._say_again(self._state)

    def _say_again(self, state: RecorderState) -> None:
        """The state goes on, and more is known of it."""
        found = self._input.finding
        self._state = msgspec.structs.replace(
            state, at=self._kernel.now(), last_gap=self._last_gap,
            input_fault=found.fault if found else None, hint=found.hint if found else None,
        )  # fmt: skip
        self._bus.publish(self._state)

    def _look_at_input(self, second: SecondLevels) -> None:
        if self._input.add(second) and self._state is not None:
            if self._input.finding is not None:
                log.warning("%s", self._input.finding.hint)
            self._say_again(self._state)

    def measured(self, levels: BlockLevels, stream: StreamRecorder) -> None:
        stream.detector.set_level(self._limits.sound_level)  # it may have been set since the stream was opened
        self._discovery.unit_is(stream.meter.unit)
        for second in levels.seconds:
            self._minute.append(second.lafmax)
            self._look_at_input(second)
            self._bus.publish(
                LevelMeasured(
                    at=stream.time_of(second.end_frame), node=self._node, laeq=second.laeq,
                    lafmax=second.lafmax, lcpeak=second.lcpeak, unit=stream.meter.unit,
                    calibrated=stream.meter.unit == "dBA",
                    lafmax_minute=max(self._minute), clipped=second.clipped,
                )
            )  # fmt: skip
        measures = thresholds.Measures(
            sound_level=stream.detector.threshold_level(levels), level_unit=stream.meter.unit
        )
        self._tell(self._level_crossings.update(self._limits, measures))

    def sound_changed(self, change: SoundChange, stream: StreamRecorder) -> None:
        span = change.span
        end = None if span.frames is None else stream.time_of(span.first_frame + span.frames)
        self._bus.publish(
            SoundHeard(
                at=self._kernel.now(), node=self._node, event=change.event, sound_id=span.sound_id,
                lafmax=span.lafmax, laeq=span.laeq, unit=stream.meter.unit,
                started_at=stream.time_of(span.first_frame), ended_at=end,
            )
        )  # fmt: skip
        if change.event != "updated":
            self._tell_sounding(change.event == "started", end or stream.time_of(span.first_frame), span.sound_id)

    def chunk_finished(self, chunk: Chunk) -> None:
        log.info("finished %s: %.1f s, %d bytes", chunk.chunk_id, chunk.frames / chunk.rate, chunk.bytes)
        plain = msgspec.structs.asdict(chunk)
        if chunk.levels is not None:
            plain["levels"] = msgspec.structs.replace(chunk.levels, per_second=())
        self._bus.publish(ChunkCompleted(at=self._kernel.now(), **plain))
        if chunk.recovered and chunk.sounds and chunk.sounds[-1].frames is not None:
            self._tell_ended(chunk.sounds[-1], chunk)
        self._judge_store()

    def _tell_ended(self, span: SoundSpan, chunk: Chunk) -> None:
        """The last sound before the recorder died: perhaps nobody was told yet that it ended, where it ended by now."""
        assert span.frames is not None  # noqa: S101 - for the type checker
        stream = readable_stream(self._spool, chunk.stream_id)
        frames = (span.first_frame, span.first_frame + span.frames)
        times = (Instant(chunk.started_at + (at - chunk.first_frame) * 1_000_000 // chunk.rate) for at in frames)
        start, end = (believed(at, chunk.uncertain, stream) if stream is not None else at for at in times)
        self._bus.publish(
            SoundHeard(
                at=self._kernel.now(), node=self._node, event="ended", sound_id=span.sound_id,
                lafmax=span.lafmax, laeq=span.laeq, unit=chunk.levels.unit if chunk.levels else "dBFS",
                started_at=start, ended_at=end,
            )
        )  # fmt: skip
        self._tell_sounding(False, end, span.sound_id)

    def clock_corrected(self, stream: Stream) -> None:
        """The stream's times were told anew."""
        log.info("%s: times corrected by %.3f s", stream.stream_id, stream.shift / 1e6)
        self._bus.publish(
            ClockCorrected(at=self._kernel.now(), node=self._node, stream_id=stream.stream_id, knots=stream.knots)
        )

    def _tell_sounding(self, sounding: bool, since: Instant, sound_id: str | None) -> None:
        self._bus.publish(
            SoundingChanged(
                at=self._kernel.now(), node=self._node, sounding=sounding, since=since, sound_id=sound_id
            )
        )  # fmt: skip

    def _judge_store(self) -> None:
        """Holds what waits in the spool against the limits; the archiver does the same, in case nobody hears us."""
        try:
            waiting = [file for file in self._spool.chunks.finished().values() if not file.is_retained]
            free = self._spool.disk.free_bytes()
            oldest = min((file.path.stat().st_mtime for file in waiting), default=None)
        except (OSError, SpoolError) as problem:
            log.warning("the limits cannot be judged: %s", problem)
            return
        measures = thresholds.Measures(
            records_count=len(waiting),
            storage_usage=sum(file.bytes for file in waiting) / _MB,
            oldest_age=max(0.0, self._kernel.now() / 1e6 - oldest) if oldest else 0.0,
            disk_free=free / _MB,
        )
        crossings = self._store_crossings.update(self._limits, measures)
        self._tell(crossings)
        if crossings:
            try:
                limit_files.keep_exceeded(self._spool.path, self._store_crossings.over)
            except OSError as problem:
                log.warning("after a restart what is exceeded will be told again (%s)", problem)

    def _tell(self, crossings: tuple[thresholds.Crossing, ...]) -> None:
        for crossing in crossings:
            log.info("%s %s: %g %s", crossing.metric, crossing.event, crossing.value, crossing.unit)
            self._bus.publish(
                ThresholdCrossed(at=self._kernel.now(), node=self._node, **msgspec.structs.asdict(crossing))
            )


def _format(stream: Stream) -> str:
    channels = "mono" if stream.channels == 1 else f"{stream.channels} channels"
    return f"{stream.device}, {stream.rate} Hz, {channels}, {stream.bits} bits, {stream.format}"
