"""A hub with a clock that tests set."""

from __future__ import annotations

import pytest

from tests.unit.loopback.hub_world import World


@pytest.fixture
def world() -> World:
    return World()
