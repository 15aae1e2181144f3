"""Chunks and archives move with their stream when its clock is corrected."""

from __future__ import annotations

import contextlib
from pathlib import Path

from msgspec.structs import replace

from edge.archiver.jobs import Rewrite
from edge.archiver.plan.plan import read_manifest
from edge.catalog import Catalog, CatalogReader
from edge.catalog.erasures import Erasures
from edge.catalog.values import SoundRange
from edge.core.instant import FIRST, LAST, Instant
from edge.core.values import SoundSpan, Stream
from edge.spool.spool import Spool
from tests.support.archiver.parts import make_eraser
from tests.support.archiver.running import FAST
from tests.support.catalog import TARGET, commit_plan, ids_of, make_chunks
from tests.support.spool.chunks import SECOND, START, STREAM, at, make_chunk, make_stream


def test_a_corrected_clock_moves_uncertain_chunks_and_sounds(catalog: Catalog) -> None:
    sound = SoundSpan(f"{STREAM}-s4000", 4_000, 2_000, -20.0, -25.0)
    early = make_chunk(0, b"x", uncertain=True, sounds=(sound,))
    assert catalog.registration.put_stream(make_stream(uncertain=True)) is False
    catalog.registration.add_chunks([early])
    fixed = make_stream(uncertain=False, shift=3_600 * SECOND, knots=((0, at(3_600)),))
    assert catalog.registration.put_stream(fixed) is False  # no archive tells the old times yet
    assert catalog.chunks_between(START, at(9), 9) == []
    (found,) = catalog.chunks_between(at(3_600), at(3_601), 9)
    assert found.chunk == replace(early, started_at=at(3_600), ended_at=at(3_601), uncertain=False)
    assert [(s.started_at, s.ended_at) for s in catalog.sound_run(SoundRange(START, at(9_999)), None, 9).sounds] == [
        (at(3_600.5), at(3_600.75))
    ]
    late = make_chunk(1, b"x")  # its manifest was written after the correction
    catalog.registration.add_chunks([late])
    assert catalog.chunks_between(at(1), at(2), 9)[0].chunk == late


def test_a_clock_set_by_hand_moves_chunks_that_stay_uncertain(catalog: Catalog) -> None:
    early = make_chunk(0, b"x", uncertain=True)
    catalog.registration.put_stream(make_stream(uncertain=True))
    catalog.registration.add_chunks([early])
    catalog.registration.put_stream(make_stream(uncertain=True, shift=3_600 * SECOND, knots=((0, at(3_600)),)))
    (found,) = catalog.chunks_between(at(3_600), at(3_601), 9)
    assert found.chunk == replace(early, started_at=at(3_600), ended_at=at(3_601))
    catalog.registration.put_stream(make_stream(uncertain=False, shift=7_200 * SECOND, knots=((0, at(7_200)),)))
    (found,) = catalog.chunks_between(at(7_200), at(7_201), 9)
    assert found.chunk == replace(early, started_at=at(7_200), ended_at=at(7_201), uncertain=False)


def test_a_correction_of_an_archived_stream_is_queued_for_upload(catalog: Catalog) -> None:
    catalog.registration.put_stream(make_stream(uncertain=True))
    commit_plan(catalog, [make_chunk(0, b"x", uncertain=True)])
    assert catalog.registration.corrections_due() == []
    assert catalog.registration.put_stream(make_stream(shift=5)) is True
    assert catalog.registration.corrections_due() == [STREAM]
    catalog.registration.mark_correction_stored(STREAM)
    assert catalog.registration.corrections_due() == []
    assert catalog.stream(STREAM) == make_stream(shift=5)


def _set_by_hand(catalog: Catalog) -> Stream:
    """A stream of an unsure clock with one chunk, which a person's `date -s` then moved by 10 s."""
    catalog.registration.put_stream(make_stream(uncertain=True))
    catalog.registration.add_chunks([make_chunk(0, b"x", uncertain=True)])
    moved = make_stream(uncertain=True, shift=10 * SECOND, knots=((0, Instant(START + 10 * SECOND)),))
    catalog.registration.put_stream(moved)
    catalog.queue.mark_due()
    return moved


