"""History pages, compared with the whole selection computed at once."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query_service.loopback.history import HistoryEntry, HistoryItem, HistoryRequest, history_request, messages_in
from query_service.loopback.protocol import AblyMessage, Action, Frame, Refusal

# frames: their time, which may go back as clocks do, and how many messages they hold
logs = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 3)), max_size=15)
Item = HistoryItem[AblyMessage]


def stored(log: list[tuple[int, int]], first: int = 1) -> list[Item]:
    return messages_in(
        HistoryEntry(
            number,
            Frame(
                action=Action.MESSAGE, id=f"f{number}", timestamp=time, messages=[AblyMessage() for _ in range(count)]
            ),
            0,
            0.0,
        )
        for number, (time, count) in enumerate(log, first)
    )


def number_of(serial: str) -> int | None:
    return int(serial[1:]) if serial.startswith("s") else None


def request(**query: str) -> HistoryRequest:
    return history_request(query, 20, number_of)


@st.composite
def queries(draw: st.DrawFn) -> dict[str, str]:
    direction = draw(st.sampled_from([None, "backwards", "forwards"]))
    start, end = draw(st.none() | st.integers(0, 20)), draw(st.none() | st.integers(0, 20))
    if start is not None and end is not None:
        start, end = min(start, end), max(start, end)
    until = draw(st.none() | st.integers(0, 15)) if direction != "forwards" else None
    values = {
        "direction": direction,
        "start": start,
        "end": end,
        "from_serial": None if until is None else f"s{until}",
        "limit": draw(st.integers(1, 8)),
    }
    return {name: str(value) for name, value in values.items() if value is not None}


def expected(items: list[Item], query: Mapping[str, str]) -> list[Item]:
    """Everything that the query selects, in its order."""
    start, end = int(query.get("start", 0)), int(query.get("end", 20))
    until = int(query.get("from_serial", "s99")[1:])
    selected = [item for item in items if start <= item.timestamp <= end and item.position[0] <= until]
    return selected if query.get("direction") == "forwards" else selected[::-1]


@given(logs, queries())
def test_pages_add_up_to_the_selection(log: list[tuple[int, int]], query: dict[str, str]) -> None:
    items = stored(log)
    pages: list[list[Item]] = []
    more = True
    after: dict[str, str] = {}
    while more:
        found, more = request(**query, **after).page(items)
        pages.append(found)
        if more:
            number, index = found[-1].position
            after = {"after": f"s{number}:{index}"}
    assert [item for page in pages for item in page] == expected(items, query)
    assert all(len(page) == int(query["limit"]) for page in pages[:-1])
    assert len(pages[-1]) <= int(query["limit"])
    assert len(pages) == 1 or pages[-1]


@given(logs, logs, st.integers(0, 15), queries())
def test_what_is_published_or_expires_between_pages_neither_repeats_nor_hides_messages(
    log: list[tuple[int, int]], later: list[tuple[int, int]], expired: int, query: dict[str, str]
) -> None:
    items = stored(log)
    first, more = request(**query).page(items)
    if not more:
        return
    number, index = first[-1].position
    changed = [item for item in items if item.position[0] > expired] + stored(later, len(log) + 1)
    found: list[Item] = []
    after = f"s{number}:{index}"
    while more:
        page, more = request(**query, after=after).page(changed)
        found += page
        if page:
            after = f"s{page[-1].position[0]}:{page[-1].position[1]}"
    seen = {item.position for item in first}
    assert not seen & {item.position for item in found}
    old = [item for item in found if item.position[0] <= len(log)]
    remaining = [item for item in expected(items, query) if item in changed and item.position not in seen]
    assert old == remaining


@pytest.mark.parametrize(
    "query",
    [
        {"start": "x"},
        {"start": "-1"},
        {"end": "1.5"},
        {"start": "10", "end": "9"},
        {"limit": "0"},
        {"limit": "1001"},
        {"limit": "٣"},
        {"limit": ""},
        {"direction": "sideways"},
        {"from_serial": "rubbish"},
        {"fromSerial": "rubbish"},
        {"from_serial": "s1", "direction": "forwards"},
        {"after": "s1"},
        {"after": "rubbish:1"},
        {"after": "s1:x"},
    ],
)
def test_wrong_parameters_are_refused(query: dict[str, str]) -> None:
    with pytest.raises(Refusal) as refused:
        request(**query)
    assert (refused.value.info.code, refused.value.info.status_code) == (40003, 400)
