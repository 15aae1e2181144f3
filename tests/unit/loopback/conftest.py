"""A hub, and the time in it."""

from __future__ import annotations

import pytest

from tests.unit.loopback.hub_world import World


@pytest.fixture
def world() -> World:
    return World()