def _starts(catalog: CatalogReader) -> list[int]:
    return [row.chunk.started_at - START for row in catalog.chunks_between(FIRST, LAST, 9)]


def test_a_plan_contains_uncertain_times_as_recorded(catalog: Catalog, tmp_path: Path) -> None:
    moved = _set_by_hand(catalog)
    plan = commit_plan(catalog, catalog.queue.due(9))
    assert plan.members[0].chunk == make_chunk(0, b"x", uncertain=True)
    assert _starts(catalog) == [10 * SECOND]
    manifest = read_manifest(plan.manifest)
    with contextlib.closing(Catalog(tmp_path / "again.db")) as again:
        again.registration.put_stream(manifest.streams[0])
        again.registration.restore_archive(plan.archive(Instant(1)), manifest.members)
        assert _starts(again) == [10 * SECOND]
        known = replace(moved, uncertain=False, shift=3_000 * SECOND, knots=((0, Instant(START + 3_000 * SECOND)),))
        again.registration.put_stream(known)
        assert _starts(again) == [3_000 * SECOND]


def test_a_plan_contains_times_that_have_become_certain(catalog: Catalog) -> None:
    _set_by_hand(catalog)
    catalog.registration.put_stream(make_stream(shift=20 * SECOND, knots=((0, Instant(START + 20 * SECOND)),)))
    (chunk,) = catalog.queue.due(9)
    assert (chunk.uncertain, chunk.started_at) == (False, START + 20 * SECOND)


def test_a_discarded_chunk_is_listed_with_its_uncertain_time_as_recorded(catalog: Catalog) -> None:
    _set_by_hand(catalog)
    catalog.deletions.mark_gone(ids_of(make_chunks(1)), "quiet")
    assert [one.chunk.started_at for one in catalog.deletions.not_in_manifest(9)] == [START]


def test_a_rewritten_archive_keeps_the_uncertain_times_of_the_first(catalog: Catalog, tmp_path: Path) -> None:
    _set_by_hand(catalog)
    catalog.registration.add_chunks([make_chunk(1, b"x", uncertain=True)])
    plan = commit_plan(catalog, [make_chunk(seq, b"x", uncertain=True) for seq in range(2)])
    catalog.plans.mark_uploaded(plan.archive_id, "ab" * 32, Instant(2))
    spool = Spool(tmp_path / "spool", "porch")
    spool.create()
    eraser = make_eraser(spool, catalog, TARGET, FAST)
    erased_from = Instant(START + 11 * SECOND)  # as is believed now
    Erasures(catalog.path).give(erased_from, Instant(erased_from + SECOND), START)
    job = eraser.next_job()
    assert isinstance(job, Rewrite)
    assert [member.chunk for member in job.plan.members] == [make_chunk(0, b"x", uncertain=True)]
    assert [one.chunk.started_at for one in job.plan.discarded] == [START + SECOND]


def test_an_archives_time_span_moves_with_its_chunks(catalog: Catalog) -> None:
    """Else a hold on the time that is believed now would not keep it from expiring."""
    moved = _set_by_hand(catalog)
    plan = commit_plan(catalog, catalog.queue.due(9))
    (archive,) = catalog.archive_records.open_plans()
    assert (archive.started_at, archive.ended_at) == (START + 10 * SECOND, START + 11 * SECOND)
    catalog.plans.mark_uploaded(plan.archive_id, "ab" * 32, Instant(2))
    catalog.registration.put_stream(replace(moved, uncertain=False, shift=30 * SECOND))
    (archive,) = catalog.archive_records.uploaded_before(Instant(3), 9)
    assert (archive.started_at, archive.ended_at) == (START + 30 * SECOND, START + 31 * SECOND)
