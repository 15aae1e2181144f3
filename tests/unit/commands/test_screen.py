"""The screen of `imhearing up` on a narrow terminal: warnings stay visible."""

from __future__ import annotations

import re

import pytest
from msgspec.structs import replace

from commands.show.node_view import NodeView, describe
from commands.up.local_facts import LocalFacts
from commands.up.screen import draw
from edge.core.instant import MICROSECONDS, Instant
from edge.messaging.events import RecorderState, ThresholdCrossed
from tests.support.chunks import START
from tests.unit.commands.test_show import every_event, snapshot

SYNTHETIC = RecorderState(at=START, node="porch", state="recording", since=START, device="synthetic scene")
PAUSED = replace(
    SYNTHETIC, state="paused", until=Instant(START + 600 * MICROSECONDS), reason="the schedule says so"
)  # fmt: skip
WARNING = "NOT A MICROPHONE"


def drawn(state: RecorderState, width: int, height: int = 24) -> list[str]:
    view = NodeView()
    view.apply(every_event()[0])
    view.apply(state)
    return [line.plain for line in draw(view, snapshot(), START, width, height)]


@pytest.mark.parametrize("state", [SYNTHETIC, PAUSED])
@pytest.mark.parametrize("height", [10, 24])
@pytest.mark.parametrize("width", [26, 40, 73, 74, 80, 87, 120])
def test_a_synthetic_scene_is_always_announced_once(state: RecorderState, width: int, height: int) -> None:
    lines = drawn(state, width, height)
    assert sum(WARNING in line for line in lines) == 1
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)


def test_with_the_broker_away_the_state_is_the_one_in_the_spool() -> None:
    view = NodeView()
    view.apply(every_event()[0])
    view.apply(PAUSED)  # what was last heard
    facts = LocalFacts(recorder=replace(SYNTHETIC, device="USB Audio"), waiting=22)
    away = snapshot()._replace(facts=facts, broker="127.0.0.1:1883", running=["recorder"])
    text = "\n".join(line.plain for line in draw(view, away, START, 80, 24))
    assert "recorder  recording from USB Audio" in text
    assert "broker    127.0.0.1:1883 does not respond" in text
    assert "22 finished" in text
    stopped = "\n".join(line.plain for line in draw(view, away._replace(running=[]), START, 80, 24))
    assert "recorder  NOT RUNNING" in stopped


def test_the_warning_is_beside_the_state_if_there_is_room() -> None:
    assert any("recording from synthetic scene" in line and WARNING in line for line in drawn(SYNTHETIC, 80))


def test_times_of_another_day_are_shown_with_their_date() -> None:
    tomorrow = replace(PAUSED, until=Instant(START + 86_400 * MICROSECONDS), device="USB Audio", reason=None)
    text = "\n".join(drawn(tomorrow, 80))
    assert re.search(r"paused until 2026-03-0\d \d\d:\d\d:\d\d  since \d\d:\d\d:\d\d$", text, re.MULTILINE)
    assert re.search(r"^paused until 2026-03-0\d ", describe(tomorrow) or "")
    began = replace(SYNTHETIC, since=Instant(START - 86_400 * MICROSECONDS))
    assert re.search(r"since 2026-03-0\d \d\d:", "\n".join(drawn(began, 80)))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0, "chunks", "0 chunks "), (1, "chunks", "1 chunk "), (2, "chunks", "2 chunks "), (1, "s", "1 s ")],
)
def test_one_chunk_is_singular(value: float, unit: str, text: str) -> None:
    crossed = ThresholdCrossed(
        at=START, node="porch", event="cleared", metric="records_count", value=value, limit=3, unit=unit
    )
    assert f": {text}(limit 3)" in (describe(crossed) or "")
