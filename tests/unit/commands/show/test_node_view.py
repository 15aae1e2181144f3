"""A node's messages in words."""

from __future__ import annotations

import msgspec
import pytest

from commands.show.node_view import NodeView, describe
from commands.up.screen import draw
from edge.messaging.events import Event, RecorderState, ThresholdCrossed
from tests.support.spool.chunks import START
from tests.unit.commands.samples import every_event, snapshot


@pytest.mark.parametrize("event", every_event())
def test_events_are_described_in_at_most_one_line(event: Event) -> None:
    text = describe(event)
    assert text is None or (text.isprintable() and text)


def test_an_input_hint_is_shown() -> None:
    well = RecorderState(at=START, node="porch", state="recording", since=START, device="USB Audio")
    faulty = msgspec.structs.replace(well, input_fault="silence", hint="is it muted?")
    view = NodeView()
    view.apply(every_event()[0])
    view.apply(well)
    assert "recording from USB Audio (is it muted?)" in (view.apply(faulty) or "")
    assert "input     is it muted?" in [line.plain for line in draw(view, snapshot(), START, 80, 24)]
    assert "is it muted?" not in (view.apply(well) or "is it muted?")


def test_control_characters_in_events_are_escaped() -> None:
    state = RecorderState(at=START, node="porch", state="no_device", since=START, reason="\x1b[2J\nforged")
    text = describe(state)
    assert text is not None
    assert text.isprintable()
    view = NodeView()
    view.apply(every_event()[0])
    view.apply(state)
    assert all(line.plain.isprintable() for line in draw(view, snapshot(), START, 80, 24))


@pytest.mark.parametrize(
    ("value", "limit", "text"),
    [(-33.9738, -35.0, "-34 dBFS (limit -35)"), (2_000_502.73, 500.0, "2000502.7 dBFS (limit 500)")],
)
def test_thresholds_are_shown_in_readable_numbers(value: float, limit: float, text: str) -> None:
    event = ThresholdCrossed(
        at=START, node="porch", event="exceeded", metric="sound_level", limit=limit, value=value, unit="dBFS"
    )
    assert describe(event) == f"sound_level exceeded: {text}"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0, "chunks", "0 chunks "), (1, "chunks", "1 chunk "), (2, "chunks", "2 chunks "), (1, "s", "1 s ")],
)
def test_a_crossing_of_one_chunk_is_shown_in_the_singular(value: float, unit: str, text: str) -> None:
    crossed = ThresholdCrossed(
        at=START, node="porch", event="cleared", metric="records_count", value=value, limit=3, unit=unit
    )
    assert f": {text}(limit 3)" in (describe(crossed) or "")
