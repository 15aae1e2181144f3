"""`forget` after the catalog was lost: what the store has is found before the order ends. No broker runs."""

from __future__ import annotations

import contextlib
import io
import threading
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.archiver.plan.plan import Destination, make_plan
from edge.archiver.rebuild import rebuild_in_place, take_archive
from edge.archiver.retention import deletions, survey
from edge.archiver.upload.upload import Uploader
from edge.catalog import Catalog
from edge.catalog.erasures import Erasures
from edge.configuration.settings import Settings
from edge.core import wire
from edge.core.instant import Instant
from edge.spool.spool import Spool
from edge.store.s3 import S3Store
from tests.support.archiver.parts import make_deletions
from tests.support.archiver.running import (
    archived,
    erase,
    fill,
    rows_by_number,
    running_archiver,
    spooled,
    stored_chunks,
    wait_stored,
)
from tests.support.spool.chunks import SECOND, START, STREAM, make_chunk, make_stream
from tests.support.store.fault_proxy import running_proxy
from tests.support.store.s3 import RunningStore
from tests.support.store.uploads import md5_of
from tests.support.wait import wait_until

FORGOTTEN = f"{STREAM}-000001"


def _lose_catalog(settings: Settings, how: str) -> None:
    if how == "overwritten":
        settings.catalog.db_path.write_bytes(b"\xde\xad" * 30_000)
    else:
        settings.catalog.db_path.unlink()


def _rebuild(settings: Settings) -> None:
    store, spool = S3Store(settings.s3), Spool(settings.recorder.record_path, settings.node.name)
    rebuild_in_place(store, settings.s3.prefix, spool, settings.catalog.db_path, Instant(9))


def _count_as_expired(settings: Settings) -> None:
    """As if the one archive had expired and been left to the bucket, where it still lies."""
    with contextlib.closing(Catalog(settings.catalog.db_path)) as catalog:
        [archive_id] = catalog.archive_records.uploaded_ids()
        catalog.deletions.expire_archive(archive_id)
        catalog.deletions.mark_deleted(archive_id, Instant(9))


@pytest.mark.parametrize("how", ["overwritten", "deleted"])
def test_forget_erases_what_the_store_has_although_the_catalog_was_lost(
    settings: Settings, store: RunningStore, how: str
) -> None:
    files = fill(settings, 7)
    with running_archiver(settings):
        wait_stored(settings, 7)
    _lose_catalog(settings, how)
    with running_archiver(settings):
        result = erase(settings, 1, 2)
        assert (result.state, result.chunks, result.reason) == ("done", 1, None)
    files.pop(FORGOTTEN)
    assert archived(store) == files
    _rebuild(settings)
    assert {seq for seq, row in rows_by_number(settings).items() if row.gone == "erased"} == {1}


def test_forget_in_a_new_node_with_an_empty_bucket_is_done_at_once(settings: Settings, store: RunningStore) -> None:
    with running_archiver(settings):
        result = erase(settings, 1, 2)
    assert (result.state, result.chunks, result.reason) == ("done", 0, None)


@pytest.mark.parametrize("rebuilt", [False, True], ids=["as found", "after a rebuild"])
def test_forget_erases_both_copies_of_a_chunk_that_is_in_two_archives(
    settings: Settings, store: RunningStore, rebuilt: bool
) -> None:
    """The catalog is lost while local copies are kept: the next archiver uploads them again."""
    keeping = replace(settings, archive=replace(settings.archive, keep_local=3600.0))
    fill(settings, 3)
    with running_archiver(keeping):
        wait_stored(settings, 3)
    settings.catalog.db_path.unlink()
    fill(settings, 1, first=3)  # the new archive begins with the same chunk, and is another one
    regrouped = replace(keeping, archive=replace(keeping.archive, archive_max_chunks=2))
    with running_archiver(regrouped):
        wait_stored(settings, 4)
    assert sorted(stored_chunks(store)).count(FORGOTTEN) == 2
    if rebuilt:
        _rebuild(settings)
    with running_archiver(regrouped):
        assert erase(settings, 1, 2).chunks == 1
    assert FORGOTTEN not in stored_chunks(store)
    assert set(stored_chunks(store)) == {f"{STREAM}-{number:06d}" for number in (0, 2, 3)}
    assert FORGOTTEN not in spooled(settings)
    _rebuild(settings)
    assert {seq for seq, row in rows_by_number(settings).items() if row.gone == "erased"} == {1}


