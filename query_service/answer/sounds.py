"""Sounds: a request -> one page of its answer. No file, no network, no clock of its own."""

from __future__ import annotations

from functools import cache

from edge.catalog import CatalogSound
from edge.core import wire
from edge.core.instant import Instant
from query_service.answer.coverage import Presign, archive_place
from query_service.answer.facts import FactReader
from query_service.answer.tiling import KnownChunk
from query_service.queries.cursors import make_cursor, read_cursor
from query_service.queries.protocol import RangeRequest
from query_service.queries.sounds import Sound, SoundOrder, SoundsAnswer
from query_service.queries.values import MAX_ANSWER, ArchivePlace

Key = tuple[float, int, str]  # what sounds are sorted by; unique
FIRST_SOUNDS = 200
_GROWTH = 4
_LONGEST_KEY: Key = (-1.0e300, 2**62, "x" * 40)


def answer_sounds(request: RangeRequest, reader: FactReader, presign: Presign) -> SoundsAnswer:
    """The page after the request's cursor; sounds whose chunk was erased are left out.

    Raises BadCursor, CatalogError, SpoolError.
    """
    after = None if request.cursor is None else read_cursor(request, tuple[float, int, str])
    coming, more = _coming(request, reader, after)
    page = _Page(request, reader, presign)
    for sound in coming:
        if request.min_level is not None and sound.lafmax < request.min_level:
            if request.order == "loudest":
                return page.answer(None)
        elif not page.add(sound):
            return page.answer(after)
        after = key_of(request.order, sound)
    return page.answer(after if more else None)


def key_of(order: SoundOrder, sound: CatalogSound) -> Key:
    return (-sound.lafmax if order == "loudest" else 0.0, int(sound.started_at), sound.sound_id)


def _coming(request: RangeRequest, reader: FactReader, after: Key | None) -> tuple[list[CatalogSound], bool]:
    """Sounds after that one, in order, and whether there may be more after them."""
    start = Instant(after[1]) if after is not None and request.order == "time" else request.from_
    limit = FIRST_SOUNDS
    while True:
        sounds = reader.sounds(start, request.to, limit, loudest_first=request.order == "loudest")
        found = sorted(sounds, key=lambda sound: key_of(request.order, sound))
        more = len(found) >= limit  # what comes after the first `limit` may not be all that there is
        coming = [sound for sound in found[:limit] if after is None or key_of(request.order, sound) > after]
        if coming or not more:
            return coming, more
        limit *= _GROWTH


class _Page:
    """Collects sounds while they fit."""

    def __init__(self, request: RangeRequest, reader: FactReader, presign: Presign) -> None:
        self._request = request
        self._reader = reader
        self._presign = presign if request.urls else None
        self._chunk = cache(reader.chunk)
        self._sounds: list[Sound] = []
        self._archives: dict[str, ArchivePlace] = {}
        self._room = MAX_ANSWER - len(wire.encode(self.answer(_LONGEST_KEY)))

    def add(self, found: CatalogSound) -> bool:
        """Whether it found room, or needs none."""
        if len(self._sounds) >= self._request.limit:
            return False
        known = self._chunk(found.chunk_id)
        if known is None or known.expired == "erased":
            return True
        sound = _sound(found, known)
        new = self._new_archive(known)
        size = len(wire.encode(sound)) + 1 + (len(wire.encode(new)) if new else 0)
        if size > self._room:
            return False
        self._room -= size
        self._sounds.append(sound)
        self._archives |= new
        return True

    def answer(self, after: Key | None) -> SoundsAnswer:
        request = self._request
        return SoundsAnswer(
            id=request.id,
            node=request.node,
            from_=request.from_,
            to=request.to,
            sounds=tuple(self._sounds),
            archives=self._archives,
            next=None if after is None else make_cursor(request, after),
        )

    def _new_archive(self, known: KnownChunk) -> dict[str, ArchivePlace]:
        if known.where is None or known.where.archive in self._archives:
            return {}
        archives = self._reader.archives([known.where.archive])
        return {name: archive_place(archive, self._presign) for name, archive in archives.items()}


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
