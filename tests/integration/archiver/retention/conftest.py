"""Settings of an archiver without a broker, and a clock that counts as synchronised."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.configuration.settings import Settings
from edge.core.kernel_clock import KernelClock
from tests.support.archiver.running import settings_without_broker
from tests.support.store.s3 import RunningStore


@pytest.fixture
def settings(tmp_path: Path, store: RunningStore) -> Settings:
    return settings_without_broker(tmp_path, store.settings)


@pytest.fixture
def synchronised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives expire only by a clock that is."""
    monkeypatch.setattr(KernelClock, "synchronised", lambda _: True)
