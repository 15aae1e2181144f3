"""Settings of an archiver without a broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.configuration.settings import Settings
from tests.support.archiver.running import settings_without_broker
from tests.support.store.s3 import RunningStore


@pytest.fixture
def settings(tmp_path: Path, store: RunningStore) -> Settings:
    return settings_without_broker(tmp_path, store.settings)
