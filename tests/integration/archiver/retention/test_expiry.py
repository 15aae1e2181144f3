"""What expires, on the disk and in the store, and what goes when the disk is full."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.catalog import Catalog, CatalogReader
from edge.catalog.holds import change_holds
from edge.configuration.settings import Archive, Recorder, Settings
from edge.core.errors import SpoolError
from edge.core.instant import FIRST, LAST, Instant
from tests.support.archiver.parts import make_policy
from tests.support.archiver.running import rows_by_number, running_archiver, wait_stored
from tests.support.archiver.stepped import failing, read_only_error
from tests.support.spool.chunks import SECOND, START, fill_spool
from tests.support.spool.small_disk import SpoolOnSmallDisk
from tests.support.store.fault_proxy import refusal, running_proxy
from tests.support.store.s3 import RunningStore
from tests.support.wait import wait_until


def test_local_copies_are_kept_for_keep_local_and_removed_early_when_the_disk_is_low(settings: Settings) -> None:
    fill_spool(settings.recorder.record_path, 3)
    with running_archiver(replace(settings, archive=replace(settings.archive, keep_local=3600.0))):
        wait_stored(settings, 3)
    spool = SpoolOnSmallDisk(settings.recorder.record_path, "porch")
    assert [file.is_retained for file in spool.chunks.finished().values()] == [True] * 3
    with contextlib.closing(Catalog(settings.catalog.db_path)) as catalog:
        policy = make_policy(spool, catalog, Archive(keep_local=10.0), settings.recorder)
        oldest, *others = sorted(spool.chunks.finished())
        policy.release({oldest: START, **dict.fromkeys(others, Instant(START + 5 * SECOND))})
        policy.apply(Instant(START + 9 * SECOND))
        assert len(spool.chunks.finished()) == 3
        policy.apply(Instant(START + 10 * SECOND))
        assert sorted(spool.chunks.finished()) == others
        spool.disk.room_for = 1
        policy.apply(Instant(START + 10 * SECOND))
        assert spool.chunks.finished() == {}
    with running_archiver(settings):  # copies that are no longer wished go too
        wait_until(lambda: not spool.chunks.finished(), "the spool is empty")


@pytest.mark.parametrize(("wish", "left"), [("stop", 30), ("drop_oldest", 10)])
def test_the_oldest_chunks_are_dropped_only_with_drop_oldest(tmp_path: Path, wish: str, left: int) -> None:
    fill_spool(tmp_path / "spool", 30)
    spool = SpoolOnSmallDisk(tmp_path / "spool", "porch")
    spool.disk.room_for = 10
    with contextlib.closing(Catalog(tmp_path / "catalog.db")) as catalog:
        catalog.registration.add_chunks(spool.chunks.manifest(name) for name in spool.chunks.finished())
        change_holds(catalog.path, lambda holds: holds.added(START, Instant(START + SECOND)))
        archive = Archive(when_full=wish)  # type: ignore[arg-type]
        make_policy(spool, catalog, archive, Recorder()).apply(START)
        found = {row.chunk.seq: row.gone for row in catalog.chunks_between(FIRST, LAST, 99)}
    assert len(spool.chunks.finished()) == left
    assert [seq for seq, gone in found.items() if gone == "dropped"] == list(range(1, 1 + 30 - left))


@pytest.mark.usefixtures("synchronised")
def test_with_a_key_that_may_not_delete_expiry_is_left_to_the_buckets_rules(
    settings: Settings, store: RunningStore
) -> None:
    fill_spool(settings.recorder.record_path, 3)
    with running_proxy(settings.s3) as (proxy, through):
        chosen = replace(settings, s3=through, archive=replace(settings.archive, keep_remote=1e-9))
        proxy.fail_always("denied", "DELETE")
        with running_archiver(chosen), contextlib.closing(CatalogReader(settings.catalog.db_path)) as catalog:
            wait_until(
                lambda: sum(row.gone == "lifecycle" for row in rows_by_number(settings).values()) == 3, "it expires"
            )
            wait_until(lambda: catalog.archive_records.pending_deletion() == [], "it is taken for deleted")
    assert len(list(store.folder.rglob("*.zip"))) == 1


@pytest.mark.usefixtures("synchronised")
def test_a_wrong_key_leaves_no_expired_archive_to_the_bucket(settings: Settings, store: RunningStore) -> None:
    fill_spool(settings.recorder.record_path, 3)
    with running_proxy(settings.s3) as (proxy, through):
        chosen = replace(settings, s3=through, archive=replace(settings.archive, keep_remote=1e-9))
        wrong = refusal(403, "SignatureDoesNotMatch")
        proxy.choose = lambda request: wrong if request.method == "DELETE" else None
        with running_archiver(chosen), contextlib.closing(CatalogReader(settings.catalog.db_path)) as catalog:
            wait_until(lambda: proxy.names().count("DELETE") > 1, "it is tried again")
            assert len(catalog.archive_records.pending_deletion()) == 1
            proxy.heal()
            wait_until(lambda: catalog.archive_records.pending_deletion() == [], "it is deleted")
    assert list(store.folder.rglob("*.zip")) == []


def test_no_more_chunks_are_marked_as_dropped_than_could_be_removed(tmp_path: Path) -> None:
    fill_spool(tmp_path / "spool", 50)
    spool = SpoolOnSmallDisk(tmp_path / "spool", "porch")
    spool.disk.room_for = 10
    with contextlib.closing(Catalog(tmp_path / "catalog.db")) as catalog:
        catalog.registration.add_chunks(spool.chunks.manifest(name) for name in spool.chunks.finished())
        policy = make_policy(spool, catalog, Archive(when_full="drop_oldest"))
        with failing(spool.chunks, "remove", read_only_error(), times=40):
            for _ in range(2):
                with pytest.raises(SpoolError):
                    policy.apply(START)
        assert len(catalog.queue.waiting(99)) == 30
        policy.apply(START)
        assert sorted(spool.chunks.finished()) == [chunk.chunk_id for chunk in catalog.queue.waiting(99)]
        assert len(spool.chunks.finished()) == 10
