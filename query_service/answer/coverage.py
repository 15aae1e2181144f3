"""Coverage: a request and facts -> one page of its answer. No file, no network, no clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edge.catalog.rollup.tiling import KnownChunk, Nothing, Piece, RangeFacts, Running, tile
from edge.core import wire
from edge.core.instant import LAST, Instant
from edge.core.values import Archive, Chunk, GoneCause, HoleCause
from query_service.answer.facts import FactReader
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.cursors import Cursors
from query_service.queries.protocol import RangeRequest
from query_service.queries.values import (
    MAX_ANSWER,
    ArchivePlace,
    Cut,
    Expired,
    Future,
    Gap,
    Interval,
    Overlapped,
    Paused,
    Pending,
    Recorded,
    Recording,
)

Presign = Callable[[Archive], str | None]

_FIRST_CHUNKS = 160  # about what one page of 48 kB holds
_GROWTH = 16


def answer_coverage(
    request: RangeRequest, reader: FactReader, presign: Presign, cursors: Cursors, now: Instant
) -> CoverageAnswer:
    """One page, from as many chunks as it needs. Raises BadCursor, QueryRefused, CatalogError, SpoolError."""
    start = cursors.start_of(request)
    chunks = min(request.limit, _FIRST_CHUNKS) + 2  # the last one found only shows how far the others reach
    while True:
        facts = reader.gather(start, request.to, chunks, now)
        page = coverage_page(request, start, facts, now, presign, cursors)
        # many recordings claim the same time, or many gaps are one: only more of them show where the first piece ends
        rows = reader.budget.rows_left
        more = min(_GROWTH * chunks if facts.until > start else rows, rows)
        if page is None and more <= chunks:
            page = coverage_page(request, start, facts, now, presign, cursors, cut=True)
        if page is not None:
            return page
        chunks = more


def coverage_page(
    request: RangeRequest,
    start: Instant,
    facts: RangeFacts,
    now: Instant,
    presign: Presign,
    cursors: Cursors,
    *,
    cut: bool = False,
) -> CoverageAnswer | None:
    """The page that begins at `start`; None when the facts do not reach far enough for a single interval.

    Holds as many intervals as `limit` and MAX_ANSWER (bytes of JSON) allow. With `cut`, the last one ends where the
    facts do, although it may go on beyond.
    """
    pieces = tile(facts, start, min(request.to, facts.until), now) if facts.until > start else []
    if facts.until < request.to and not cut and facts.left_out is None:
        pieces = pieces[:-1]  # it may go on beyond what is known
    if not pieces:
        return None
    page = _Page(request, facts, presign, cursors)
    end = start
    for piece in pieces[: request.limit]:
        if not page.add(piece):
            break
        end = piece.end
    return page.answer(end)


def first_frame_at(chunk: Chunk, moment: Instant) -> int:
    """The first frame of the file whose time is `moment` or later; `frames` when all come before.

    Frame i has the time started_at + i * (ended_at - started_at) / frames, exactly: so neighbours never share one.
    """
    length = chunk.ended_at - chunk.started_at
    if length <= 0 or moment <= chunk.started_at:
        return 0
    return min(chunk.frames, -((chunk.started_at - moment) * chunk.frames // length))


def archive_place(archive: Archive, presign: Presign | None) -> ArchivePlace:
    """Where an archive lies, with a link if one is wanted."""
    url = presign(archive) if presign else None
    return ArchivePlace(s3=f"s3://{archive.bucket}/{archive.key}", bucket=archive.bucket, key=archive.key, url=url)


class _Page:
    """Collects intervals while they fit."""

    def __init__(self, request: RangeRequest, facts: RangeFacts, presign: Presign, cursors: Cursors) -> None:
        self._request = request
        self._facts = facts
        self._presign = presign
        self._cursors = cursors
        self._intervals: list[Interval] = []
        self._archives: dict[str, ArchivePlace] = {}
        self._overlapped: list[Overlapped] = []
        self._left_out = facts.left_out or 0
        self._room = MAX_ANSWER - len(wire.encode(self._answer(cursors.make(request, int(LAST))))) - 6

    def add(self, piece: Piece) -> bool:
        """Whether `piece` found room; the first always does, if need be without all that it outdid."""
        interval = _interval(piece)
        losers = [_overlapped(piece, loser) for loser in piece.losers]
        size = _size(interval) + sum(map(_size, losers))
        archives: dict[str, ArchivePlace] = {}
        if size <= self._room:  # a link takes as long to make as ten of them
            archives = self._new_archives([interval, *losers])
            size += _archives_size(archives)
        if size > self._room:
            if self._intervals:
                return False
            losers, archives, size = self._fitting(interval, losers)
        self._room -= size
        self._intervals.append(interval)
        self._overlapped += losers
        self._left_out += len(piece.losers) - len(losers)
        self._archives |= archives
        return True

    def answer(self, end: Instant) -> CoverageAnswer:
        return self._answer(self._cursors.make(self._request, int(end)) if end < self._request.to else None)

    def _answer(self, cursor: str | None) -> CoverageAnswer:
        request = self._request
        return CoverageAnswer(
            id=request.id,
            node=request.node,
            from_=request.from_,
            to=request.to,
            intervals=tuple(self._intervals),
            archives=self._archives,
            overlapped=tuple(self._overlapped),
            overlapped_left_out=self._left_out,
            next=cursor,
        )

    def _fitting(
        self, interval: Interval, losers: list[Overlapped]
    ) -> tuple[list[Overlapped], dict[str, ArchivePlace], int]:
        kept: list[Overlapped] = []
        archives = self._new_archives([interval])
        size = _size(interval) + _archives_size(archives)
        for loser in losers:
            more = {name: place for name, place in self._new_archives([loser]).items() if name not in archives}
            grown = size + _size(loser) + _archives_size(more)
            if grown > self._room:
                break
            kept.append(loser)
            archives |= more
            size = grown
        return kept, archives, size

    def _new_archives(self, places: Iterable[Interval | Overlapped]) -> dict[str, ArchivePlace]:
        found: dict[str, ArchivePlace] = {}
        for place in places:
            where = place.where if isinstance(place, Recorded | Expired | Overlapped) else None
            if where is None or where.archive in self._archives or where.archive in found:
                continue
            archive = self._facts.archives.get(where.archive)
            if archive is not None:
                found[where.archive] = archive_place(archive, self._presign if self._request.urls else None)
        return found


def _size(value: Interval | Overlapped) -> int:
    return len(wire.encode(value)) + 1  # and a comma


def _archives_size(archives: dict[str, ArchivePlace]) -> int:
    return len(wire.encode(archives)) if archives else 0


def _interval(piece: Piece) -> Interval:
    owner = piece.owner
    if isinstance(owner, KnownChunk):
        return _expired(piece, owner, owner.expired) if owner.expired else _sound(piece, owner)
    if isinstance(owner, Running):
        return Recording(from_=piece.start, to=piece.end, uncertain=owner.uncertain, stream_id=owner.stream_id)
    if isinstance(owner, Nothing):
        return Future(from_=piece.start, to=piece.end) if owner.future else _gap(piece, "unknown")
    return Paused(from_=piece.start, to=piece.end) if owner.cause == "paused" else _gap(piece, owner.cause)


def _gap(piece: Piece, cause: HoleCause) -> Gap:
    return Gap(from_=piece.start, to=piece.end, cause=cause)


def _expired(piece: Piece, known: KnownChunk, cause: GoneCause) -> Expired:
    return Expired(
        from_=piece.start,
        to=piece.end,
        cause=cause,
        uncertain=known.chunk.uncertain,
        chunk_id=known.chunk.chunk_id,
        where=known.where,
    )


def _sound(piece: Piece, known: KnownChunk) -> Recorded | Pending:
    chunk, levels = known.chunk, known.chunk.levels
    first = first_frame_at(chunk, piece.start)
    common = {
        "from_": piece.start,
        "to": piece.end,
        "uncertain": chunk.uncertain,
        "chunk_id": chunk.chunk_id,
        "rate": chunk.rate,
        "channels": chunk.channels,
        "format": chunk.format,
        "first_frame": chunk.first_frame,
        "frames": chunk.frames,
        "laeq": levels.laeq if levels else None,
        "lafmax": levels.lafmax if levels else None,
        "unit": levels.unit if levels else None,
        "cut": Cut(first, first_frame_at(chunk, piece.end) - first),
        "encrypted": chunk.encryption is not None,
    }
    return Recorded(**common, where=known.where) if known.where else Pending(**common)  # type: ignore[arg-type]


def _overlapped(piece: Piece, loser: KnownChunk) -> Overlapped:
    return Overlapped(
        from_=max(piece.start, loser.chunk.started_at),
        to=min(piece.end, loser.chunk.ended_at),
        chunk_id=loser.chunk.chunk_id,
        uncertain=loser.chunk.uncertain,
        where=loser.where,
    )
