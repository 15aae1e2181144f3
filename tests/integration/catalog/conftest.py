"""A catalog in a real SQLite file, and a reader of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.catalog import Catalog, CatalogReader


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


@pytest.fixture
def catalog(path: Path) -> Iterator[Catalog]:
    catalog = Catalog(path)
    catalog.open()
    yield catalog
    catalog.close()


@pytest.fixture
def reader(path: Path) -> Iterator[CatalogReader]:
    reader = CatalogReader(path)
    yield reader
    reader.close()
