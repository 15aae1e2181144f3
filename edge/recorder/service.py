"""The recorder process. Reads the microphone, pause.json and commands; writes the spool; publishes recorder/#."""

from __future__ import annotations

import logging
import threading

import msgspec

from edge import __version__, thresholds
from edge.errors import SpoolError
from edge.events import (
    ChunkCompleted,
    ClockCorrected,
    GapFound,
    LevelMeasured,
    LimitsSet,
    RecorderState,
    RecorderStatus,
    SoundHeard,
    ThresholdCrossed,
)
from edge.identity import instance
from edge.instant import Instant
from edge.kernel_clock import KernelClock
from edge.model import Chunk, Stream
from edge.mqtt import Bus
from edge.recorder.correction import real_holes
from edge.recorder.journal import RecorderMode
from edge.recorder.levels import BlockLevels
from edge.recorder.recorder import Recorder
from edge.recorder.recording import ModeListener
from edge.recorder.sounds import SoundChange
from edge.recorder.sources import choose_source
from edge.recorder.stream_recorder import StreamRecorder
from edge.settings import Settings
from edge.spool import Spool

log = logging.getLogger(__name__)

_MB = 1_000_000


def run(settings: Settings, stop: threading.Event) -> None:
    """Records until `stop` is set. Raises SpoolError when the spool cannot be used at all."""
    node, kernel = settings.node.name, KernelClock()
    spool = Spool(settings.recorder.record_path, node)
    spool.create()
    identity = instance(settings.catalog.db_path.parent)

    def status(state: str) -> RecorderStatus:
        return msgspec.convert(
            {"at": kernel.now(), "node": node, "state": state, "instance": identity, "version": __version__},
            RecorderStatus,
        )

    bus = Bus(settings.mqtt, f"{node}-recorder", identity, will=status("offline"))
    announcer = Announcer(settings, spool, bus, kernel)
    bus.publish(status("online"))
    bus.start()
    try:
        Recorder(settings, spool, lambda: choose_source(settings.recorder), kernel, announcer, stop).run()
        stop.wait()  # a file has been played to its end: being started again would play it again
    finally:
        bus.stop(farewell=status("offline"))


class Announcer(ModeListener):
    """Turns what happens in the recorder into events on the bus."""

    def __init__(self, settings: Settings, spool: Spool, bus: Bus, kernel: KernelClock) -> None:
        self._node = settings.node.name
        self._spool, self._bus, self._kernel = spool, bus, kernel
        self._limits = thresholds.configured(settings.thresholds)
        self._level_crossings = thresholds.Crossings(settings.levels.hysteresis)
        self._store_crossings = thresholds.Crossings()
        self._device: str | None = None
        self._bus.publish(LimitsSet(at=kernel.now(), node=self._node, **msgspec.structs.asdict(self._limits)))

    def mode_changed(self, mode: RecorderMode, since: Instant, reason: str | None, until: Instant | None) -> None:
        (log.info if mode == "recording" else log.warning)("%s%s", mode, f": {reason}" if reason else "")
        self._bus.publish(
            RecorderState(
                at=self._kernel.now(), node=self._node, state=mode, since=since, until=until, device=self._device,
                reason=reason,
            )
        )  # fmt: skip

    def stream_opened(self, stream: Stream) -> None:
        log.info("recording %s: %s", stream.stream_id, _format(stream))
        self._device = stream.device

    def stream_timed(self, stream: Stream) -> None:
        for hole in real_holes(stream.before):
            if hole.cause != "paused":
                log.warning("nothing was recorded for %.3f s: %s", (hole.to - hole.from_) / 1e6, hole.cause)
                self._bus.publish(
                    GapFound(
                        at=self._kernel.now(), node=self._node, started_at=hole.from_, ended_at=hole.to,
                        cause=hole.cause,
                    )
                )  # fmt: skip

    def measured(self, levels: BlockLevels, stream: StreamRecorder) -> None:
        for second in levels.seconds:
            self._bus.publish(
                LevelMeasured(
                    at=stream.time_of(second.end_frame), node=self._node, laeq=second.laeq,
                    lafmax=second.lafmax, lcpeak=second.lcpeak, unit=stream.meter.unit,
                    calibrated=stream.meter.unit == "dBA",
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

    def chunk_finished(self, chunk: Chunk) -> None:
        log.info("finished %s: %.1f s, %d bytes", chunk.chunk_id, chunk.frames / chunk.rate, chunk.bytes)
        plain = msgspec.structs.asdict(chunk)
        if chunk.levels is not None:
            plain["levels"] = msgspec.structs.replace(chunk.levels, per_second=())
        self._bus.publish(ChunkCompleted(at=self._kernel.now(), **plain))
        self._judge_store()

    def clock_corrected(self, stream: Stream) -> None:
        """The stream's times were told anew."""
        log.info("%s: times corrected by %.3f s", stream.stream_id, stream.shift / 1e6)
        self._bus.publish(
            ClockCorrected(at=self._kernel.now(), node=self._node, stream_id=stream.stream_id, knots=stream.knots)
        )

    def _judge_store(self) -> None:
        """Holds what waits in the spool against the limits; the archiver does the same, in case nobody hears us."""
        try:
            waiting = self._spool.chunks()
            free = self._spool.free_bytes()
            oldest = min((file.path.stat().st_mtime for file in waiting.values()), default=None)
        except (OSError, SpoolError) as problem:
            log.warning("the limits cannot be judged: %s", problem)
            return
        measures = thresholds.Measures(
            records_count=len(waiting),
            storage_usage=sum(file.bytes for file in waiting.values()) / _MB,
            oldest_age=max(0.0, self._kernel.now() / 1e6 - oldest) if oldest else 0.0,
            disk_free=free / _MB,
        )
        self._tell(self._store_crossings.update(self._limits, measures))

    def _tell(self, crossings: tuple[thresholds.Crossing, ...]) -> None:
        for crossing in crossings:
            log.info("%s %s: %g %s", crossing.metric, crossing.event, crossing.value, crossing.unit)
            self._bus.publish(
                ThresholdCrossed(at=self._kernel.now(), node=self._node, **msgspec.structs.asdict(crossing))
            )


def _format(stream: Stream) -> str:
    channels = "mono" if stream.channels == 1 else f"{stream.channels} channels"
    return f"{stream.device}, {stream.rate} Hz, {channels}, {stream.bits} bits, {stream.format}"
