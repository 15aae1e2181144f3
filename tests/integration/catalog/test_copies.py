"""A chunk that is in two archives, in the catalog: its row names one, and the other is a copy."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from edge.archiver.plan.plan import ArchivePlan, make_plan
from edge.catalog import Catalog
from edge.core.instant import FIRST, LAST, Instant
from edge.core.values import Chunk, DiscardedChunk
from tests.support.catalog import TARGET, commit_plan, make_chunks
from tests.support.spool.chunks import SECOND, START


def _restore(catalog: Catalog, plan: ArchivePlan) -> str:
    archive = replace(plan.archive(Instant(1)), uploaded_at=Instant(1))
    catalog.registration.restore_archive(archive, plan.members, plan.discarded)
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


@pytest.mark.parametrize("is_old_first", [False, True])
def test_a_claim_to_have_replaced_an_archive_erases_in_answers_and_deletes_nothing(
    catalog: Catalog, is_old_first: bool
) -> None:
    """As after a crash before the old one was deleted; and as forged."""
    chunks = make_chunks(2)
    old = _plan(chunks)
    new = make_plan(chunks[:1], {}, TARGET, [DiscardedChunk(chunks[1], "erased")], old.archive_id)
    for plan in (old, new) if is_old_first else (new, old):
        _restore(catalog, plan)
    assert catalog.archive_records.pending_deletion() == []
    assert [row.gone for row in catalog.chunks_between(FIRST, LAST, 9)] == [None, "erased"]
    assert catalog.archive_records.erased_copies() == [(chunks[1].chunk_id, old.archive_id, new.archive_id)]
    both = {(0, "stored", old.archive_id), (0, "stored", new.archive_id)}
    assert _left(catalog) == both | {(1, "stored", old.archive_id)}


def test_only_this_nodes_own_decisions_give_up_or_release_what_is_in_the_spool(catalog: Catalog) -> None:
    chunks = make_chunks(3)
    ids = [chunk.chunk_id for chunk in chunks]
    _restore(catalog, make_plan(chunks[:1], {}, TARGET, [DiscardedChunk(chunks[1], "quiet")]))
    assert catalog.deletions.given_up(ids) == {}
    assert catalog.plans.uploaded_chunks(ids) == {}
    assert catalog.registration.registered(ids) == set()
    assert catalog.registration.add_chunks(chunks) == 3
    assert catalog.queue.waiting(9) == chunks
    assert catalog.registration.registered(ids) == set(ids)
    catalog.deletions.mark_gone(ids[:1], "quiet")
    assert catalog.deletions.given_up(ids) == {ids[0]: chunks[0].sha256}
    assert catalog.registration.add_chunks(chunks) == 0


def test_an_archive_that_this_node_verified_takes_no_claims_from_an_object_elsewhere_under_its_id(
    catalog: Catalog,
) -> None:
    chunks = make_chunks(3)
    plan = commit_plan(catalog, chunks[:1])
    catalog.plans.mark_uploaded(plan.archive_id, "0" * 64, Instant(2))
    claims = make_plan(chunks[:2], {}, TARGET, [DiscardedChunk(chunks[2], "quiet")])
    forged = replace(claims.archive(Instant(3)), archive_id=plan.archive_id, key="elsewhere", uploaded_at=Instant(3))
    catalog.registration.restore_archive(forged, claims.members, claims.discarded)
    assert [row.chunk for row in catalog.chunks_between(FIRST, LAST, 9)] == chunks[:1]


def test_an_archive_found_in_the_store_stays_there_when_its_verification_is_given_up(catalog: Catalog) -> None:
    chunks = make_chunks(2)
    plan = _plan(chunks)
    _restore(catalog, plan)
    catalog.registration.add_chunks(chunks)
    assert catalog.plans.commit(plan.archive(Instant(2)), plan.members, plan.manifest)
    assert [archive.archive_id for archive in catalog.archive_records.open_plans()] == [plan.archive_id]
    assert [row.chunk for row in catalog.archive_records.members(plan.archive_id)] == chunks
    catalog.plans.take_back(plan.archive_id)
    assert catalog.queue.waiting(9) == chunks
    assert catalog.archive_records.pending_deletion() == []
    assert catalog.archive_records.uploaded_ids() == [plan.archive_id]
    assert [row.chunk for row in catalog.archive_records.members(plan.archive_id)] == chunks


def test_a_copy_counts_by_the_time_that_its_own_archive_gives(catalog: Catalog) -> None:
    """Else a forged archive that moves a chunk in time could make an order elsewhere erase it, or miss it."""
    [chunk] = make_chunks(1)
    moved = replace(chunk, started_at=Instant(START + 60 * SECOND), ended_at=Instant(START + 61 * SECOND))
    _restore(catalog, _plan([moved]))
    honest = _restore(catalog, _plan([chunk]))
    assert [row.archive_id for row in catalog.deletions.remaining_between(START, Instant(START + 1), 9)] == [honest]
    archive = catalog.archives([honest])[honest]
    assert (archive.started_at, archive.ended_at) == (chunk.started_at, chunk.ended_at)
    elsewhere = catalog.deletions.remaining_between(Instant(START + 60 * SECOND), LAST, 9)
    assert honest not in {row.archive_id for row in elsewhere}


def test_a_copy_of_an_erased_chunk_is_found(catalog: Catalog) -> None:
    chunks = make_chunks(2)
    rewritten = make_plan(chunks[:1], {}, TARGET, [DiscardedChunk(chunks[1], "erased")])
    _restore(catalog, rewritten)
    assert catalog.archive_records.erased_copies() == []
    other = _restore(catalog, _plan(chunks[1:]))
    assert catalog.archive_records.erased_copies() == [(chunks[1].chunk_id, other, rewritten.archive_id)]
