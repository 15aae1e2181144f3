"""The crowd of page_crowd.py, for some seconds; how soon is for a machine that does nothing else."""

from __future__ import annotations

import asyncio

import pytest

from tests.campaigns.page_crowd import play
from tests.support.wait import DEADLINE


@pytest.mark.slow
def test_many_open_pages_are_answered_and_cut_off_nobody() -> None:
    assert asyncio.run(play(pages=200, seconds=20, soon=DEADLINE)) == []
