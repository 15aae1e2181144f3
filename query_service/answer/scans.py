"""How far a question came that ran out of its budget before it had an item: repeated, it resumes there. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NoReturn

from edge.core.errors import BudgetSpent
from edge.core.instant import MICROSECONDS
from query_service.queries.protocol import Request

CHUNKS = 1_000  # read at once for their levels: 0.02 s
SOUND = 30_000 * MICROSECONDS  # likewise
ALL = 2**62  # µs
_KEPT = 16  # of up to 0.7 MB: a day's levels
_SECONDS = 10.0  # later, there may be something where nothing was


class Scans:
    """For the questions of one node. `clock` in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._stopped: OrderedDict[object, tuple[float, object]] = OrderedDict()

    def resume(self, request: Request) -> object | None:
        """Where the same question stopped a moment ago; None where it did not."""
        stopped_at, place = self._stopped.pop(_question(request), (0.0, None))
        return place if self._clock() - stopped_at < _SECONDS else None

    def keep(self, request: Request, place: object) -> None:
        """The next `resume` of this question gives `place`."""
        self._stopped[_question(request)] = (self._clock(), place)
        if len(self._stopped) > _KEPT:
            self._stopped.popitem(last=False)

    def stop(self, request: Request, place: object) -> NoReturn:
        """As `keep`. Raises BudgetSpent."""
        self.keep(request, place)
        raise BudgetSpent("no item was found so far; repeat the question to search on")


def _question(request: Request) -> object:
    return (
        request.type, request.from_, request.to, request.order, request.min_level, request.step, request.zone,
        request.cursor,
    )  # fmt: skip
