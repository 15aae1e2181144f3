"""Sounds: a request -> one page of its answer. No file, no network, no clock of its own."""

from __future__ import annotations

from collections.abc import Sequence

from edge.catalog import CatalogSound
from edge.catalog.rollup.tiling import KnownChunk
from edge.catalog.values import SoundKey, SoundRange, sound_key
from edge.core import wire
from edge.core.values import Archive
from query_service.answer.coverage import Presign, archive_place
from query_service.answer.facts import FactReader
from query_service.answer.scans import Scans
from query_service.answer.unfinished_sound import UnfinishedSound
from query_service.queries.cursors import Cursors
from query_service.queries.protocol import RangeRequest
from query_service.queries.sounds import Sound, SoundsAnswer
from query_service.queries.values import MAX_ANSWER, ArchivePlace

AT_ONCE = 120  # about what one page of 48 kB holds
_LONGEST_KEY: SoundKey = (-1.0e300, 2**62, "x" * 40)


def answer_sounds(
    request: RangeRequest, reader: FactReader, presign: Presign, cursors: Cursors, scans: Scans
) -> SoundsAnswer:
    """The page after the request's cursor, with a sound at least unless none is left; those whose chunk was erased are
    left out. Raises BadCursor, CatalogError, SpoolError.
    """
    after = None if request.cursor is None else cursors.read(request, tuple[float, int, str])
    if isinstance(reached := scans.resume(request), tuple):
        after = reached
    loudest_first = request.order != "time"
    wanted = SoundRange(request.from_, request.to, request.min_level, loudest_first)
    page = _Page(request, reader, presign, cursors)
    while True:
        # the chunk of each is looked up, which takes a row of the budget
        sounds, until = reader.sounds(wanted, after, min(request.limit, AT_ONCE, reader.budget.rows_left))
        page.look_up(sounds)
        for sound in sounds:
            if not page.add(sound):
                return page.answer(after)
            after = sound_key(sound, loudest_first=loudest_first)
        if until is None:
            return page.answer(None)
        after = until
        if reader.budget.should_stop or not reader.budget.rows_left:
            if page.is_empty:
                scans.stop(request, after)
            return page.answer(after)


class _Page:
    """Collects sounds while they fit."""

    def __init__(self, request: RangeRequest, reader: FactReader, presign: Presign, cursors: Cursors) -> None:
        self._request = request
        self._reader = reader
        self._presign = presign if request.urls else None
        self._cursors = cursors
        self._known: dict[str, KnownChunk] = {}
        self._stored: dict[str, Archive] = {}
        self._sounds: list[Sound] = []
        self._archives: dict[str, ArchivePlace] = {}
        self._room = MAX_ANSWER - len(wire.encode(self.answer(_LONGEST_KEY)))

    @property
    def is_empty(self) -> bool:
        return not self._sounds

    def look_up(self, sounds: Sequence[CatalogSound]) -> None:
        """Reads what `add` needs to know of these."""
        self._known = self._reader.chunks({sound.chunk_id for sound in sounds})
        places = {known.where.archive for known in self._known.values() if known.where}
        self._stored = dict(self._reader.catalog.archives(places))

    def add(self, found: CatalogSound) -> bool:
        """Whether it found room, or needs none."""
        if len(self._sounds) >= self._request.limit:
            return False
        known = self._known.get(found.chunk_id)
        if known is None and isinstance(found, UnfinishedSound):
            sound, new = _unfinished_sound(found), {}
        elif known is None or known.expired == "erased":
            return True
        else:
            sound, new = _sound(found, known), self._new_archive(known)
        size = len(wire.encode(sound)) + 1 + (len(wire.encode(new)) if new else 0)
        if size > self._room:
            return False
        self._room -= size
        self._sounds.append(sound)
        self._archives |= new
        return True

    def answer(self, after: SoundKey | None) -> SoundsAnswer:
        request = self._request
        return SoundsAnswer(
            id=request.id,
            node=request.node,
            from_=request.from_,
            to=request.to,
            sounds=tuple(self._sounds),
            archives=self._archives,
            next=None if after is None else self._cursors.make(request, after),
        )

    def _new_archive(self, known: KnownChunk) -> dict[str, ArchivePlace]:
        archive = self._stored.get(known.where.archive) if known.where else None
        if archive is None or archive.archive_id in self._archives:
            return {}
        return {archive.archive_id: archive_place(archive, self._presign)}


def _sound(found: CatalogSound, known: KnownChunk) -> Sound:
    levels = known.chunk.levels
    return Sound(
        sound_id=found.sound_id,
        from_=found.started_at,
        to=found.ended_at,
        lafmax=found.lafmax,
        laeq=found.laeq,
        unit=levels.unit if levels else None,
        state="expired" if known.expired else "recorded" if known.where else "pending",
        uncertain=known.chunk.uncertain,
        chunk_id=found.chunk_id,
        where=known.where,
    )


def _unfinished_sound(found: UnfinishedSound) -> Sound:
    return Sound(
        sound_id=found.sound_id,
        from_=found.started_at,
        to=found.ended_at,
        lafmax=found.lafmax,
        laeq=found.laeq,
        unit=found.unit,
        state="recording",
        uncertain=found.uncertain,
        chunk_id=found.chunk_id,
        where=None,
    )
