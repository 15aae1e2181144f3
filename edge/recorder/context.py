"""What every part of the recorder works with."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from edge.configuration.settings import Settings
from edge.core.ids import LAST_SEQ
from edge.core.values import Chunk
from edge.recorder.durable.disk import Disk
from edge.recorder.durable.ended_sounds import EndedSounds
from edge.recorder.durable.held_blocks import HeldBlocks
from edge.recorder.durable.journal import Journal
from edge.recorder.durable.sealing import Seal
from edge.recorder.facts import RecorderObserver
from edge.recorder.limit_watch import LimitWatch
from edge.recorder.timing.timekeeper import Timekeeper
from edge.spool.spool import Spool


class Tuning(Struct, frozen=True, kw_only=True):
    """Times in seconds, and a bound, that nobody configures; tests make them smaller."""

    poll: float = 0.5  # how soon a stop or a pause is noticed while no block comes
    disk_check: float = 0.5  # between two checks of the room on the disk
    device_retry: float = 1.0  # the first wait for a lost device; doubled each time
    longest_device_retry: float = 30.0
    repair_retry: float = 2.0
    last_seq: int = LAST_SEQ  # of a stream's chunks


class RecordingContext(NamedTuple):
    """What a recorder works with from one repair of the spool to the next."""

    settings: Settings
    spool: Spool
    disk: Disk
    journal: Journal
    timekeeper: Timekeeper
    observer: RecorderObserver
    limits: LimitWatch
    ended_sounds: EndedSounds
    held: HeldBlocks
    seal: Seal | None  # None: chunks are not encrypted
    tuning: Tuning

    def report_finished(self, chunk: Chunk) -> None:
        """A chunk is durably on disk."""
        self.ended_sounds.drop(chunk.sounds)
        self.observer.chunk_finished(chunk)
        self.limits.spool_watch.chunk_finished(chunk)
