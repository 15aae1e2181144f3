"""A chunk that is in two archives, in the catalog: its row names one, and the other is a copy."""

from __future__ import annotations

from edge.archiver.plan.plan import ArchivePlan, make_plan
from edge.catalog import Catalog
from edge.core.instant import FIRST, LAST, Instant
from edge.core.values import Chunk, DiscardedChunk
from tests.support.catalog import TARGET, make_chunks


def _restore(catalog: Catalog, plan: ArchivePlan) -> str:
    catalog.registration.restore_archive(plan.archive(Instant(1)), plan.members, plan.discarded)
    return plan.archive_id


def _plan(chunks: list[Chunk]) -> ArchivePlan:
    return make_plan(chunks, {}, TARGET)


def _left(catalog: Catalog) -> set[tuple[int, str, str | None]]:
    rows = catalog.deletions.remaining_between(FIRST, LAST, 99)
    return {(int(row.chunk_id[-6:]), row.state, row.archive_id) for row in rows}


def test_each_archive_of_a_chunk_is_found_and_lists_it(catalog: Catalog) -> None:
    chunks = make_chunks(3)
    first, second = (_restore(catalog, _plan(some)) for some in (chunks[:2], chunks[1:]))
    assert _left(catalog) == {(0, "stored", first), (1, "stored", first), (1, "stored", second), (2, "stored", second)}
    assert [row.chunk for row in catalog.archive_records.members(second)] == chunks[1:]
    assert sorted(catalog.archive_records.chunks_for_manifest(second)) == [chunk.chunk_id for chunk in chunks[1:]]


def test_a_chunk_whose_archive_expires_is_then_in_its_copy(catalog: Catalog) -> None:
    chunks = make_chunks(2)
    first, second = (_restore(catalog, _plan(some)) for some in (chunks, chunks[1:]))
    catalog.deletions.expire_archive(first)
    zero, one = catalog.chunks_between(FIRST, LAST, 9)
    assert (zero.gone, one.gone) == ("lifecycle", None)
    assert one.where is not None
    assert one.where.archive == second
    catalog.deletions.mark_deleted(first, Instant(2))
    catalog.deletions.expire_archive(second)
    assert [row.gone for row in catalog.chunks_between(FIRST, LAST, 9)] == ["lifecycle", "lifecycle"]


def test_an_archive_in_the_store_neither_stores_nor_gives_up_what_waits_in_the_spool(catalog: Catalog) -> None:
    """Whoever may write to the bucket can claim anything in a manifest."""
    chunks = make_chunks(2)
    catalog.registration.add_chunks(chunks)
    archive = _restore(catalog, make_plan(chunks[:1], {}, TARGET, [DiscardedChunk(chunks[1], "erased")]))
    assert catalog.queue.waiting(9) == chunks
    assert _left(catalog) == {(0, "waiting", None), (0, "stored", archive), (1, "waiting", None)}


def test_what_a_replaced_archive_still_holds_is_gone_with_it(catalog: Catalog) -> None:
    """The rewritten one is found first, as after a crash before the other was deleted."""
    chunks = make_chunks(2)
    old = _plan(chunks)
    new = make_plan(chunks[:1], {}, TARGET, [DiscardedChunk(chunks[1], "erased")], old.archive_id)
    _restore(catalog, new)
    _restore(catalog, old)
    assert [archive.archive_id for archive in catalog.archive_records.pending_deletion()] == [old.archive_id]
    assert _left(catalog) == {(0, "stored", new.archive_id)}
    catalog.deletions.mark_deleted(old.archive_id, Instant(2))
    assert _left(catalog) == {(0, "stored", new.archive_id)}


def test_a_copy_of_an_erased_chunk_is_found(catalog: Catalog) -> None:
    chunks = make_chunks(2)
    rewritten = make_plan(chunks[:1], {}, TARGET, [DiscardedChunk(chunks[1], "erased")])
    _restore(catalog, rewritten)
    assert catalog.archive_records.erased_copies() == []
    other = _restore(catalog, _plan(chunks[1:]))
    assert catalog.archive_records.erased_copies() == [(chunks[1].chunk_id, other)]
