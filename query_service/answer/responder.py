"""Behind every door: one request in, one answer out, whatever happens. Reads spool and catalog, changes nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import cast

from edge.core.errors import CatalogBusy, ImHearingError, QueryRefused
from edge.core.instant import Instant
from query_service.answer.coverage import Presign, archive_place, coverage_page
from query_service.answer.facts import FactFinder
from query_service.answer.levels import levels_page
from query_service.answer.sounds import sounds_page
from query_service.answer.spool_index import FoundSound
from query_service.answer.status import status_report
from query_service.answer.tiling import KnownChunk
from query_service.queries.cursors import BadCursor, start_of
from query_service.queries.protocol import (
    Answer,
    ArchivePlace,
    CoverageAnswer,
    ErrorAnswer,
    ErrorCode,
    LevelsAnswer,
    RangeQuestion,
    Request,
    SoundsAnswer,
    range_question,
    read_request,
    refusal,
)

log = logging.getLogger(__name__)

_FIRST_CHUNKS = 160  # about what one page of 48 kB holds
_LEVEL_CHUNKS = 500
_GROWTH = 4
_MOST_CHUNKS = 10_000  # for one page: a second's work, a few MB

_FAILED = "the node failed to answer; its log says why"


class Responder:
    """Answers for one node; never raises. Not for several threads at once."""

    def __init__(
        self,
        node: str,
        finder: FactFinder,
        presign: Presign,
        clock: Callable[[], Instant] = lambda: Instant.from_seconds(time.time()),
    ) -> None:
        self.node = node
        self._finder = finder
        self._presign = presign
        self._clock = clock
        self._started = time.monotonic()

    def reply(self, data: bytes | str) -> Answer:
        """The answer to what a door received."""
        request = read_request(data, self.node)
        if isinstance(request, ErrorAnswer):
            return request
        return self.answer(request)

    def answer(self, request: Request) -> Answer:
        """The answer to a request that `read_request` let pass."""
        try:
            return self._answer(request)
        except BadCursor as problem:
            return refusal(request.id, self.node, "bad_request", str(problem), problem.field)
        except QueryRefused as problem:
            return refusal(request.id, self.node, cast(ErrorCode, problem.code), str(problem), problem.field)
        # those far away are not told of our folders
        except CatalogBusy as problem:
            log.info("a %s request was put off: %s", request.type, problem)
            return refusal(request.id, self.node, "busy", "the catalog is missing, locked or being made; ask again")
        except ImHearingError as problem:
            log.warning("a %s request could not be answered: %s", request.type, problem)
            return refusal(request.id, self.node, "internal", _FAILED)
        except Exception:  # the edge of a message: one bad question must not end the service
            log.exception("a %s request could not be answered", request.type)
            return refusal(request.id, self.node, "internal", _FAILED)

    def _answer(self, request: Request) -> Answer:
        if request.type == "status":
            uptime = round(time.monotonic() - self._started, 1)
            return status_report(request.id, self.node, self._finder, self._clock(), uptime)
        question = range_question(request, self.node)
        if request.type == "sounds":
            return self._sounds(question)
        return self._levels(question) if request.type == "levels" else self._coverage(question)

    def _coverage(self, question: RangeQuestion) -> CoverageAnswer:
        start, now = start_of(question), self._clock()
        chunks = min(question.limit, _FIRST_CHUNKS) + 2  # the last one found only tells how far the others go
        while True:
            facts = self._finder.gather(start, question.to, chunks, now)
            page = coverage_page(question, start, facts, now, self._presign)
            if page is not None:
                return page
            # many chunks claim the same time: only more of them tell where the first piece ends
            if chunks > _MOST_CHUNKS:
                raise QueryRefused(f"more than {chunks} recordings claim the time at {start}", "internal")
            chunks *= _GROWTH

    def _levels(self, question: RangeQuestion) -> LevelsAnswer:
        start, now = start_of(question), self._clock()
        chunks = _LEVEL_CHUNKS
        while True:
            facts = self._finder.gather(start, question.to, chunks, now, each_second=True)
            page = levels_page(question, start, facts, now)
            if page is not None:
                return page
            if chunks > _MOST_CHUNKS:
                raise QueryRefused("step: holds too many chunks; choose a shorter one", "bad_request", "step")
            chunks *= _GROWTH  # a step holds more chunks than that

    def _sounds(self, question: RangeQuestion) -> SoundsAnswer:
        loudest_first = question.order == "loudest"
        chunks: dict[str, KnownChunk | None] = {}

        def find(start: Instant, limit: int) -> list[FoundSound]:
            return self._finder.sounds(start, question.to, limit, loudest_first=loudest_first)

        def chunk_of(chunk_id: str) -> KnownChunk | None:
            if chunk_id not in chunks:
                chunks[chunk_id] = self._finder.chunk(chunk_id)
            return chunks[chunk_id]

        def place_of(archive_id: str) -> ArchivePlace | None:
            archive = self._finder.archives([archive_id]).get(archive_id)
            return archive_place(archive, self._presign if question.urls else None) if archive else None

        return sounds_page(question, find, chunk_of, place_of)
