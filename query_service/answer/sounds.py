"""A question about sounds -> one page of its answer, from what `find` finds. No I/O of its own."""

from __future__ import annotations

from collections.abc import Callable

from edge.core import wire
from edge.core.instant import Instant
from query_service.answer.spool_index import FoundSound
from query_service.answer.tiling import KnownChunk
from query_service.queries.cursors import make_cursor, read_cursor
from query_service.queries.protocol import MAX_ANSWER, ArchivePlace, RangeQuestion, Sound, SoundOrder, SoundsAnswer

Key = tuple[float, int, str]  # what sounds are sorted by; unique
Find = Callable[[Instant, int], list[FoundSound]]
ChunkOf = Callable[[str], KnownChunk | None]
PlaceOf = Callable[[str], ArchivePlace | None]

_FIRST_SOUNDS = 200
_GROWTH = 4
_LONGEST_KEY: Key = (-1.0e300, 2**62, "x" * 40)


def sounds_page(question: RangeQuestion, find: Find, chunk_of: ChunkOf, place_of: PlaceOf) -> SoundsAnswer:
    """The page after the question's cursor; sounds whose chunk was erased are left out. Raises BadCursor.

    `find(start, limit)` gives the sounds that began from `start` to the question's end: in its order the first `limit`
    of them at least, if there are so many.
    """
    after = None if question.cursor is None else read_cursor(question, tuple[float, int, str])
    coming, more = _coming(question, find, after)
    page = _Page(question, chunk_of, place_of)
    for sound in coming:
        if question.min_level is not None and sound.lafmax < question.min_level:
            if question.order == "loudest":
                return page.answer(None)
        elif not page.add(sound):
            return page.answer(after)
        after = key_of(question.order, sound)
    return page.answer(after if more else None)


def key_of(order: SoundOrder, sound: FoundSound) -> Key:
    return (-sound.lafmax if order == "loudest" else 0.0, int(sound.started_at), sound.sound_id)


def _coming(question: RangeQuestion, find: Find, after: Key | None) -> tuple[list[FoundSound], bool]:
    """Sounds after that one, in order, and whether there may be more after them."""
    start = Instant(after[1]) if after is not None and question.order == "time" else question.from_
    limit = _FIRST_SOUNDS
    while True:
        found = sorted(find(start, limit), key=lambda sound: key_of(question.order, sound))
        more = len(found) >= limit  # what comes after the first `limit` may not be all that there is
        coming = [sound for sound in found[:limit] if after is None or key_of(question.order, sound) > after]
        if coming or not more:
            return coming, more
        limit *= _GROWTH


class _Page:
    """Collects sounds while they fit."""

    def __init__(self, question: RangeQuestion, chunk_of: ChunkOf, place_of: PlaceOf) -> None:
        self._question = question
        self._chunk_of = chunk_of
        self._place_of = place_of
        self._sounds: list[Sound] = []
        self._archives: dict[str, ArchivePlace] = {}
        self._room = MAX_ANSWER - len(wire.encode(self.answer(_LONGEST_KEY)))

    def add(self, found: FoundSound) -> bool:
        """Whether it found room, or needs none."""
        if len(self._sounds) >= self._question.limit:
            return False
        known = self._chunk_of(found.chunk_id)
        if known is None or known.gone == "erased":
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
        question = self._question
        return SoundsAnswer(
            id=question.id,
            node=question.node,
            from_=question.from_,
            to=question.to,
            sounds=tuple(self._sounds),
            archives=self._archives,
            next=None if after is None else make_cursor(question, after),
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
        state="expired" if known.gone else "recorded" if known.where else "pending",
        uncertain=known.chunk.uncertain,
        chunk_id=found.chunk_id,
        where=known.where,
    )
