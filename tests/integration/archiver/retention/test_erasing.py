"""`forget` erases a range in the spool, the store and the catalog. No broker runs."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.archiver.intake import Intake
from edge.archiver.jobs import Delete, DeleteClips, JobResult
from edge.archiver.plan.plan import Destination, make_plan
from edge.archiver.rebuild import rebuild
from edge.archiver.retention.eraser import Eraser
from edge.archiver.verify import verify
from edge.catalog import Catalog, CatalogReader
from edge.catalog.erasures import ErasureResult, Erasures
from edge.configuration.settings import Settings, Thresholds
from edge.core.instant import FIRST, LAST, Instant
from edge.core.values import SpoolState
from edge.spool.spool import Spool
from edge.store.s3 import S3Store
from query_service.queries.values import Expired
from tests.support.archiver.parts import make_eraser, next_change
from tests.support.archiver.running import (
    FAST,
    archived,
    coverage_of,
    erase,
    rows_by_number,
    running_archiver,
    wait_stored,
)
from tests.support.spool.chunks import BOOT, SECOND, START, STREAM, audio_bytes, fill_spool, make_chunk
from tests.support.store.fault_proxy import running_proxy
from tests.support.store.s3 import RunningStore
from tests.support.wait import wait_until


def put(store: RunningStore, key: str) -> None:
    data = b"clip"
    S3Store(store.settings).put(key, data, hashlib.md5(data, usedforsecurity=False).hexdigest())


def test_forget_erases_a_range_in_spool_store_catalog_and_clips(
    tmp_path: Path, settings: Settings, store: RunningStore
) -> None:
    files = fill_spool(settings.recorder.record_path, 7)
    clips = [f"imhearing/porch/clips/20260303T{time}Z-0123456789abcdef.flac" for time in ("220002", "230000")]
    with running_archiver(settings):
        wait_stored(settings, 7)
        for clip in clips:
            put(store, clip)
        before = {path.name for path in store.folder.rglob("*.zip")}
        # half of the second chunk, and the first microsecond of the fifth
        assert erase(settings, 1, 2) == ErasureResult(_last_id(settings), "done", None, 1)
        assert erase(settings, 4, 5).chunks == 1
    assert archived(store) == {name: data for name, data in files.items() if not name.endswith(("001", "004"))}
    assert len({path.name for path in store.folder.rglob("*.zip")} & before) == 1
    assert S3Store(settings.s3).open_uploads("imhearing/") == []
    assert [path.name for path in store.folder.rglob("*.flac")] == [clips[1].rsplit("/", 1)[1]]
    found = rows_by_number(settings)
    assert {seq: row.gone for seq, row in found.items() if row.gone} == {1: "erased", 4: "erased"}
    assert found[1].chunk.levels is None
    assert found[2].chunk.levels is not None
    answer = coverage_of(settings, 7)
    assert [getattr(i, "cause", None) for i in answer.intervals] == [None, "erased", None, None, "erased", None, None]
    assert all(interval.where is None for interval in answer.intervals if isinstance(interval, Expired))
    with contextlib.closing(CatalogReader(settings.catalog.db_path)) as catalog:
        spool = Spool(settings.recorder.record_path, "porch")
        assert list(verify(S3Store(settings.s3), "imhearing/", spool, catalog, deep=True)) == []
    _rebuilt_is_equal(tmp_path, settings)


def _last_id(settings: Settings) -> str:
    [path] = settings.catalog.db_path.with_name("orders").glob("result-*.json")
    return path.stem.removeprefix("result-")


def _rebuilt_is_equal(tmp_path: Path, settings: Settings) -> None:
    spool = Spool(settings.recorder.record_path, "porch")
    with (
        contextlib.closing(Catalog(tmp_path / "again.db")) as again,
        contextlib.closing(CatalogReader(settings.catalog.db_path)) as catalog,
    ):
        rebuild(S3Store(settings.s3), "imhearing/", spool, again, Instant(9))
        assert again.chunks_between(FIRST, LAST, 99) == catalog.chunks_between(FIRST, LAST, 99)
        assert again.archive_records.uploaded_ids() == catalog.archive_records.uploaded_ids()
        assert again.hole_run(FIRST, LAST, 99).holes == catalog.hole_run(FIRST, LAST, 99).holes


def test_an_erased_waiting_chunk_is_listed_in_the_next_archives_manifest(
    tmp_path: Path, settings: Settings, store: RunningStore
) -> None:
    fill_spool(settings.recorder.record_path, 3)
    patient = replace(settings, thresholds=Thresholds())
    with running_archiver(patient):
        wait_until(lambda: len(rows_by_number(settings)) == 3, "all is known")
        assert erase(settings, 0, 1).chunks == 1
        assert len(list(settings.recorder.record_path.glob("*.flac"))) == 2
    with running_archiver(settings):
        wait_stored(settings, 2)
    assert rows_by_number(settings)[0].gone == "erased"
    _rebuilt_is_equal(tmp_path, settings)


def test_erasing_all_chunks_of_an_archive_deletes_it(tmp_path: Path, settings: Settings, store: RunningStore) -> None:
    fill_spool(settings.recorder.record_path, 3)
    with running_archiver(settings):
        wait_stored(settings, 3)
        assert erase(settings, 0, 60).chunks == 3
    assert archived(store) == {}
    _rebuilt_is_equal(tmp_path, settings)


@pytest.mark.parametrize("request_name", ["PUT", "DELETE", "GET"])
def test_an_erasure_is_retried_until_the_store_recovers(
    tmp_path: Path, settings: Settings, store: RunningStore, request_name: str
) -> None:
    files = fill_spool(settings.recorder.record_path, 3)
    orders = Erasures(settings.catalog.db_path)
    with running_proxy(settings.s3) as (proxy, through):
        with running_archiver(replace(settings, s3=through)):
            wait_stored(settings, 3)
            proxy.fail_always("error", request_name)
            order = orders.give(START, Instant(START + 1), START)
            wait_until(lambda: sum(fault is not None for _, fault in proxy.seen) > 4, "it went wrong a few times")
            assert orders.result(order.id) is None
        proxy.heal()
        with running_archiver(replace(settings, s3=through)):
            wait_until(lambda: orders.result(order.id) is not None, "it is carried out")
    assert archived(store) == dict(list(files.items())[1:])
    assert len(list(store.folder.rglob("*.zip"))) == 1
    _rebuilt_is_equal(tmp_path, settings)


def test_a_rebuild_does_not_restore_sound_from_an_archive_that_was_replaced(
    tmp_path: Path, settings: Settings, store: RunningStore
) -> None:
    """The old archive could not be deleted yet: a rebuild must not bring the sound back."""
    fill_spool(settings.recorder.record_path, 3)
    with running_archiver(settings):
        wait_stored(settings, 3)
        [old] = store.folder.rglob("*.zip")
        name, data = old.relative_to(store.folder).as_posix(), old.read_bytes()
        erase(settings, 0, 1)
    S3Store(settings.s3).put(name, data, hashlib.md5(data, usedforsecurity=False).hexdigest())
    with contextlib.closing(Catalog(tmp_path / "again.db")) as again:
        rebuild(S3Store(settings.s3), "imhearing/", Spool(settings.recorder.record_path, "porch"), again, START)
        assert [row.gone for row in again.chunks_between(FIRST, LAST, 9)] == ["erased", None, None]
        assert again.archive_records.pending_deletion() == []  # a forged one could say the same: `verify` reports it
        [(chunk_id, copy, _)] = again.archive_records.erased_copies()
        assert (chunk_id, copy) == (f"{STREAM}-000000", old.stem)


@pytest.fixture
def eraser(settings: Settings) -> Iterator[tuple[Eraser, Catalog, Spool]]:
    """Without a worker: its jobs are seen, and not done."""
    fill_spool(settings.recorder.record_path, 3)
    spool = Spool(settings.recorder.record_path, "porch")
    with contextlib.closing(Catalog(settings.catalog.db_path)) as catalog:
        catalog.registration.add_chunks(spool.chunks.manifest(name) for name in sorted(spool.chunks.finished()))
        destination = Destination("bucket", "imhearing/", "porch")
        yield make_eraser(spool, catalog, destination, FAST, Intake(spool, catalog).rescan), catalog, spool


def test_an_erasure_waits_for_the_chunk_that_is_being_written(eraser: tuple[Eraser, Catalog, Spool]) -> None:
    erasing, catalog, spool = eraser
    data = audio_bytes(3)
    chunk = make_chunk(3, data)
    part = spool.layout.part_path(chunk.chunk_id, "flac")
    part.write_bytes(data)
    knot = (24_000, chunk.started_at)
    spool.state.write(SpoolState(state="recording", since=START, boot_id=BOOT, ordinal=1, stream_id=STREAM, knot=knot))
    orders = Erasures(catalog.path)
    order = orders.give(START, Instant(START + 3_500_000), START)
    assert erasing.next_job() is None
    assert spool.chunks.finished() == {}
    spool.chunks.finish(part, chunk)
    job = next_change(erasing)
    assert isinstance(job, DeleteClips)
    assert (job.start, job.end) == (order.from_, order.to)
    assert spool.chunks.finished() == {}
    erasing.on_result(JobResult(job, 0.1))
    assert orders.result(order.id) is None
    assert erasing.next_job() is None
    assert orders.result(order.id) == ErasureResult(order.id, "done", None, 4)


def test_clips_made_under_a_former_name_are_erased_too(eraser: tuple[Eraser, Catalog, Spool]) -> None:
    _, catalog, spool = eraser
    destination = Destination("bucket", "imhearing/", "garden", ("porch", "attic"))
    renamed = make_eraser(spool, catalog, destination, FAST, Intake(spool, catalog).rescan)
    Erasures(catalog.path).give(START, Instant(START + SECOND), START)
    keys = []
    while (job := next_change(renamed)) is not None:
        assert isinstance(job, DeleteClips)
        keys.append(job.key)
        renamed.on_result(JobResult(job, 0.1))
    assert keys == ["imhearing/garden/clips/", "imhearing/porch/clips/", "imhearing/attic/clips/"]


def test_a_plan_that_contains_an_erased_chunk_is_discarded(eraser: tuple[Eraser, Catalog, Spool]) -> None:
    erasing, catalog, _ = eraser
    plan = make_plan(catalog.queue.waiting(3), {}, Destination("bucket", "imhearing/", "porch"))
    catalog.plans.commit(plan.archive(START), plan.members, plan.manifest)
    Erasures(catalog.path).give(Instant(START + SECOND), Instant(START + SECOND + 1), START)
    assert erasing.next_job() is None
    assert [chunk.seq for chunk in catalog.queue.waiting(9)] == [0, 2]
    assert catalog.archive_records.open_plans() == []
    job = erasing.next_job()  # it may have been stored, and nobody heard of it
    assert isinstance(job, Delete)
    assert job.key == plan.key
    erasing.on_result(JobResult(job, 0.1))
    assert catalog.archive_records.pending_deletion() == []
    assert catalog.archives([plan.archive_id]) == {}
