"""What the recorder says on the bus, over a bus that only remembers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from edge.config import load
from edge.events import Event, ThresholdCrossed
from edge.mqtt import Bus
from edge.recorder.announcer import Announcer
from edge.spool import Spool
from edge.thresholds import Limits
from tests.support.chunks import audio_bytes, make_chunk, put_chunk
from tests.support.kernel import TurnedClock


class Memory:
    """A bus of which nobody hears."""

    def __init__(self) -> None:
        self.said: list[Event] = []

    def publish(self, event: Event) -> None:
        self.said.append(event)

    def subscribe(self, *_: Any) -> None:
        """Nothing ever comes."""

    def retain(self, *_: Any) -> None:
        """Home Assistant is not here."""


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "spool", "porch")
    spool.create()
    return spool


def crossings(spool: Spool, limits: Limits, chunks: int) -> list[ThresholdCrossed]:
    """What is told of the limits once the last of `chunks` chunks is finished."""
    bus = Memory()
    settings = load(spool.path.parent, overrides=["node.name=porch"], environ={})
    announcer = Announcer(settings, spool, cast(Bus, bus), TurnedClock(), limits)
    announcer.chunk_finished(make_chunk(chunks, audio_bytes(chunks)))
    return [event for event in bus.said if isinstance(event, ThresholdCrossed)]


def test_a_copy_of_what_the_store_has_does_not_wait(spool: Spool) -> None:
    for number in (1, 2, 3):
        data = audio_bytes(number)
        put_chunk(spool, make_chunk(number, data), data)
    limits = Limits(records_count=3)
    assert [(one.metric, one.value) for one in crossings(spool, limits, 3)] == [("records_count", 3)]
    spool.mark_stored(sorted(spool.chunks())[0])
    assert crossings(spool, limits, 3) == []
    everything = Limits(records_count=1, storage_usage=1e-6, oldest_age=1e-6)
    for chunk_id in spool.chunks():
        spool.mark_stored(chunk_id)
    assert crossings(spool, everything, 3) == []
