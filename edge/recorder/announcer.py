"""Translates what the recorder reports into events on the bus."""

from __future__ import annotations

import logging
from collections import deque

import msgspec

from edge.configuration.settings import Settings
from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock
from edge.core.values import Chunk, Hole, RecorderMode, Stream
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
from edge.recorder.facts import MeasuredBlock, RecorderObserver, TimedSound
from edge.recorder.signal.input_watch import InputFault
from edge.recorder.signal.levels import level_unit
from edge.recorder.timing.correction import real_holes
from edge.spool.thresholds import Crossing, Limits

log = logging.getLogger(__name__)

_EXPECTED: tuple[RecorderMode, ...] = ("recording", "paused")  # somebody wants it so
_MINUTE = 60  # levels, one each second


class Announcer(RecorderObserver):
    """Publishes each fact at once. Between two facts it keeps what the retained state and the loudest minute need."""

    def __init__(self, settings: Settings, bus: Bus, kernel: KernelClock) -> None:
        self._node = settings.node.name
        self._bus, self._kernel = bus, kernel
        self._discovery = Discovery(bus, self._node, settings.mqtt.discovery)
        self._device: str | None = None
        self._state: RecorderState | None = None
        self._last_gap: Hole | None = None
        self._input_fault: InputFault | None = None
        self._minute: deque[float] = deque(maxlen=_MINUTE)
        self._publish_sounding(False, kernel.now(), None)

    def limits_changed(self, limits: Limits) -> None:
        self._bus.publish(LimitsSet(at=self._kernel.now(), node=self._node, **msgspec.structs.asdict(limits)))

    def mode_changed(self, mode: RecorderMode, since: Instant, reason: str | None, until: Instant | None) -> None:
        level = logging.INFO if mode in _EXPECTED else logging.WARNING
        log.log(level, "%s%s", mode, f": {reason}" if reason else "")
        if mode != "recording":
            self._minute.clear()
            self._input_fault = None
        at = self._kernel.now()
        self._publish_state(
            RecorderState(
                at=at, node=self._node, state=mode, since=since, until=until, device=self._device, reason=reason
            )
        )

    def stream_opened(self, stream: Stream) -> None:
        log.info("recording %s: %s", stream.stream_id, _format(stream))
        self._device = stream.device
        self._discovery.unit_is(level_unit(stream.calibration_db))

    def opening_refined(self, stream: Stream) -> None:
        for hole in real_holes(stream.before):
            if hole.cause != "paused":
                self._last_gap = hole
                log.warning("gap of %.3f s: %s", (hole.to - hole.from_) / 1e6, hole.cause)
                at, start, end = self._kernel.now(), hole.from_, hole.to
                self._bus.publish(GapFound(at=at, node=self._node, started_at=start, ended_at=end, cause=hole.cause))
        if self._state is not None and self._state.last_gap != self._last_gap:
            self._publish_state(self._state)

    def input_fault_changed(self, fault: InputFault | None) -> None:
        self._input_fault = fault
        if self._state is not None:
            if fault is not None:
                log.warning("%s", fault.hint)
            self._publish_state(self._state)

    def _publish_state(self, state: RecorderState) -> None:
        """The state, with all that is known of it by now."""
        fault = self._input_fault
        self._state = msgspec.structs.replace(
            state, at=self._kernel.now(), last_gap=self._last_gap,
            input_fault=fault.kind if fault else None, hint=fault.hint if fault else None,
        )  # fmt: skip
        self._bus.publish(self._state)

    def block_measured(self, block: MeasuredBlock) -> None:
        for second, end in zip(block.levels.seconds, block.seconds_at, strict=True):
            self._minute.append(second.lafmax)
            self._bus.publish(
                LevelMeasured(
                    at=end, node=self._node, laeq=second.laeq, lafmax=second.lafmax, lcpeak=second.lcpeak,
                    unit=block.unit, calibrated=block.unit == "dBA", lafmax_minute=max(self._minute),
                    clipped=second.clipped,
                )
            )  # fmt: skip

    def sound_changed(self, sound: TimedSound) -> None:
        span = sound.span
        self._bus.publish(
            SoundHeard(
                at=self._kernel.now(), node=self._node, event=sound.event, sound_id=span.sound_id,
                lafmax=span.lafmax, laeq=span.laeq, unit=sound.unit,
                started_at=sound.started_at, ended_at=sound.ended_at,
            )
        )  # fmt: skip
        if sound.event != "updated":
            self._publish_sounding(sound.event == "started", sound.ended_at or sound.started_at, span.sound_id)

    def _publish_sounding(self, sounding: bool, since: Instant, sound_id: str | None) -> None:
        at = self._kernel.now()
        self._bus.publish(SoundingChanged(at=at, node=self._node, sounding=sounding, since=since, sound_id=sound_id))

    def threshold_crossed(self, crossing: Crossing) -> None:
        log.info("%s %s: %g %s", crossing.metric, crossing.event, crossing.value, crossing.unit)
        self._bus.publish(ThresholdCrossed(at=self._kernel.now(), node=self._node, **msgspec.structs.asdict(crossing)))

    def chunk_finished(self, chunk: Chunk) -> None:
        log.info("finished %s: %.1f s, %d bytes", chunk.chunk_id, chunk.frames / chunk.rate, chunk.bytes)
        fields = msgspec.structs.asdict(chunk)
        if chunk.levels is not None:
            fields["levels"] = msgspec.structs.replace(chunk.levels, per_second=())
        self._bus.publish(ChunkCompleted(at=self._kernel.now(), **fields))

    def clock_corrected(self, stream: Stream) -> None:
        log.info("%s: times corrected by %.3f s", stream.stream_id, stream.shift / 1e6)
        self._bus.publish(
            ClockCorrected(at=self._kernel.now(), node=self._node, stream_id=stream.stream_id, knots=stream.knots)
        )


def _format(stream: Stream) -> str:
    channels = "mono" if stream.channels == 1 else f"{stream.channels} channels"
    return f"{stream.device}, {stream.rate} Hz, {channels}, {stream.bits} bits, {stream.format}"
