"""An empty spool."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.spool.spool import Spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "spool", "porch")
    spool.create()
    return spool
