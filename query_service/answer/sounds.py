"""Sounds: a request -> one page of its answer. No file, no network, no clock of its own."""

from __future__ import annotations

from collections.abc import Callable

from edge.core import wire
from edge.core.instant import Instant
from query_service.answer.coverage import Presign, archive_place
from query_service.answer.facts import FactReader
from query_service.answer.tiling import FoundSound, KnownChunk
from query_service.queries.cursors import make_cursor, read_cursor
from query_service.queries.protocol import RangeRequest
from query_service.queries.sounds import Sound, SoundOrder, SoundsAnswer
from query_service.queries.values import MAX_ANSWER, ArchivePlace

Key = tuple[float, int, str]  # what sounds are sorted by; unique
Find = Callable[[Instant, int], list[FoundSound]]
ChunkOf = Callable[[str], KnownChunk | None]
PlaceOf = Callable[[str], ArchivePlace | None]

FIRST_SOUNDS = 200
_GROWTH = 4
_LONGEST_KEY: Key = (-1.0e300, 2**62, "x" * 40)


def answer_sounds(request: RangeRequest, finder: FactReader, presign: Presign) -> SoundsAnswer:
    """One page. Raises BadCursor, CatalogError, SpoolError."""
    chunks: dict[str, KnownChunk | None] = {}

    def find(start: Instant, limit: int) -> list[FoundSound]:
        return finder.sounds(start, request.to, limit, loudest_first=request.order == "loudest")

    def chunk_of(chunk_id: str) -> KnownChunk | None:
        if chunk_id not in chunks:
            chunks[chunk_id] = finder.chunk(chunk_id)
        return chunks[chunk_id]

    def place_of(archive_id: str) -> ArchivePlace | None:
        archive = finder.archives([archive_id]).get(archive_id)
        return archive_place(archive, presign if request.urls else None) if archive else None

    return sounds_page(request, find, chunk_of, place_of)


def sounds_page(request: RangeRequest, find: Find, chunk_of: ChunkOf, place_of: PlaceOf) -> SoundsAnswer:
    """The page after the request's cursor; sounds whose chunk was erased are left out. Raises BadCursor.

    `find(start, limit)` gives the sounds that began from `start` to the request's end: in its order the first `limit`
    of them at least, if there are so many.
    """
    after = None if request.cursor is None else read_cursor(request, tuple[float, int, str])
    coming, more = _coming(request, find, after)
    page = _Page(request, chunk_of, place_of)
    for sound in coming:
        if request.min_level is not None and sound.lafmax < request.min_level:
            if request.order == "loudest":
                return page.answer(None)
        elif not page.add(sound):
            return page.answer(after)
        after = key_of(request.order, sound)
    return page.answer(after if more else None)


def key_of(order: SoundOrder, sound: FoundSound) -> Key:
    return (-sound.lafmax if order == "loudest" else 0.0, int(sound.started_at), sound.sound_id)


def _coming(request: RangeRequest, find: Find, after: Key | None) -> tuple[list[FoundSound], bool]:
    """Sounds after that one, in order, and whether there may be more after them."""
    start = Instant(after[1]) if after is not None and request.order == "time" else request.from_
    limit = FIRST_SOUNDS
    while True:
        found = sorted(find(start, limit), key=lambda sound: key_of(request.order, sound))
        more = len(found) >= limit  # what comes after the first `limit` may not be all that there is
        coming = [sound for sound in found[:limit] if after is None or key_of(request.order, sound) > after]
        if coming or not more:
            return coming, more
        limit *= _GROWTH


class _Page:
    """Collects sounds while they fit."""

    def __init__(self, request: RangeRequest, chunk_of: ChunkOf, place_of: PlaceOf) -> None:
        self._request = request
        self._chunk_of = chunk_of
        self._place_of = place_of
        self._sounds: list[Sound] = []
        self._archives: dict[str, ArchivePlace] = {}
        self._room = MAX_ANSWER - len(wire.encode(self.answer(_LONGEST_KEY)))

    def add(self, found: FoundSound) -> bool:
        """Whether it found room, or needs none."""
        if len(self._sounds) >= self._request.limit:
            return False
        known = self._chunk_of(found.chunk_id)
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
        place = self._place_of(known.where.archive)
        return {known.where.archive: place} if place else {}


def _sound(found: FoundSound, known: KnownChunk) -> Sound:
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
