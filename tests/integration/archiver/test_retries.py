"""Failures of the spool and the catalog are retried. There is neither broker nor store, and no job is executed."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

from edge.archiver.intake import Intake
from edge.archiver.jobs import Delete, JobResult, Upload
from edge.archiver.pacing import Pacing
from edge.archiver.plan.plan import ArchivePlan, Destination
from edge.configuration.settings import Archive
from edge.core.errors import CatalogBusy, ChunkDamaged, SpoolError, StoreUnreachable
from edge.messaging.events import ArchiverState
from edge.spool.spool import Spool
from tests.support.archiver.parts import make_cleanup, make_deletions, make_retention
from tests.support.archiver.stepped import PACE, SteppedArchiver, failing, read_only_error
from tests.support.spool.small_disk import SpoolOnSmallDisk


def test_a_discarded_plan_can_be_committed_again(node: SteppedArchiver) -> None:
    """The eraser took it back and was killed before it marked the chunk as erased."""
    node.turn()
    plan = node.plan()
    node.catalog.plans.take_back(plan.archive_id)
    again = node.restart()
    for _ in range(4):
        again.turn()
        if isinstance(again.worker.job, Upload):
            break
        again.end()
    assert again.plan().archive_id == plan.archive_id
    assert again.event_count("planned") <= 1
    again.end()
    assert sorted(again.catalog.plans.uploaded_chunks(plan_ids(plan))) == plan_ids(plan)
    assert again.catalog.archive_records.pending_deletion() == []


def plan_ids(plan: ArchivePlan) -> list[str]:
    return [member.chunk.chunk_id for member in plan.members]


def test_a_deletion_in_progress_does_not_remove_a_recommitted_plan(node: SteppedArchiver) -> None:
    node.turn()
    plan = node.plan()
    node.end(problem=StoreUnreachable("down"))
    node.catalog.plans.take_back(plan.archive_id)
    again = node.restart()
    pending = again.catalog.archive_records.pending_deletion()[0]
    again.worker.submit(Delete(pending))
    again.turn()  # plans, while the worker deletes
    again.end()
    again.run_until(lambda: again.worker.job is not None, "the next job")
    assert again.plan().key == plan.key
    again.end()
    assert sorted(again.catalog.plans.uploaded_chunks(plan_ids(plan))) == plan_ids(plan)


def test_a_file_that_cannot_be_removed_does_not_keep_others_from_being_removed(node: SteppedArchiver) -> None:
    ids = sorted(node.spool.chunks.finished())
    with failing(node.spool.chunks, "remove", read_only_error()), pytest.raises(SpoolError):
        make_deletions(node.spool, node.catalog).remove_chunks(ids)
    assert sorted(node.spool.chunks.finished()) == ids[:1]


def test_a_chunk_that_could_not_be_registered_is_registered_by_the_next_rescan(node: SteppedArchiver) -> None:
    intake = Intake(node.spool, node.catalog)
    name = min(node.spool.chunks.finished())
    with failing(node.catalog.registration, "add_chunks", CatalogBusy("busy")), pytest.raises(CatalogBusy):
        intake.register(name)
    assert intake.rescan() == 3
    assert name in node.catalog.known([name])


def test_an_uploaded_chunk_that_could_not_be_removed_is_removed_later(node: SteppedArchiver) -> None:
    node.turn()
    with failing(node.spool.chunks, "remove", read_only_error(), times=3):
        node.end()
    assert node.event_count("uploaded") == 1
    assert len(node.spool.chunks.finished()) == 3
    node.turn()
    assert node.spool.chunks.finished() == {}
    assert node.event_count("uploaded") == 1


def test_manifests_of_local_copies_are_read_only_once(tmp_path: Path, spool: SpoolOnSmallDisk) -> None:
    node = SteppedArchiver(tmp_path, spool, Archive(keep_local=1e6))
    with contextlib.closing(node.catalog):
        node.turn()
        node.end()
        node.turn()
        spool.chunks.read = 0
        node.turn()
        assert spool.chunks.read == 0
        assert len(spool.chunks.finished()) == 3


@pytest.mark.parametrize("wish", ["quiet", "dropped"])
def test_a_discarded_chunk_that_could_not_be_removed_is_removed_later(node: SteppedArchiver, wish: str) -> None:
    intake, cleanup = Intake(node.spool, node.catalog), make_cleanup(node.spool, node.catalog)
    intake.rescan()
    names = sorted(node.spool.chunks.finished())[:2]
    node.catalog.deletions.mark_gone(names, wish)  # type: ignore[arg-type]
    with failing(node.spool.chunks, "remove", read_only_error(), times=2):
        cleanup.run(intake.registered)
    assert len(node.spool.chunks.finished()) == 3
    cleanup.run(intake.registered)
    assert len(node.spool.chunks.finished()) == 1


def test_a_catalog_failure_after_an_upload_is_retried_after_a_delay(tmp_path: Path, spool: SpoolOnSmallDisk) -> None:
    node = SteppedArchiver(tmp_path, spool, Archive(), Pacing(rescan=0.0))
    with contextlib.closing(node.catalog):
        node.turn()
        with failing(node.catalog.plans, "mark_uploaded", CatalogBusy("busy")):
            node.end()
        node.turn()
        assert node.worker.job is None, "it is looked for and read again at once"
        node.clock.advance(0.9)
        node.turn()
        assert node.worker.job is None
        node.clock.advance(1.1)
        node.turn()
        assert node.worker.job is not None


def test_the_archiver_keeps_running_while_its_spool_is_missing(tmp_path: Path, spool: SpoolOnSmallDisk) -> None:
    node = SteppedArchiver(tmp_path, spool, Archive(), Pacing(rescan=1e6, report=0.0))
    node.turn()
    shutil.rmtree(node.spool.path)
    plain = Spool(node.spool.path, "porch")
    for ask in (plain.disk.free_bytes, plain.disk.total_bytes):
        with pytest.raises(SpoolError, match="the spool is not available"):
            ask()
    node.events.clear()
    node.turn()  # looks at the spool
    with contextlib.closing(node.catalog):
        node.archiver.turn()  # reports
        make_retention(spool, node.catalog, Destination("", "p/", "porch"), PACE).tidy()
    [state] = node.events
    assert isinstance(state, ArchiverState)
    assert state.disk_hours_left is None


def test_whatever_takes_a_plan_back_what_the_store_may_have_of_it_is_deleted(node: SteppedArchiver) -> None:
    node.turn()
    plan = node.plan()
    damaged = plan_ids(plan)[1]
    node.end(problem=ChunkDamaged("cannot be read", damaged))
    node.run_until(lambda: isinstance(node.worker.job, Delete), "its deletion")
    assert node.end().key == plan.key
    node.run_until(lambda: isinstance(node.worker.job, Upload), "the next upload")
    assert plan_ids(node.plan()) == [one for one in plan_ids(plan) if one != damaged]


def test_chunks_set_aside_while_the_spool_was_unreadable_are_planned_again(node: SteppedArchiver) -> None:
    node.turn()
    plan, job = node.plan(), node.worker.job
    assert job is not None
    with failing(node.spool.chunks, "finished", SpoolError("cannot be listed")):
        damaged = {chunk_id: ChunkDamaged("cannot be read", chunk_id) for chunk_id in plan_ids(plan)}
        node.archiver.on_job_result(JobResult(job, 1.0, None, damaged[plan_ids(plan)[0]], damaged))
        node.turn()
    assert node.catalog.queue.aside().keys() == set(plan_ids(plan))

    def is_planned() -> bool:
        if isinstance(node.worker.job, Delete):
            node.end()
        return isinstance(node.worker.job, Upload)

    node.run_until(is_planned, "the next upload")
    assert plan_ids(node.plan()) == plan_ids(plan)
