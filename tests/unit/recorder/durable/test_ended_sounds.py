"""The note about sounds of the chunk being written: bounded, and never in the way of recording."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.core.ids import sound_id
from edge.core.values import EndedSound, SoundSpan
from edge.recorder.durable.ended_sounds import EndedSounds
from edge.spool.spool import Spool
from tests.support.spool.chunks import STREAM, at


def ended(number: int) -> EndedSound:
    return EndedSound(
        sound_id=sound_id(STREAM, number), chunk_id=f"{STREAM}-000000", started_at=at(number), ended_at=at(number + 1),
        lafmax=-20.0, laeq=-30.0, unit="dBFS",
    )  # fmt: skip


def span(number: int) -> SoundSpan:
    return SoundSpan(sound_id(STREAM, number), number, 1, -20.0, -30.0)


def test_sounds_are_noted_until_a_manifest_has_them(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "porch")
    sounds = EndedSounds(spool.ended_sounds)
    for number in range(3):
        sounds.add(ended(number))
    sounds.drop([span(0), span(1), span(7)])
    assert spool.ended_sounds.read() == (ended(2),)
    sounds.drop([span(2)])
    assert not list(tmp_path.iterdir())


def test_of_very_many_sounds_in_one_chunk_the_last_hundred_are_noted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "porch")
    sounds = EndedSounds(spool.ended_sounds)
    for number in range(130):
        sounds.add(ended(number))
    assert spool.ended_sounds.read() == tuple(ended(number) for number in range(30, 130))


def test_a_disk_that_does_not_take_the_note_is_logged_once_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(tmp_path / "spool", "porch")
    sounds = EndedSounds(spool.ended_sounds)
    sounds.add(ended(0))
    sounds.add(ended(1))
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("answers have sounds only once their chunk is finished: ")
    spool.create()
    sounds.add(ended(2))
    assert len(spool.ended_sounds.read()) == 3
