"""What of the catalog answers are made of, and what stands in for a catalog that cannot be read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from edge.catalog import CatalogChunk, CatalogSound
from edge.catalog.budget import Budget
from edge.catalog.rollup.summary import QUARTER, UNKNOWN, Run, Summary
from edge.catalog.values import ChunkClaim, ChunkRun, HoleRun, SoundKey, SoundRange, SoundRun
from edge.core.instant import Instant
from edge.core.values import Archive, Hole, Stream


class RollupFacts(Protocol):
    """What the catalog knows in sums. Errors as of `CatalogFacts`."""

    def summaries(self, runs: Sequence[Run]) -> Sequence[Summary]: ...
    def loudest_seconds(self, first: int, end: int) -> Sequence[tuple[int, float | None, float | None]]: ...
    def known_holes(self, holes: Iterable[Hole]) -> set[Hole]: ...
    def count_sounds(self, start: Instant, end: Instant) -> int: ...
    def kept_sound(self) -> tuple[Instant, Instant] | None: ...
    def stored_archives(self, after: str) -> tuple[int, int, str | None]: ...


class ArchiveFacts(Protocol):
    """What the catalog knows about archives. Errors as of `CatalogFacts`."""

    def last_uploaded(self) -> Archive | None: ...


class CatalogFacts(Protocol):
    """What of the catalog's reading half is used here. Its methods raise CatalogBusy and CatalogError."""

    @property
    def path(self) -> Path: ...
    @property
    def rollup(self) -> RollupFacts: ...
    @property
    def archive_records(self) -> ArchiveFacts: ...
    def within(self, budget: Budget) -> contextlib.AbstractContextManager[None]: ...
    def chunk_run(
        self, start: Instant, end: Instant, limit: int, *, duration: int | None = None, times_only: bool = False
    ) -> ChunkRun: ...
    def claims(
        self, start: Instant, end: Instant, after: tuple[Instant, str] | None, limit: int
    ) -> Sequence[ChunkClaim]: ...
    def chunks(self, ids: Iterable[str], *, each_second: bool = False) -> Sequence[CatalogChunk]: ...
    def last_chunks(self, start: Instant, end: Instant, limit: int) -> Sequence[CatalogChunk]: ...
    def hole_run(self, start: Instant, end: Instant, limit: int) -> HoleRun: ...
    def sound_run(self, wanted: SoundRange, after: SoundKey | None, limit: int) -> SoundRun: ...
    def sounds(self, ids: Iterable[str]) -> Sequence[CatalogSound]: ...
    def archives(self, ids: Iterable[str]) -> Mapping[str, Archive]: ...
    def known(self, chunk_ids: Iterable[str]) -> set[str]: ...
    def streams(self, ids: Iterable[str]) -> Mapping[str, Stream]: ...


class NoRollup:
    """As `RollupFacts`."""

    def summaries(self, runs: Sequence[Run]) -> Sequence[Summary]:
        return [Summary(UNKNOWN, UNKNOWN, {UNKNOWN: (end - first) * QUARTER}, gaps=1) for first, end in runs]

    def loudest_seconds(self, _first: int, _end: int) -> Sequence[tuple[int, float | None, float | None]]:
        return []

    def known_holes(self, _holes: Iterable[Hole]) -> set[Hole]:
        return set()

    def count_sounds(self, _start: Instant, _end: Instant) -> int:
        return 0

    def kept_sound(self) -> tuple[Instant, Instant] | None:
        return None

    def stored_archives(self, _after: str) -> tuple[int, int, str | None]:
        return 0, 0, None


class NoArchives:
    """As `ArchiveFacts`."""

    def last_uploaded(self) -> Archive | None:
        return None


class NoCatalog:
    """As `CatalogFacts`, for the catalog at `path`: stands in for one that cannot be read.

    It knows nothing, so all that the spool has is in answers.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rollup = NoRollup()
        self.archive_records = NoArchives()

    def within(self, _budget: Budget) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def chunk_run(
        self,
        _start: Instant,
        _end: Instant,
        _limit: int,
        *,
        duration: int | None = None,  # noqa: ARG002
        times_only: bool = False,  # noqa: ARG002
    ) -> ChunkRun:
        return ChunkRun([])

    def claims(
        self, _start: Instant, _end: Instant, _after: tuple[Instant, str] | None, _limit: int
    ) -> Sequence[ChunkClaim]:
        return []

    def chunks(self, _ids: Iterable[str], *, each_second: bool = False) -> Sequence[CatalogChunk]:  # noqa: ARG002
        return []

    def last_chunks(self, _start: Instant, _end: Instant, _limit: int) -> Sequence[CatalogChunk]:
        return []

    def hole_run(self, _start: Instant, _end: Instant, _limit: int) -> HoleRun:
        return HoleRun([])

    def sound_run(self, _wanted: SoundRange, _after: SoundKey | None, _limit: int) -> SoundRun:
        return SoundRun([])

    def sounds(self, _ids: Iterable[str]) -> Sequence[CatalogSound]:
        return []

    def archives(self, _ids: Iterable[str]) -> Mapping[str, Archive]:
        return {}

    def known(self, _chunk_ids: Iterable[str]) -> set[str]:
        return set()

    def streams(self, _ids: Iterable[str]) -> Mapping[str, Stream]:
        return {}
