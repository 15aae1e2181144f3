"""Erase orders that fail, cannot be read or meet other work. No job is executed."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from edge.archiver.archiver import SettingsChanged
from edge.archiver.intake import Intake
from edge.archiver.jobs import DeleteClips, Job, JobResult, ListArchives, Upload
from edge.archiver.plan.plan import Destination
from edge.catalog import Catalog
from edge.catalog.erasures import Erasures
from edge.configuration.settings import Archive
from edge.core.errors import StoreBlocked, StoreUnreachable
from edge.core.instant import Instant
from edge.spool.chunks import SpoolChunks, SpoolFile
from edge.spool.spool import Spool
from tests.support.archiver.parts import make_eraser, next_change
from tests.support.archiver.stepped import PACE, SteppedArchiver, failing, read_only_error
from tests.support.privileges import NOBODY
from tests.support.spool.chunks import SECOND, START, audio_bytes, fill_spool, make_chunk
from tests.support.spool.small_disk import SpoolOnSmallDisk
from tests.support.wait import wait_until


def test_an_erase_order_ends_only_once_the_sound_is_off_the_disk(node: SteppedArchiver) -> None:
    node.turn()
    node.end(problem=StoreUnreachable("down"))
    order = node.erase(0, 1)
    name = min(node.spool.chunks.finished())
    jobs: list[Job] = []

    def work() -> bool:
        node.turn()
        if node.worker.job is not None:
            jobs.append(node.end())
        return node.orders.result(order) is not None

    with failing(node.spool.chunks, "remove", read_only_error(), times=4):
        wait_until(work, "the order ends")
    assert name not in node.spool.chunks.finished()
    result = node.orders.result(order)
    assert result is not None
    assert (result.state, result.chunks) == ("done", 1)


def test_files_that_an_erase_order_could_not_remove_are_removed_before_it_ends(node: SteppedArchiver) -> None:
    """Also where no rescan comes in between."""
    Intake(node.spool, node.catalog).rescan()
    eraser = make_eraser(node.spool, node.catalog, Destination("", "p/", "porch"), PACE)
    order = node.erase(0, 1)

    def is_done() -> bool:
        assert eraser.next_job() is None
        return node.orders.result(order) is not None

    with failing(node.spool.chunks, "remove", read_only_error(), times=2):
        wait_until(is_done, "the order ends")
    assert len(node.spool.chunks.finished()) == 2


def test_uploads_continue_while_an_erase_order_cannot_be_executed(node: SteppedArchiver) -> None:
    Intake(node.spool, node.catalog).rescan()
    node.erase(0, 1)
    with failing(node.spool.chunks, "remove", read_only_error(), times=1):
        node.turn()
    assert len(node.plan().members) == 2


@pytest.mark.parametrize("damage", ["folder", "text", "other"])
def test_an_unreadable_erase_order_is_logged_once_and_blocks_nothing(
    node: SteppedArchiver, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    good = node.erase(60, 61)
    bad = node.catalog.path.with_name("orders") / f"erase-{'0' * 16}.json"
    if damage == "folder":  # root can read anything but this
        bad.mkdir()
    else:
        bad.write_bytes(b"{" if damage == "text" else bad.with_name(f"erase-{good}.json").read_bytes())
    jobs = []
    for _ in range(4):
        node.turn()
        if node.worker.job is not None:
            jobs.append(node.end())
    assert any(isinstance(job, Upload) for job in jobs)
    assert node.orders.result(good) is not None
    assert sum(bad.name in message for message in caplog.messages) == 1


def test_uploads_continue_while_erase_orders_cannot_be_listed(
    node: SteppedArchiver, caplog: pytest.LogCaptureFixture
) -> None:
    node.catalog.path.with_name("orders").mkdir()
    with failing(Erasures, "open", PermissionError(errno.EACCES, "Permission denied")):
        node.turn()
    assert len(node.plan().members) == 3
    assert sum("orders to erase cannot be read" in message for message in caplog.messages) == 1


@pytest.mark.parametrize(("start", "state"), [(60, "done"), (0, "refused")])
def test_an_erase_order_does_not_wait_for_an_archive_in_another_bucket(
    node: SteppedArchiver, start: int, state: str
) -> None:
    node.turn()
    plan = node.plan()
    node.end()
    node.catalog.deletions.expire_archive(plan.archive_id)
    destination = Destination("another", "p/", "porch")
    eraser = make_eraser(node.spool, node.catalog, destination, PACE)
    order = node.erase(start, start + 1)
    job = next_change(eraser)
    if job is not None:
        assert isinstance(job, DeleteClips)
        eraser.on_result(JobResult(job, 1.0))
        assert eraser.next_job() is None
    result = node.orders.result(order)
    assert result is not None
    assert result.state == state
    assert (result.reason is None) == (state == "done")


class JustFinished(SpoolChunks):
    """The recorder finishes a chunk right after the first look at the finished ones."""

    finish_now: Callable[[], object] = staticmethod(lambda: None)

    def finished(self, known: Iterable[SpoolFile] = ()) -> dict[str, SpoolFile]:
        found = super().finished(known)
        todo, self.finish_now = self.finish_now, lambda: None
        todo()
        return found


def test_a_chunk_finished_during_an_erasure_is_erased_too(tmp_path: Path) -> None:
    fill_spool(tmp_path / "spool", 1)
    spool = Spool(tmp_path / "spool", "porch")
    spool.chunks = chunks = JustFinished(spool.layout, "porch")
    data = audio_bytes(1)
    chunk = make_chunk(1, data)
    part = spool.layout.part_path(chunk.chunk_id, "flac")
    part.write_bytes(data)
    with contextlib.closing(Catalog(tmp_path / "catalog.db")) as catalog:
        intake = Intake(spool, catalog)
        intake.rescan()
        orders = Erasures(catalog.path)
        order = orders.give(START, Instant(START + 2 * SECOND), START)
        eraser = make_eraser(spool, catalog, Destination("", "p/", "porch"), PACE, intake.rescan)
        chunks.finish_now = lambda: spool.chunks.finish(part, chunk)
        while orders.result(order.id) is None:
            assert eraser.next_job() is None
        assert spool.chunks.finished() == {}
        result = orders.result(order.id)
        assert result is not None
        assert result.chunks == 2


def test_an_erasure_says_where_a_copy_may_be_that_cannot_be_reached(node: SteppedArchiver) -> None:
    node.turn()
    plan = node.plan()
    node.catalog.plans.take_back(plan.archive_id)
    eraser = make_eraser(node.spool, node.catalog, Destination("another", "p/", "porch"), PACE)
    order = node.erase(0, 1)
    job = next_change(eraser)
    assert isinstance(job, DeleteClips)
    eraser.on_result(JobResult(job, 1.0))
    assert eraser.next_job() is None
    result = node.orders.result(order)
    assert result is not None
    assert (result.state, result.chunks) == ("done", 1)
    assert result.reason == f"another bucket, bucket, may have a copy: {plan.key}"


def test_settings_are_read_again_while_only_an_erasure_is_blocked(tmp_path: Path, spool: SpoolOnSmallDisk) -> None:
    changed: list[bool] = []
    node = SteppedArchiver(tmp_path, spool, Archive(), settings_changed=lambda: bool(changed))
    with contextlib.closing(node.catalog):
        node.turn()
        node.end()
        node.erase(60, 61)
        node.turn()
        assert isinstance(node.worker.job, ListArchives)
        node.end(problem=StoreBlocked("the key is wrong", "credentials"))
        changed.append(True)
        with pytest.raises(SettingsChanged):
            node.run_until(lambda: False, "the settings are read again")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
def test_an_order_to_erase_that_another_user_gave_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    orders = Erasures(tmp_path / "catalog.db")
    order = orders.give(START, Instant(START + SECOND), START)
    file = tmp_path / "orders" / f"erase-{order.id}.json"
    os.chown(file, NOBODY, NOBODY)
    assert orders.open() == []
    assert "is not from this node's owner" in caplog.text
    os.chown(file, 0, 0)
    assert orders.open() == [order]
