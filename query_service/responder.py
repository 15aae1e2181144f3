"""Behind every door: one request in, one answer out, whatever happens. Reads spool and catalog, changes nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from edge.errors import CatalogBusy, ImHearingError
from edge.instant import Instant
from query_service.answers import Presign, coverage_page
from query_service.cursors import read_cursor
from query_service.facts import FactFinder
from query_service.protocol import Answer, ErrorAnswer, Request, StatusAnswer, range_question, read_request, refusal
from query_service.status import status_report

log = logging.getLogger(__name__)

_FIRST_CHUNKS = 160  # about what one page of 48 kB holds
_GROWTH = 4


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
            if request.type == "status":
                return self._status(request)
            return self._coverage(request)
        except CatalogBusy as problem:
            return refusal(request.id, self.node, "busy", str(problem))
        except ImHearingError as problem:
            log.warning("a %s request could not be answered: %s", request.type, problem)
            return refusal(request.id, self.node, "internal", str(problem))
        except Exception:  # the edge of a message: one bad question must not end the service
            log.exception("a %s request could not be answered", request.type)
            return refusal(request.id, self.node, "internal", "the node failed to answer; its log says why")

    def _coverage(self, request: Request) -> Answer:
        question = range_question(request, self.node)
        start = question.from_
        if question.cursor is not None:
            position = read_cursor(question)
            if position is None or not question.from_ <= position < question.to:
                message = "cursor is not one that an answer to this very question gave as `next`"
                return refusal(request.id, self.node, "bad_request", message, "cursor")
            start = position
        now = self._clock()
        chunks = min(question.limit, _FIRST_CHUNKS) + 2  # the last one found only tells how far the others go
        while True:
            facts = self._finder.gather(start, question.to, chunks, now)
            page = coverage_page(question, start, facts, now, self._presign)
            if page is not None:
                return page
            # many chunks claim the same time: only more of them tell where the first piece ends
            chunks *= _GROWTH

    def _status(self, request: Request) -> StatusAnswer:
        uptime = round(time.monotonic() - self._started, 1)
        return status_report(request.id, self.node, self._finder, self._clock(), uptime)
