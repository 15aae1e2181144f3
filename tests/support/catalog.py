"""Chunks and plans in a catalog."""

from __future__ import annotations

from edge.archiver.plan.plan import ArchivePlan, Destination, make_plan
from edge.catalog import Catalog
from edge.core.instant import Instant
from edge.core.values import Chunk
from tests.support.spool.chunks import make_chunk

TARGET = Destination("sounds", "imhearing/", "porch")


def make_chunks(count: int, first: int = 0) -> list[Chunk]:
    return [make_chunk(seq, b"x" * 10) for seq in range(first, first + count)]


def commit_plan(catalog: Catalog, chunks: list[Chunk], planned_at: int = 1) -> ArchivePlan:
    catalog.registration.add_chunks(chunks)
    plan = make_plan(chunks, catalog.streams({chunk.stream_id for chunk in chunks}), TARGET)
    catalog.plans.commit(plan.archive(Instant(planned_at)), plan.members, plan.manifest)
    return plan


def ids_of(chunks: list[Chunk]) -> list[str]:
    return [chunk.chunk_id for chunk in chunks]
