"""A sound that ended in a chunk which is still being written. Pure."""

from __future__ import annotations

from edge.catalog.values import CatalogSound
from edge.core.values import LevelUnit


class UnfinishedSound(CatalogSound, frozen=True, kw_only=True):
    """No manifest describes its chunk yet."""

    unit: LevelUnit
    uncertain: bool
