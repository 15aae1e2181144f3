"""What declares a query type: its answer, the request fields it alone reads, how its pages are joined, its table.

Client, doors, OpenAPI and the command line read these declarations; the computation is in `query_service.answer`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import chain
from typing import Any, Generic, NamedTuple, TypeVar

from msgspec import UNSET, Struct
from msgspec.structs import replace

from edge.core.instant import Instant
from query_service.queries.values import AnswerHead

A = TypeVar("A", bound=AnswerHead)


class Bar(NamedTuple):
    """A level drawn as a bar, where the terminal is wide enough."""

    level: float
    unit: str


Cell = Instant | timedelta | float | str | Bar | None


class Column(NamedTuple):
    """A column of a table: what it shows of one row. Numbers stand on the right; bars only where there is room."""

    title: str
    cell: Callable[[Any], Cell]
    is_number: bool = False
    is_bar: bool = False


class Listing(Struct, Generic[A], frozen=True, kw_only=True):
    """An answer as a table of the command line. `summary` stands in its headline, `note` below it, `empty` for it."""

    rows: Callable[[A], Sequence[Any]]
    columns: tuple[Column, ...]
    summary: Callable[[A], str]
    empty: str
    note: Callable[[A], str] | None = None


class QueryType(Struct, Generic[A], frozen=True):
    """One type of query.

    `fields`: of the request, those that this type alone reads. `joins`: fields of the answer that its pages share out;
    without any it has no pages. `by_address`: whether a link alone may ask (GET), as it costs the node little.
    `least_timeout`: seconds that a client should wait at least.
    """

    name: str
    answer: type[A]
    fields: tuple[str, ...] = ()
    joins: tuple[str, ...] = ()
    has_range: bool = True
    by_address: bool = True
    least_timeout: float = 0.0
    listing: Listing[A] | None = None

    def join(self, pages: Sequence[A], request_id: str) -> A:
        """The pages of one answer, in order, as one."""
        parts = {name: _joined([getattr(page, name) for page in pages]) for name in self.joins}
        incomplete = next((page.incomplete for page in pages if page.incomplete), UNSET)
        return replace(pages[-1], id=request_id, next=None, incomplete=incomplete, **parts)


def _joined(parts: Sequence[Any]) -> Any:
    match parts[0]:
        case tuple():
            return tuple(chain.from_iterable(parts))
        case dict():
            return {key: value for part in parts for key, value in part.items()}
        case _:
            return sum(parts)
