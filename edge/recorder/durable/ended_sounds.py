"""The sounds that ended in the chunk being written, for answers: its manifest, which has them too, comes later."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable

from msgspec.structs import replace

from edge.core.errors import SpoolError
from edge.core.instant import Instant
from edge.core.values import EndedSound, SoundSpan
from edge.spool.state import EndedSoundsFile

log = logging.getLogger(__name__)

_KEPT = 100  # of a chunk with more, the last ones: each is another write of all


class EndedSounds:
    """Writes `sounds.json`, without waiting for the disk: a crash loses nothing, since the repair of the chunk finds
    its sounds again, and removes the file. Used by the recorder's thread and the disk thread. A failed write is only
    logged.
    """

    def __init__(self, file: EndedSoundsFile) -> None:
        self._file = file
        self._sounds: dict[str, EndedSound] = {}
        self._lock = threading.Lock()
        self._has_failed = False

    def add(self, sound: EndedSound) -> None:
        """Call it before the end of the sound is announced."""
        with self._lock:
            self._sounds[sound.sound_id] = sound
            if len(self._sounds) > _KEPT:
                del self._sounds[next(iter(self._sounds))]
            self._write()

    def shift(self, by: int) -> None:
        """The times of the stream were corrected by `by` µs."""
        with self._lock:
            if self._sounds and by:
                self._sounds = {name: _shifted(sound, by) for name, sound in self._sounds.items()}
                self._write()

    def drop(self, spans: Iterable[SoundSpan]) -> None:
        """A finished chunk's manifest has these."""
        with self._lock:
            dropped = [self._sounds.pop(span.sound_id, None) for span in spans]
            if any(dropped):
                self._write()

    def _write(self) -> None:
        try:
            self._file.write(list(self._sounds.values()))
        except SpoolError as problem:
            if not self._has_failed:
                log.warning("answers have sounds only once their chunk is finished: %s", problem)
            self._has_failed = True
        else:
            self._has_failed = False


def _shifted(sound: EndedSound, by: int) -> EndedSound:
    return replace(sound, started_at=Instant(sound.started_at + by), ended_at=Instant(sound.ended_at + by))
