"""The screen of `imhearing up`."""

from __future__ import annotations

import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from commands.show.node_view import NodeView, describe
from commands.up.local_facts import LocalFacts
from commands.up.screen import draw, pasteable
from edge.core.instant import MICROSECONDS, Instant
from edge.messaging.events import RecorderState
from tests.support.spool.chunks import START
from tests.unit.commands.samples import every_event, filled_view, snapshot


@given(
    st.integers(80, 200),
    st.integers(24, 60),
    st.integers(0, 9),
    st.sampled_from(["/tmp/try", "/a/" + "long-" * 12 + "folder"]),
)
def test_the_screen_fits_the_terminal_and_shows_the_essentials(
    width: int, height: int, problems: int, folder: str
) -> None:
    lines = draw(filled_view(), snapshot(problems=problems, folder=folder), Instant(START + 61_000_000), width, height)
    assert len(lines) <= height
    assert all(line.cell_len <= width for line in lines)
    text = "\n".join(line.plain for line in lines)
    for fragment in (
        "porch",
        "up 0:01:01",
        "synthetic",
        "NOT A MICROPHONE",
        "5 finished, last until",
        "3 waiting (1.2 MB)",
        "1 uploaded",
    ):
        assert fragment in text
    assert ("! 10:00:00 problem" in text) == (problems > 0)


def test_commands_on_the_screen_can_be_pasted() -> None:
    node = snapshot(folder="/a folder/" + "x" * 60)
    lines = draw(NodeView(), node, START, 80, 24)
    at = next(index for index, line in enumerate(lines) if "second terminal" in line.plain)
    pasted = "\n".join(line.plain for line in lines[at + 1 :]).replace("\\\n", " ")
    assert [shlex.split(line) for line in pasted.splitlines()] == [list(command) for command in node.commands]


@given(st.lists(st.text(st.characters(codec="ascii", min_codepoint=32), min_size=1, max_size=70), min_size=1))
def test_a_wrapped_command_is_the_same_command(words: list[str]) -> None:
    assert shlex.split("\n".join(pasteable(words, 40)).replace(" \\\n", " ")) == words


def test_an_outdated_level_is_not_shown() -> None:
    now = Instant(START + 60 * MICROSECONDS)
    assert not any("-42.0" in line.plain for line in draw(filled_view(), snapshot(), now, 80, 24))


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


def test_the_synthetic_warning_is_beside_the_state_if_there_is_room() -> None:
    assert any("recording from synthetic scene" in line and WARNING in line for line in drawn(SYNTHETIC, 80))


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


def test_times_of_another_day_are_shown_with_their_date() -> None:
    tomorrow = replace(PAUSED, until=Instant(START + 86_400 * MICROSECONDS), device="USB Audio", reason=None)
    text = "\n".join(drawn(tomorrow, 80))
    assert re.search(r"paused until 2026-03-0\d \d\d:\d\d:\d\d  since \d\d:\d\d:\d\d$", text, re.MULTILINE)
    assert re.search(r"^paused until 2026-03-0\d ", describe(tomorrow) or "")
    began = replace(SYNTHETIC, since=Instant(START - 86_400 * MICROSECONDS))
    assert re.search(r"since 2026-03-0\d \d\d:", "\n".join(drawn(began, 80)))
