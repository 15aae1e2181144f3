"""The faults of query_network.py, each for a few seconds."""

from __future__ import annotations

import asyncio

import pytest

from tests.campaigns.query_network import play


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "seconds"), [("outage", 5), ("errors", 5), ("resets", 6), ("expiry", 8)])
def test_every_query_ends_with_an_answer_or_at_its_deadline(fault: str, seconds: float) -> None:
    assert asyncio.run(play(fault, seconds)) == []
