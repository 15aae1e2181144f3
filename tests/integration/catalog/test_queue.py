"""Which chunks wait, which are due, and which are set aside."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from edge.catalog import Catalog
from edge.core.instant import Instant
from tests.support.catalog import commit_plan, ids_of, make_chunks
from tests.support.spool.chunks import SECOND, START, at, make_chunk, make_stream


def test_chunks_set_aside_can_be_requeued(catalog: Catalog) -> None:
    chunks = make_chunks(3)
    catalog.registration.add_chunks(chunks)
    catalog.queue.set_aside({chunks[1].chunk_id: "is missing"})
    assert catalog.queue.waiting(9) == [chunks[0], chunks[2]]
    assert catalog.queue.aside() == {chunks[1].chunk_id: "is missing"}
    assert catalog.chunks_between(at(1), at(2), 9)[0].aside == "is missing"
    catalog.queue.requeue([chunks[1].chunk_id, chunks[0].chunk_id])
    assert catalog.queue.waiting(9) == chunks


def test_due_chunks_stay_due_and_newer_chunks_wait(catalog: Catalog, path: Path) -> None:
    assert catalog.queue.mark_due() == 0
    catalog.registration.add_chunks(make_chunks(3))
    assert catalog.queue.due(9) == []
    assert catalog.queue.mark_due() == 3
    catalog.registration.add_chunks(make_chunks(2, first=3))
    catalog.close()
    again = Catalog(path)
    assert again.queue.due(9) == make_chunks(3)
    assert again.queue.due(2) == make_chunks(2)
    assert again.queue.mark_due() == 5
    assert again.queue.due(9) == make_chunks(5)
    again.close()


def test_a_deleted_chunk_keeps_the_cause_of_its_deletion(catalog: Catalog) -> None:
    chunks = make_chunks(2)
    catalog.registration.add_chunks(chunks)
    catalog.deletions.mark_gone([chunks[0].chunk_id], "dropped")
    assert [row.gone for row in catalog.chunks_between(START, at(9), 9)] == ["dropped", None]
    assert catalog.queue.waiting(9) == chunks[1:]


def test_the_backlog_counts_planned_and_waiting_chunks(catalog: Catalog) -> None:
    assert catalog.queue.backlog().chunks == 0
    commit_plan(catalog, make_chunks(2))
    catalog.registration.add_chunks(make_chunks(3, first=2))
    backlog = catalog.queue.backlog()
    assert (backlog.chunks, backlog.bytes, backlog.duration) == (5, 50, 5 * SECOND)
    waiting = catalog.queue.backlog(planned_too=False)
    assert (waiting.chunks, waiting.oldest, waiting.loudest) == (3, at(3), -30.25)


def test_a_chunk_from_a_clock_far_ahead_does_not_make_later_chunks_due(catalog: Catalog) -> None:
    far = make_chunk(0, b"x", stream_id="20270303T220000Z-abcd", start=Instant(START + 365 * 86_400 * SECOND))
    catalog.registration.add_chunks([far])
    catalog.queue.mark_due()
    catalog.registration.add_chunks(make_chunks(1))
    assert catalog.queue.due(9) == [far]


def test_a_clock_correction_leaves_due_chunks_due(catalog: Catalog) -> None:
    catalog.registration.put_stream(make_stream(uncertain=True))
    catalog.registration.add_chunks([make_chunk(0, b"x", uncertain=True)])
    catalog.queue.mark_due()
    catalog.registration.put_stream(make_stream(shift=3_600 * SECOND, knots=((0, Instant(START + 3_600 * SECOND)),)))
    assert ids_of(catalog.queue.due(9)) == ids_of(make_chunks(1))


def test_chunks_of_a_discarded_plan_are_due_again(catalog: Catalog) -> None:
    catalog.registration.add_chunks(make_chunks(3))
    catalog.queue.mark_due()
    plan = commit_plan(catalog, catalog.queue.due(9))
    assert catalog.queue.due(9) == []
    catalog.registration.add_chunks(make_chunks(1, first=3))
    catalog.plans.take_back(plan.archive_id)
    assert catalog.queue.due(9) == make_chunks(3)


def test_chunks_that_an_earlier_version_marked_as_due_are_due(catalog: Catalog, path: Path) -> None:
    catalog.registration.add_chunks(make_chunks(3))
    catalog.close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO notes VALUES ('due_until', ?)", (int(START + SECOND),))
        connection.execute("DROP TABLE due")
    for _ in range(2):
        with contextlib.closing(Catalog(path)) as again:
            assert again.queue.due(9) == make_chunks(2)


def test_due_marks_do_not_accumulate(catalog: Catalog, path: Path) -> None:
    for seq in range(4):
        catalog.registration.add_chunks(make_chunks(1, first=seq))
        catalog.queue.mark_due()
        plan = commit_plan(catalog, catalog.queue.due(9), planned_at=seq)
        catalog.plans.mark_uploaded(plan.archive_id, "ab" * 32, Instant(9))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM due").fetchone()[0] <= 1
