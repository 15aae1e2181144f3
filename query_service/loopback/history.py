"""Stored frames, and history requests: which items they select, in which order and on which page. Pure.

An item's position is the number of its frame and its index in the frame. A link to the next page holds the position of
this page's last item, so that what is published or expires meanwhile neither repeats nor hides an item.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from query_service.loopback.protocol import AblyMessage, Frame, PresenceMessage, Refusal

MOST = 1_000
_DEFAULT = 100
_INTEGER = re.compile(r"\d{1,16}", re.ASCII)
_POSITION = re.compile(r"(.+):(\d{1,6})", re.ASCII)

Position = tuple[int, int]
NumberOf = Callable[[str], int | None]  # the number in a channel serial of this server
I = TypeVar("I", AblyMessage, PresenceMessage)  # noqa: E741


class HistoryEntry(Struct, frozen=True):
    """A published frame in a channel's history."""

    number: int
    frame: Frame
    size: int
    at: float  # monotonic seconds


class FrameLog:
    """Frames of one channel, oldest first. Nothing published after number `floor` is missing; `size` in bytes."""

    def __init__(self, number: int) -> None:
        self.floor = number
        self.size = 0
        self._entries: deque[HistoryEntry] = deque()

    def __iter__(self) -> Iterator[HistoryEntry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def oldest(self) -> HistoryEntry:
        return self._entries[0]

    def append(self, entry: HistoryEntry) -> None:
        self._entries.append(entry)
        self.size += entry.size

    def drop_oldest(self) -> int:
        """Drops the oldest frame; returns its size."""
        oldest = self._entries.popleft()
        self.size -= oldest.size
        self.floor = oldest.number
        return oldest.size


class HistoryItem(Struct, Generic[I], frozen=True):
    """A stored message or change of presence; `timestamp` in ms since 1970."""

    position: Position
    timestamp: int
    item: I


class HistoryRequest(Struct, frozen=True, kw_only=True):
    """A page of a history: times in ms since 1970, inclusive; `until` the last frame; `after` the last page's end."""

    start: int = 0
    end: int
    limit: int = _DEFAULT
    forwards: bool = False
    until: int | None = None
    after: Position | None = None

    def page(self, items: Iterable[HistoryItem[I]]) -> tuple[list[HistoryItem[I]], bool]:
        """The items of this page, and whether there is another one. `items` in the order of publication."""
        selected = [item for item in items if self._selects(item)]
        if not self.forwards:
            selected.reverse()
        return selected[: self.limit], len(selected) > self.limit

    def _selects(self, item: HistoryItem[I]) -> bool:
        if not self.start <= item.timestamp <= self.end:
            return False
        if self.until is not None and item.position[0] > self.until:
            return False
        if self.after is None:
            return True
        return item.position > self.after if self.forwards else item.position < self.after


def messages_in(log: Iterable[HistoryEntry]) -> list[HistoryItem[AblyMessage]]:
    """The messages of the frames, each with the fields that they share."""
    return [
        HistoryItem(
            (entry.number, index),
            entry.frame.timestamp or 0,
            msgspec.structs.replace(
                message,
                id=message.id or f"{entry.frame.id}:{index}",
                connection_id=entry.frame.connection_id,
                timestamp=entry.frame.timestamp,
            ),
        )
        for entry in log
        for index, message in enumerate(entry.frame.messages or [])
    ]


def changes_in(log: Iterable[HistoryEntry]) -> list[HistoryItem[PresenceMessage]]:
    """The changes of presence in the frames."""
    return [
        HistoryItem((entry.number, index), change.timestamp or 0, change)
        for entry in log
        for index, change in enumerate(entry.frame.presence or [])
    ]


def history_request(query: Mapping[str, str], end: int, number_of: NumberOf) -> HistoryRequest:
    """Reads the parameters of a history request, whose `end` is by default the time given; Refusal (40003)."""
    direction = query.get("direction", "backwards")
    if direction not in ("backwards", "forwards"):
        raise Refusal("direction must be backwards or forwards", 40003)
    attach_serial = query.get("from_serial", query.get("fromSerial"))
    if attach_serial is not None and direction == "forwards":
        raise Refusal("a history until the attachment (from_serial) must go backwards", 40003)
    request = HistoryRequest(
        start=_integer(query, "start", 0),
        end=_integer(query, "end", end),
        limit=limit_of(query),
        forwards=direction == "forwards",
        until=None if attach_serial is None else _known(number_of(attach_serial), "from_serial"),
        after=_after(query.get("after"), number_of),
    )
    if request.start > request.end:
        raise Refusal("start must not be later than end", 40003)
    return request


def limit_of(query: Mapping[str, str]) -> int:
    """The largest number of items on a page; Refusal (40003)."""
    limit = _integer(query, "limit", _DEFAULT)
    if not 1 <= limit <= MOST:
        raise Refusal(f"limit must be 1 to {MOST}", 40003)
    return limit


def _integer(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not _INTEGER.fullmatch(text):
        raise Refusal(f"{name} must be a whole number", 40003)
    return int(text)


def _after(text: str | None, number_of: NumberOf) -> Position | None:
    if text is None:
        return None
    match = _POSITION.fullmatch(text)
    return _known(number_of(match[1]) if match else None, "after"), int(match[2]) if match else 0


def _known(number: int | None, name: str) -> int:
    if number is None:
        raise Refusal(f"{name} is not from this run of the server", 40003)
    return number