def test_an_object_that_is_no_archive_is_named_and_keeps_no_order_open(settings: Settings, store: RunningStore) -> None:
    fill(settings, 3)
    with running_archiver(settings):
        wait_stored(settings, 3)
    strange, body = f"imhearing/porch/2026/03/03/{STREAM}-000000-01234567.zip", b"not a zip"
    S3Store(settings.s3).put(strange, body, md5_of(body))
    with running_archiver(settings):
        result = erase(settings, 1, 2)
    assert (result.state, result.chunks) == ("done", 1)
    assert result.reason is not None
    assert strange in result.reason


def test_a_bucket_is_listed_in_pages_until_its_end(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (deletions, survey):
        monkeypatch.setattr(module, "LISTED_AT_ONCE", 2)
    fill(settings, 5)
    single = replace(settings, archive=replace(settings.archive, archive_max_chunks=1))
    with running_archiver(single):
        wait_stored(settings, 5)
    settings.catalog.db_path.unlink()
    with running_archiver(single):
        assert erase(settings, 4, 5).chunks == 1
    assert len(rows_by_number(settings)) == 5


@pytest.mark.usefixtures("synchronised")
def test_an_expired_archive_that_was_left_to_the_bucket_is_deleted_by_an_erasure(
    settings: Settings, store: RunningStore
) -> None:
    """The key could not delete when it expired. The order waits while it still cannot."""
    fill(settings, 3)
    with running_archiver(settings):
        wait_stored(settings, 3)
    _count_as_expired(settings)
    with running_proxy(settings.s3) as (proxy, through):
        proxy.fail_always("denied", "DELETE")
        expiring = replace(settings, s3=through, archive=replace(settings.archive, keep_remote=1e-9))
        with running_archiver(expiring):
            orders = Erasures(settings.catalog.db_path)
            order = orders.give(START, Instant(START + SECOND), START)
            wait_until(lambda: proxy.names().count("DELETE") > 1, "it is tried again")
            assert orders.result(order.id) is None
            proxy.heal()
            wait_until(lambda: orders.result(order.id) is not None, "the order is carried out")
    assert stored_chunks(store) == []


def test_an_archive_is_found_with_the_clock_corrections_in_the_store(
    tmp_path: Path, settings: Settings, store: RunningStore
) -> None:
    storage, spool = S3Store(store.settings), Spool(tmp_path / "spool", "porch")
    stream, chunk = make_stream(uncertain=True), make_chunk(0, b"sound", uncertain=True)
    plan = make_plan([chunk], {STREAM: stream}, Destination(storage.bucket, "imhearing/", "porch"))
    uploader = Uploader(storage, lambda _: io.BytesIO(b"sound"), threading.Event())
    uploader.upload(plan.key, plan.bundle)
    moved = replace(stream, uncertain=False, shift=7, knots=((0, Instant(START + 7)),))
    uploader.put_document(f"imhearing/porch/corrections/{STREAM}.json", wire.encode(moved))
    with contextlib.closing(Catalog(settings.catalog.db_path)) as catalog:
        gate = make_deletions(spool, catalog, storage)
        found = gate.read_archive(plan.key, plan.bundle.size, "imhearing/", "porch")
        assert found is not None
        take_archive(catalog, found, storage.bucket, Instant(9))
        row = next(iter(catalog.chunks([chunk.chunk_id])), None)
        assert row is not None
        assert (row.chunk.started_at, row.chunk.uncertain) == (START + 7, False)
        assert catalog.registration.corrections_due() == []


@pytest.mark.usefixtures("synchronised")
def test_an_archive_that_is_kept_after_all_is_rewritten_without_what_was_erased_since(
    settings: Settings, store: RunningStore
) -> None:
    """It had expired and was left to the bucket; nothing expires any more."""
    files = fill(settings, 3)
    with running_archiver(settings):
        wait_stored(settings, 3)
    _count_as_expired(settings)
    with running_archiver(settings):
        assert erase(settings, 1, 2).chunks == 1
    files.pop(FORGOTTEN)
    assert archived(store) == files
    assert [row.gone for _, row in sorted(rows_by_number(settings).items())] == [None, "erased", None]
