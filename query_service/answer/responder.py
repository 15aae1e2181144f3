"""Behind every door: one request in, one answer out, whatever happens. Reads spool and catalog, changes nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import assert_never, cast

from edge.core.errors import CatalogBusy, ImHearingError, QueryRefused
from edge.core.instant import Instant
from query_service.answer.coverage import Presign, answer_coverage
from query_service.answer.facts import FactReader
from query_service.answer.levels import answer_levels
from query_service.answer.sounds import answer_sounds
from query_service.answer.status import status_report
from query_service.queries.protocol import Answer, Request, range_request
from query_service.queries.values import ErrorCode, refusal

log = logging.getLogger(__name__)

_FAILED = "the node failed to answer; its log says why"


class Responder:
    """Answers for one node; never raises. Not for several threads at once."""

    def __init__(
        self,
        node: str,
        finder: FactReader,
        presign: Presign,
        clock: Callable[[], Instant] = lambda: Instant.from_seconds(time.time()),
    ) -> None:
        self.node = node
        self._finder = finder
        self._presign = presign
        self._clock = clock
        self._started = time.monotonic()

    def answer(self, request: Request) -> Answer:
        """The answer to a request that `read_request` let pass."""
        try:
            return self._answer(request)
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
        finder, now = self._finder, self._clock()
        match request.type:
            case "status":
                uptime = round(time.monotonic() - self._started, 1)
                return status_report(request.id, self.node, finder, now, uptime)
            case "coverage":
                return answer_coverage(range_request(request, self.node), finder, self._presign, now)
            case "sounds":
                return answer_sounds(range_request(request, self.node), finder, self._presign)
            case "levels":
                return answer_levels(range_request(request, self.node), finder, now)
            case "clip":
                raise ValueError("clips take longer than a thread may be held: ClipMaker makes them")
            case _:
                assert_never(request.type)
