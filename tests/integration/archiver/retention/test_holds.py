"""Sound on hold is not deleted, and does not keep other sound from being deleted."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.archiver.jobs import Delete, JobResult, Rewrite
from edge.archiver.plan.plan import Destination, make_plan
from edge.archiver.retention.age_check import HeldBack
from edge.catalog import Catalog, CatalogReader
from edge.catalog.erasures import Erasures
from edge.catalog.holds import Hold, Holds, HoldsUnreadable, change_holds, read_holds
from edge.configuration.settings import Archive, Settings, Thresholds
from edge.core.errors import StoreUnreachable
from edge.core.instant import FIRST, LAST, Instant
from edge.core.values import GoneCause
from query_service.queries.values import Expired
from tests.support.archiver.parts import make_deletions, make_expiry, make_policy
from tests.support.archiver.running import archived, coverage_of, erase, rows_by_number, running_archiver, wait_stored
from tests.support.archiver.stepped import HASH, SteppedArchiver
from tests.support.spool.chunks import SECOND, START, at, fill_spool, make_chunk
from tests.support.spool.small_disk import SpoolOnSmallDisk
from tests.support.store.s3 import RunningStore
from tests.support.wait import wait_until


def test_a_chunk_on_hold_is_not_erased(settings: Settings, store: RunningStore) -> None:
    files = fill_spool(settings.recorder.record_path, 3)
    change_holds(settings.catalog.db_path, lambda holds: holds.added(START, Instant(START + SECOND)))
    with running_archiver(settings):
        wait_stored(settings, 3)
        result = erase(settings, 0, 3)
    assert (result.state, result.chunks) == ("refused", 0)
    assert archived(store) == files


@pytest.mark.parametrize("where", ["in the spool", "in the store"])
def test_a_chunk_that_a_hold_touches_is_not_erased_by_an_order_beside_the_hold(
    settings: Settings, store: RunningStore, where: str
) -> None:
    files = fill_spool(settings.recorder.record_path, 3)
    change_holds(settings.catalog.db_path, lambda holds: holds.added(at(1.2), at(1.4)))
    orders = Erasures(settings.catalog.db_path)
    with running_archiver(replace(settings, thresholds=Thresholds()) if where == "in the spool" else settings):
        wait_until(lambda: len(rows_by_number(settings)) == 3, "all is known")
        if where == "in the store":
            wait_stored(settings, 3)
        order = orders.give(at(0.5), at(1.1), START)
        wait_until(lambda: orders.result(order.id) is not None, "the order ends")
    result = orders.result(order.id)
    assert result is not None
    assert (result.state, result.chunks) == ("refused", 0)
    assert f"from {at(1)} to {at(2)}" in str(result.reason)
    assert f"the hold from {at(1.2)} to {at(1.4)}" in str(result.reason)
    assert "imhearing hold --release" in str(result.reason)
    assert [row.gone for row in rows_by_number(settings).values()] == [None] * 3
    kept = archived(store) or {path.stem: path.read_bytes() for path in settings.recorder.record_path.glob("*.flac")}
    assert kept == files


def _rewriting(node: SteppedArchiver) -> Rewrite:
    """The job that erases the first chunk of an archive."""
    node.turn()
    node.end()
    node.erase(0, 1)
    node.run_until(lambda: isinstance(node.worker.job, Rewrite), "the archive is rewritten")
    assert isinstance(node.worker.job, Rewrite)
    return node.worker.job


def test_a_hold_that_comes_while_an_archive_is_rewritten_wins(node: SteppedArchiver) -> None:
    job = _rewriting(node)
    change_holds(node.catalog.path, lambda holds: holds.added(at(0.5), at(0.6)))
    node.archiver.on_job_result(JobResult(job, 1.0, HASH))
    node.run_until(lambda: isinstance(node.worker.job, Delete), "what was uploaded is deleted")
    assert node.end().key == job.key
    node.run_until(lambda: node.orders.open() == [], "the order is refused")
    assert [row.gone for row in node.catalog.chunks_between(FIRST, LAST, 9)] == [None] * 3
    assert node.catalog.archive_records.pending_deletion() == []


def test_a_rewrite_that_an_earlier_order_left_does_not_erase_what_is_on_hold_since(node: SteppedArchiver) -> None:
    job = _rewriting(node)
    node.archiver.on_job_result(JobResult(job, 1.0, None, StoreUnreachable("down")))
    change_holds(node.catalog.path, lambda holds: holds.added(at(0.5), at(0.6)))
    node.run_until(lambda: node.orders.open() == [], "the order is refused")
    node.erase(1, 2)

    def next_rewrite() -> bool:
        if isinstance(node.worker.job, Delete):
            node.end()
        return isinstance(node.worker.job, Rewrite)

    node.run_until(next_rewrite, "the archive is rewritten")
    assert isinstance(node.worker.job, Rewrite)
    assert [one.chunk.seq for one in node.worker.job.plan.discarded] == [1]


def test_a_replaced_archive_stays_while_what_it_alone_has_is_on_hold(node: SteppedArchiver) -> None:
    job = _rewriting(node)
    node.archiver.on_job_result(JobResult(job, 1.0, HASH))
    node.run_until(lambda: isinstance(node.worker.job, Delete), "the old one is to be deleted")
    deletion = node.worker.job
    assert isinstance(deletion, Delete)
    change_holds(node.catalog.path, lambda holds: holds.added(at(0.5), at(0.6)))
    with pytest.raises(HeldBack, match="hold --release"):
        make_deletions(node.spool, node.catalog).delete_archive(deletion.archive, deletion.erased)
    node.archiver.on_job_result(JobResult(deletion, 1.0, None, HeldBack("it is on hold")))
    for _ in range(5):
        node.turn()
        assert not isinstance(node.worker.job, Delete)
    change_holds(node.catalog.path, lambda holds: holds.released(FIRST, LAST))
    node.worker.job = None
    node.run_until(lambda: isinstance(node.worker.job, Delete), "it is deleted once released")


def test_what_is_on_hold_cannot_be_given_up_for_any_cause(node: SteppedArchiver) -> None:
    node.catalog.registration.add_chunks([make_chunk(0), make_chunk(1)])
    change_holds(node.catalog.path, lambda holds: holds.added(at(0.5), at(0.6)))
    gate = make_deletions(node.spool, node.catalog)
    causes: tuple[GoneCause, ...] = ("erased", "quiet", "dropped")
    for cause in causes:
        with pytest.raises(HeldBack):
            gate.give_up([make_chunk(0).chunk_id, make_chunk(1).chunk_id], cause)
    assert [row.gone for row in node.catalog.chunks_between(FIRST, LAST, 9)] == [None, None]
    assert len(node.spool.chunks.finished()) == 3


def test_adjacent_holds_merge_and_a_partial_release_splits_them() -> None:
    at = [Instant(n) for n in range(10)]
    holds = Holds().added(at[1], at[3]).added(at[5], at[7]).added(at[3], at[5])
    assert holds.holds == (Hold(at[1], at[7]),)
    split = holds.released(at[2], at[4])
    assert split.holds == (Hold(at[1], at[2]), Hold(at[4], at[7]))
    assert split.touch(at[1], at[3])
    assert not split.touch(at[2], at[4])
    assert split.released(at[0], at[9]).holds == ()


def test_nothing_is_erased_while_the_holds_cannot_be_read(
    tmp_path: Path, settings: Settings, store: RunningStore
) -> None:
    (tmp_path / "holds.json").write_text("{")
    with pytest.raises(HoldsUnreadable):
        read_holds(settings.catalog.db_path)
    fill_spool(settings.recorder.record_path, 3)
    orders = Erasures(settings.catalog.db_path)
    order = orders.give(START, LAST, START)
    with running_archiver(settings):
        wait_stored(settings, 3)  # uploading goes on
        (tmp_path / "holds.json").unlink()
        wait_until(lambda: orders.result(order.id) is not None, "it goes on once they can be read")
    assert archived(store) == {}


@pytest.mark.usefixtures("synchronised")
def test_archives_expire_after_keep_remote_unless_they_are_on_hold(settings: Settings, store: RunningStore) -> None:
    fill_spool(settings.recorder.record_path, 6)
    with running_archiver(settings):
        wait_stored(settings, 6)
    change_holds(settings.catalog.db_path, lambda holds: holds.added(START, Instant(START + 1)))
    kept_days = replace(settings, archive=replace(settings.archive, keep_remote=1e-9))
    with running_archiver(kept_days):
        wait_until(lambda: len(list(store.folder.rglob("*.zip"))) == 1, "the other archive is deleted")
        wait_until(lambda: sum(row.gone == "lifecycle" for row in rows_by_number(settings).values()) == 3, "told so")
    assert [row.gone for row in rows_by_number(settings).values()] == [None] * 3 + ["lifecycle"] * 3
    assert [i.cause for i in coverage_of(settings, 6).intervals if isinstance(i, Expired)] == ["lifecycle"] * 3
    with contextlib.closing(CatalogReader(settings.catalog.db_path)) as catalog:
        wait_until(lambda: catalog.archive_records.pending_deletion() == [], "deleted")
        assert len(catalog.archive_records.uploaded_ids()) == 1


def test_a_full_disk_does_not_discard_a_plan_of_chunks_on_hold(tmp_path: Path, spool: SpoolOnSmallDisk) -> None:
    node = SteppedArchiver(tmp_path, spool, Archive(when_full="drop_oldest"))
    with contextlib.closing(node.catalog):
        change_holds(node.catalog.path, lambda holds: holds.added(FIRST, LAST))
        node.turn()
        node.end(problem=StoreUnreachable("down"))
        spool.disk.room_for = 0
        for _ in range(3):
            node.turn()
        assert node.event_count("planned") == 1
        assert node.catalog.archive_records.pending_deletion() == []
        assert len(spool.chunks.finished()) == 3


def test_many_chunks_on_hold_do_not_keep_later_chunks_from_being_dropped(tmp_path: Path) -> None:
    spool = SpoolOnSmallDisk(tmp_path / "spool", "porch")
    spool.create()
    spool.disk.room_for = -1
    with contextlib.closing(Catalog(tmp_path / "catalog.db")) as catalog:
        catalog.registration.add_chunks(make_chunk(seq, b"x") for seq in range(1_030))
        change_holds(catalog.path, lambda holds: holds.added(START, Instant(START + 1_000 * SECOND)))
        make_policy(spool, catalog, Archive(when_full="drop_oldest")).apply(START)
        assert [chunk.seq for chunk in catalog.queue.waiting(2_000)] == list(range(1_000))


def test_many_archives_on_hold_do_not_keep_later_archives_from_expiring(
    tmp_path: Path, spool: SpoolOnSmallDisk
) -> None:
    with contextlib.closing(Catalog(tmp_path / "catalog.db")) as catalog:
        held = make_plan([make_chunk(0, b"x")], {}, Destination("bucket", "p/", "porch")).archive(START)
        free = make_plan([make_chunk(1, b"x")], {}, Destination("bucket", "p/", "porch")).archive(START)
        found, expired = [held] * 1_000 + [free], list[str]()
        change_holds(catalog.path, lambda holds: holds.added(START, Instant(START + SECOND)))
        catalog.archive_records.uploaded_before = lambda _, limit: found[:limit]  # type: ignore[assignment, method-assign]
        catalog.deletions.expire_archive = expired.append  # type: ignore[assignment, method-assign]
        assert make_expiry(spool, catalog, keep_days=1.0).expire_next()
        assert expired == [free.archive_id]
