"""Plans from their commit to their upload, and plans that are discarded."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from edge.archiver.plan.plan import Destination, make_plan, plan_of
from edge.catalog import Catalog, CatalogReader
from edge.core.errors import CatalogError
from edge.core.instant import FIRST, LAST, Instant
from edge.core.values import Where
from tests.support.catalog import TARGET, commit_plan, make_chunks
from tests.support.spool.chunks import START, at, make_chunk


def test_a_plan_is_frozen_until_it_is_uploaded(catalog: Catalog, reader: CatalogReader) -> None:
    plan = commit_plan(catalog, make_chunks(3))
    archive = catalog.archive_records.open_plans()[0]
    assert archive == plan.archive(Instant(1))
    assert plan_of(catalog.plans.manifest(plan.archive_id), archive.bucket, archive.key) == plan
    assert catalog.queue.waiting(9) == []
    assert [row.where for row in reader.chunks_between(START, at(9), 9)] == [None] * 3

    catalog.plans.mark_uploaded(plan.archive_id, "ab" * 32, Instant(2))
    catalog.plans.mark_uploaded(plan.archive_id, "cd" * 32, Instant(3))  # again after a crash: nothing changes
    assert catalog.archive_records.open_plans() == []
    stored = replace(archive, sha256="ab" * 32, uploaded_at=Instant(2))
    assert reader.archives([plan.archive_id, "unknown"]) == {plan.archive_id: stored}
    member = plan.members[1]
    where = Where(plan.archive_id, member.member, member.offset, member.length, member.chunk.sha256)
    assert reader.chunks_between(at(1), at(2), 9)[0].where == where
    last = catalog.archive_records.last_uploaded()
    assert last is not None
    assert last.archive_id == plan.archive_id
    with pytest.raises(CatalogError, match="no open plan"):
        catalog.plans.manifest(plan.archive_id)


def test_archives_uploaded_before_the_month_are_summed(catalog: Catalog) -> None:
    plans = []
    for seq, uploaded_at in ((0, 10), (1, 20), (2, 30), (3, 40)):
        plans.append(commit_plan(catalog, [make_chunk(seq, b"x")]))
        if seq < 3:
            catalog.plans.mark_uploaded(plans[-1].archive_id, "ab" * 32, Instant(uploaded_at))
    sizes = [plan.bundle.size for plan in plans]
    assert catalog.archive_records.kept_bytes(Instant(25)) == [
        (sizes[0] + sizes[1], Instant(25)),
        (sizes[2], Instant(30)),
    ]
    assert catalog.archive_records.kept_bytes(Instant(5))[0] == (0, Instant(5))


def test_chunks_of_a_discarded_plan_wait_again(catalog: Catalog) -> None:
    plan = commit_plan(catalog, make_chunks(3))
    catalog.plans.take_back(plan.archive_id)
    assert catalog.queue.waiting(9) == make_chunks(3)
    assert catalog.archive_records.open_plans() == []
    assert [archive.key for archive in catalog.archive_records.pending_deletion()] == [plan.key]


def test_a_chunk_cannot_be_planned_twice(catalog: Catalog) -> None:
    chunks = make_chunks(3)
    commit_plan(catalog, chunks[:2])
    again = make_plan(chunks[1:], {}, TARGET)
    catalog.registration.add_chunks(chunks)
    with pytest.raises(CatalogError, match="is not waiting"):
        catalog.plans.commit(again.archive(Instant(2)), again.members, again.manifest)
    assert len(catalog.archive_records.open_plans()) == 1
    assert catalog.queue.waiting(9) == chunks[2:]


def test_uploaded_chunks_are_returned_with_their_sha256(catalog: Catalog) -> None:
    plan = commit_plan(catalog, make_chunks(2))
    ids = [member.chunk.chunk_id for member in plan.members]
    assert catalog.plans.uploaded_chunks(ids) == {}
    catalog.plans.mark_uploaded(plan.archive_id, "ab" * 32, Instant(2))
    assert {name: what.sha256 for name, what in catalog.plans.uploaded_chunks(ids).items()} == {
        member.chunk.chunk_id: member.chunk.sha256 for member in plan.members
    }


def test_a_discarded_plan_is_committed_again_under_the_same_id(catalog: Catalog) -> None:
    plan = commit_plan(catalog, make_chunks(3))
    catalog.plans.take_back(plan.archive_id)
    assert [archive.archive_id for archive in catalog.archive_records.pending_deletion()] == [plan.archive_id]
    assert commit_plan(catalog, catalog.queue.waiting(9), planned_at=2) == plan
    assert catalog.archive_records.open_plans() == [plan.archive(Instant(2))]
    assert catalog.archive_records.pending_deletion() == []
    assert catalog.queue.waiting(9) == []
    assert catalog.plans.manifest(plan.archive_id) == plan.manifest
    catalog.plans.mark_uploaded(plan.archive_id, "ab" * 32, Instant(3))
    assert all(row.where for row in catalog.chunks_between(FIRST, LAST, 9))


def test_a_late_deletion_report_does_not_affect_a_recommitted_plan(catalog: Catalog) -> None:
    plan = commit_plan(catalog, make_chunks(3))
    catalog.plans.take_back(plan.archive_id)
    commit_plan(catalog, catalog.queue.waiting(9))
    catalog.deletions.mark_deleted(plan.archive_id, Instant(3))
    (archive,) = catalog.archive_records.open_plans()
    assert archive.deleted_at is None
    catalog.plans.take_back(plan.archive_id)
    catalog.deletions.mark_deleted(plan.archive_id, Instant(4))  # and none at all is no fault either


@pytest.mark.parametrize(
    "elsewhere", [Destination("other", "imhearing/", "porch"), Destination("sounds", "new/", "porch")]
)
def test_leftovers_stay_to_be_deleted_when_the_same_plan_is_made_for_another_place(
    catalog: Catalog, elsewhere: Destination
) -> None:
    before = commit_plan(catalog, make_chunks(3))
    catalog.plans.take_back(before.archive_id)
    chunks = catalog.queue.waiting(9)
    plan = make_plan(chunks, catalog.streams({chunk.stream_id for chunk in chunks}), elsewhere)
    assert plan.archive_id == before.archive_id
    assert catalog.plans.commit(plan.archive(Instant(2)), plan.members, plan.manifest)
    [leftovers] = catalog.archive_records.pending_deletion()
    assert (leftovers.bucket, leftovers.key) == (TARGET.bucket, before.key)
    assert (leftovers.started_at, leftovers.ended_at) == (chunks[0].started_at, chunks[-1].ended_at)
    catalog.deletions.mark_deleted(leftovers.archive_id, Instant(3))
    assert catalog.archive_records.pending_deletion() == []
    assert catalog.archive_records.open_plans() == [plan.archive(Instant(2))]
    assert catalog.plans.manifest(plan.archive_id) == plan.manifest


def test_a_rewrite_that_was_taken_back_can_be_planned_again(catalog: Catalog) -> None:
    """Else its archive would be deleted once it is uploaded."""
    plan = commit_plan(catalog, make_chunks(3))
    catalog.plans.mark_uploaded(plan.archive_id, "ab" * 32, Instant(3))
    rewrite = make_plan(make_chunks(2), {}, TARGET, replaces=plan.archive_id)
    for _ in range(2):
        catalog.plans.commit_rewrite(rewrite.archive(Instant(4)), rewrite.manifest)
        assert [archive.key for archive in catalog.archive_records.open_rewrites()] == [rewrite.key]
        catalog.plans.take_back(rewrite.archive_id)
        assert catalog.archive_records.open_rewrites() == []


# times that nobody is sure of
