"""Tables of sounds and levels, and the report of `fetch`."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from commands.fetch import _print_report as print_fetch_report
from commands.show.answer_tables import print_listing
from edge.core.instant import MICROSECONDS, Instant
from query_service.api import FetchReport
from query_service.queries.levels import LevelsAnswer, LevelStep
from query_service.queries.sounds import Sound, SoundsAnswer
from tests.support.spool.chunks import START, STREAM


def test_fetch_reports_the_bytes_read_from_the_store(capsys: pytest.CaptureFixture[str]) -> None:
    """What was still in the spool is not in that number."""
    report = FetchReport(
        path=Path("a.wav"), from_=START, to=Instant(START + MICROSECONDS), rate=48_000, channels=1, frames=48_000,
        chunks=3, bytes_read=0, holes=(),
    )  # fmt: skip
    print_fetch_report(report)
    assert capsys.readouterr().err == "a.wav: 1.0 s, 48000 Hz, mono, from 3 chunks (0 B from the store)\n"


@pytest.mark.parametrize("width", [30, 40, 60, 80])
def test_a_narrow_terminal_keeps_the_numbers_of_levels(width: int) -> None:
    step = LevelStep(
        from_=START, to=Instant(START + 60 * MICROSECONDS), seconds=60, unit="dBFS", laeq=-42.1, laeq_max=-30.0,
        lafmax=-20.2, l10=-40.3, l50=-42.5, l90=-50.6,
    )  # fmt: skip
    for end in (60, 2 * 86_400):
        console = Console(width=width, record=True, file=io.StringIO(), highlight=False)
        answer = LevelsAnswer(
            id="x", node="porch", from_=START, to=Instant(START + end * MICROSECONDS), step=60, levels=(step,)
        )  # fmt: skip
        print_listing(answer, console, utc=True)
        text = console.export_text()
        for number in ("22:00:00.000", "-42.1", "-20.2", "-40.3", "-42.5", "-50.6"):
            assert number in text
        assert "█" in text or width < 80
        if width == 80:
            assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("width", [30, 80])
def test_a_narrow_terminal_keeps_the_numbers_of_sounds(width: int) -> None:
    sound = Sound(
        sound_id=f"{STREAM}-s5", from_=START, to=None, lafmax=-20.0, laeq=-30.0, unit="dBFS", state="pending",
        uncertain=True, chunk_id=f"{STREAM}-000000", where=None,
    )  # fmt: skip
    console = Console(width=width, record=True, file=io.StringIO(), highlight=False)
    answer = SoundsAnswer(id="x", node="porch", from_=START, to=Instant(START + 1), sounds=(sound,), archives={})
    print_listing(answer, console, utc=True)
    text = console.export_text()
    assert all(words in text for words in ("~22:00:00.000", "lasts", "-20.0 dBFS", "-30.0 dBFS", "pending"))


def test_tables_of_sounds_and_levels_fit_the_width() -> None:
    head: dict[str, Any] = {"id": "x", "node": "porch", "from_": START, "to": Instant(START + 60 * MICROSECONDS)}
    sound = Sound(
        sound_id=f"{STREAM}-s5", from_=START, to=None, lafmax=-20.0, laeq=-30.0, unit="dBFS", state="pending",
        uncertain=True, chunk_id=f"{STREAM}-000000", where=None,
    )  # fmt: skip
    step = LevelStep(
        from_=START, to=Instant(START + 60 * MICROSECONDS), seconds=60, unit="dBFS", laeq=-42.0, laeq_max=-30.0,
        lafmax=None, l10=-40.0, l50=-42.5, l90=-50.0,
    )  # fmt: skip
    console = Console(width=80, record=True, file=io.StringIO(), highlight=False)
    print_listing(SoundsAnswer(**head, sounds=(sound,), archives={}), console, utc=True)
    print_listing(SoundsAnswer(**head, sounds=(), archives={}), console, utc=True)
    print_listing(LevelsAnswer(**head, step=60, levels=(step,)), console, utc=True)
    print_listing(LevelsAnswer(**head, step=60, levels=()), console, utc=True)
    text = console.export_text()
    assert "~22:00:00.000   lasts  -20.0 dBFS  -30.0 dBFS  pending" in text
    assert "no sounds: none was as loud as [thresholds] sound_level" in text
    assert "1 sound " in text
    assert re.search(r"22:00:00\.000  -42\.0 +-  -40\.0  -42\.5  -50\.0", text)
    assert "no levels" in text
    assert all(len(line) <= 80 for line in text.splitlines())
