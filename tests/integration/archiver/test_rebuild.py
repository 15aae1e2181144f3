"""A catalog rebuilt from store and spool equals the lost one; verify reports what differs from the store."""

from __future__ import annotations

import hashlib
import io
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.archiver.intake import Intake
from edge.archiver.plan.plan import ArchiveLimits, ArchivePlan, Destination, batches, make_plan
from edge.archiver.rebuild import Rebuilt, rebuild
from edge.archiver.upload.upload import Uploader
from edge.archiver.verify import verify
from edge.catalog import Catalog, CatalogChunk
from edge.catalog.values import SoundRange, SoundRun
from edge.core import wire
from edge.core.instant import FIRST, LAST, Instant
from edge.core.values import DiscardedChunk, Hole, SoundSpan
from edge.spool.spool import Spool
from edge.store.s3 import S3Store
from tests.support.archiver.parts import make_cleanup, make_deletions
from tests.support.spool.chunks import START, audio_bytes, make_chunk, make_stream, put_chunk
from tests.support.store.s3 import RunningStore

PREFIX, NODE = "imhearing/", "porch"
STREAMS = ("20260303T220000Z-abcd", "20260303T221000Z-efgh")
HOUR = 3_600_000_000


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Two streams of twelve chunks with a gap between them, sounds in some."""
    spool = Spool(tmp_path / "spool", NODE)
    spool.create()
    for ordinal, stream_id in enumerate(STREAMS):
        start = Instant(START + ordinal * 600_000_000)
        before = (Hole("crash", Instant(start - 588_000_000), start),) if ordinal else ()
        spool.streams.write(make_stream(stream_id, ordinal=ordinal, before=before, knots=((0, start),)))
        for seq in range(12):
            sounds = (SoundSpan(f"{stream_id}-s{seq * 8000 + 100}", seq * 8000 + 100, 500, -20.0, -24.0),)
            data = audio_bytes(seq)
            chunk = make_chunk(
                seq,
                data,
                stream_id=stream_id,
                start=start,
                before=before if seq == 0 else (),
                sounds=sounds if seq % 5 == 2 else (),
            )
            put_chunk(spool, chunk, data)
    return spool


@pytest.fixture
def catalog(tmp_path: Path, spool: Spool, store: RunningStore) -> Iterator[Catalog]:
    """Twenty of the chunks are archived, four wait."""
    catalog, storage = Catalog(tmp_path / "catalog.db"), S3Store(store.settings)
    for stream_id in STREAMS:
        catalog.registration.put_stream(spool.streams.read(stream_id))
    catalog.registration.add_chunks(spool.chunks.manifest(chunk_id) for chunk_id in spool.chunks.finished())
    uploader = Uploader(storage, lambda name: (spool.path / name).open("rb"), threading.Event())
    for batch in batches(catalog.queue.waiting(20), ArchiveLimits(10**9, 6)):
        plan = make_plan(batch, catalog.streams(STREAMS), Destination(storage.bucket, PREFIX, NODE))
        catalog.plans.commit(plan.archive(Instant(1)), plan.members, plan.manifest)
        catalog.plans.mark_uploaded(plan.archive_id, uploader.upload(plan.key, plan.bundle), Instant(2))
        make_deletions(spool, catalog).remove_chunks(chunk.chunk_id for chunk in batch)
    yield catalog
    catalog.close()


def _again(tmp_path: Path, spool: Spool, store: RunningStore) -> tuple[Catalog, Rebuilt]:
    catalog = Catalog(tmp_path / "rebuilt.db")
    return catalog, rebuild(S3Store(store.settings), PREFIX, spool, catalog, Instant(9))


def _rows(catalog: Catalog) -> list[CatalogChunk]:
    return catalog.chunks_between(FIRST, LAST, 10_000)


def test_a_catalog_rebuilt_from_store_and_spool_equals_the_lost_one(
    tmp_path: Path, spool: Spool, store: RunningStore, catalog: Catalog
) -> None:
    again, found = _again(tmp_path, spool, store)
    assert found == Rebuilt(4, 20, 4, ())
    assert _rows(again) == _rows(catalog)
    assert again.streams(STREAMS) == catalog.streams(STREAMS)
    assert again.hole_run(FIRST, LAST, 99).holes == catalog.hole_run(FIRST, LAST, 99).holes != []
    everything = SoundRange(FIRST, LAST)
    assert again.sound_run(everything, None, 99) == catalog.sound_run(everything, None, 99) != SoundRun([])
    assert again.queue.waiting(99) == catalog.queue.waiting(99)
    assert again.archive_records.uploaded_ids() == catalog.archive_records.uploaded_ids()
    for archive_id, archive in catalog.archives(catalog.archive_records.uploaded_ids()).items():
        rebuilt = again.archives([archive_id])[archive_id]
        unknown = {"sha256": None, "planned_at": Instant(9), "uploaded_at": Instant(9)}
        assert rebuilt == replace(archive, **unknown)
    dice = random.Random(5)
    for _ in range(100):
        start = Instant(dice.randrange(START - HOUR, START + HOUR))
        end = Instant(start + dice.randrange(1, HOUR))
        assert again.chunks_between(start, end, 99) == catalog.chunks_between(start, end, 99)
        assert again.hole_run(start, end, 99).holes == catalog.hole_run(start, end, 99).holes
    again.close()


def test_rebuilding_twice_changes_nothing(tmp_path: Path, spool: Spool, store: RunningStore, catalog: Catalog) -> None:
    before = _rows(catalog)
    rebuild(S3Store(store.settings), PREFIX, spool, catalog, Instant(9))
    assert _rows(catalog) == before


def test_a_rebuild_applies_the_clock_corrections_in_the_store(
    tmp_path: Path, spool: Spool, store: RunningStore, catalog: Catalog
) -> None:
    for stream_id in STREAMS:
        spool.streams.remove(stream_id)
    corrected = make_stream(STREAMS[0], ordinal=0, shift=7, knots=((0, Instant(START + 7)), (96_000, LAST)))
    body = wire.encode(corrected)
    uploader = Uploader(S3Store(store.settings), lambda name: (spool.path / name).open("rb"), threading.Event())
    uploader.put_document(f"{PREFIX}{NODE}/corrections/{STREAMS[0]}.json", body)
    again, _ = _again(tmp_path, spool, store)
    assert again.stream(STREAMS[0]) == corrected
    assert again.registration.corrections_due() == []
    again.close()


def test_a_rebuild_applies_a_clock_set_by_hand_after_the_last_archive(
    tmp_path: Path, spool: Spool, store: RunningStore, catalog: Catalog
) -> None:
    """The correction is no more certain than what the archive tells, and its stream had ended by then: it is later."""
    start = Instant(START + HOUR)
    stream_id = "20260303T230000Z-unce"
    stream = make_stream(stream_id, ordinal=2, uncertain=True, knots=((0, start), (8_000, Instant(start + 1_000_000))))
    chunk = replace(make_chunk(0, b"sound", stream_id=stream_id, start=start), uncertain=True)
    catalog.registration.put_stream(stream)
    catalog.registration.add_chunks([chunk])
    plan = make_plan([chunk], {stream_id: stream}, Destination(store.settings.s3_bucket_name, PREFIX, NODE))
    catalog.plans.commit(plan.archive(Instant(1)), plan.members, plan.manifest)
    uploader = Uploader(S3Store(store.settings), lambda _: io.BytesIO(b"sound"), threading.Event())
    catalog.plans.mark_uploaded(plan.archive_id, uploader.upload(plan.key, plan.bundle), Instant(2))
    moved = replace(
        stream, shift=7_000_000, knots=tuple((frame, Instant(at + 7_000_000)) for frame, at in stream.knots)
    )
    assert catalog.registration.put_stream(moved)
    assert catalog.registration.corrections_due() == [stream_id]
    uploader.put_document(f"{PREFIX}{NODE}/corrections/{stream_id}.json", wire.encode(moved))
    again, _ = _again(tmp_path, spool, store)
    assert again.stream(stream_id) == moved
    assert _rows(again) == _rows(catalog)
    again.close()


def _planted(store: RunningStore, plan: ArchivePlan, key: str) -> None:
    """As somebody does who may write there."""
    Uploader(S3Store(store.settings), lambda _: io.BytesIO(b"forged"), threading.Event()).upload(key, plan.bundle)


def _forged(replaces: str, node: str = NODE) -> ArchivePlan:
    """An archive of one chunk that says it took the place of another archive."""
    chunk = make_chunk(0, b"forged", stream_id="20260303T235000Z-hack", node=node)
    stream = make_stream("20260303T235000Z-hack", ordinal=9, node=node)
    return make_plan([chunk], {stream.stream_id: stream}, Destination("", PREFIX, node), replaces=replaces)


def test_an_archive_outside_the_archive_folder_replaces_no_other(
    tmp_path: Path, spool: Spool, store: RunningStore, catalog: Catalog
) -> None:
    """The query service's key may write clips, and no archives."""
    plan = _forged(catalog.archive_records.uploaded_ids()[0])
    _planted(store, plan, f"{PREFIX}{NODE}/clips/{plan.archive_id}.zip")
    again, found = _again(tmp_path, spool, store)
    assert (found.archives, len(found.faults)) == (4, 0)
    assert again.archive_records.pending_deletion() == []
    assert _rows(again) == _rows(catalog)
    again.close()


def test_an_archive_is_not_replaced_by_one_that_lacks_some_of_its_chunks(
    tmp_path: Path, spool: Spool, store: RunningStore, catalog: Catalog
) -> None:
    for archive_id in catalog.archive_records.uploaded_ids():
        plan = _forged(archive_id)
        _planted(store, plan, plan.key)
    again, _ = _again(tmp_path, spool, store)
    assert again.archive_records.pending_deletion() == []
    assert {row.chunk.chunk_id for row in _rows(again)} >= {row.chunk.chunk_id for row in _rows(catalog)}
    again.close()


def test_a_chunk_in_the_spool_that_an_archive_lists_as_erased_is_kept(
    tmp_path: Path, spool: Spool, store: RunningStore, catalog: Catalog
) -> None:
    mine, *others = catalog.queue.waiting(99)
    told = [DiscardedChunk(replace(mine, sha256="f" * 64), "erased"), DiscardedChunk(others[0], "erased")]
    plan = make_plan([], catalog.streams(STREAMS), Destination("", PREFIX, NODE), told)
    _planted(store, plan, plan.key)
    again, _ = _again(tmp_path, spool, store)
    intake = Intake(spool, again)
    intake.rescan()
    make_cleanup(spool, again).run(intake.registered)
    assert all(spool.layout.audio_path(chunk).exists() for chunk in (mine, *others))
    assert again.queue.waiting(99) == [mine, *others]
    again.close()


def test_a_rebuild_rejects_an_archive_of_another_node(
    tmp_path: Path, spool: Spool, store: RunningStore, catalog: Catalog
) -> None:
    plan = _forged(catalog.archive_records.uploaded_ids()[0], node="shed")
    _planted(store, plan, plan.key.replace("/shed/", f"/{NODE}/"))
    again, found = _again(tmp_path, spool, store)
    assert len(found.faults) == 1
    assert _rows(again) == _rows(catalog)
    again.close()


# renamed


def _uploaded(store: RunningStore, catalog: Catalog, plan: ArchivePlan, spool: Spool) -> None:
    """Uploads the archive and commits it, as the archiver does."""
    uploader = Uploader(S3Store(store.settings), lambda name: (spool.path / name).open("rb"), threading.Event())
    catalog.plans.commit(plan.archive(Instant(1)), plan.members, plan.manifest)
    catalog.plans.mark_uploaded(plan.archive_id, uploader.upload(plan.key, plan.bundle), Instant(2))
    make_deletions(spool, catalog).remove_chunks(member.chunk.chunk_id for member in plan.members)


def test_chunks_recorded_under_a_former_name_come_back_from_the_nodes_own_archives(
    tmp_path: Path, spool: Spool, store: RunningStore, catalog: Catalog
) -> None:
    """They waited in the spool when the node was renamed. It need not know the name: it uploaded them itself."""
    destination = Destination(store.settings.s3_bucket_name, PREFIX, "garden")
    last = catalog.queue.waiting(99)
    _uploaded(store, catalog, make_plan(last, catalog.streams(STREAMS), destination), spool)
    renamed = Spool(spool.path, "garden")
    for stream_id in STREAMS:
        spool.streams.remove(stream_id)
    again, found = _again(tmp_path, renamed, store)
    assert found == Rebuilt(1, len(last), 0, ())
    assert [row.chunk for row in _rows(again)] == [row.chunk for row in _rows(catalog)][-len(last) :]
    again.close()


def test_a_renamed_node_takes_back_what_it_uploaded_under_its_former_name(
    tmp_path: Path, spool: Spool, store: RunningStore, catalog: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    """Twenty chunks are archived as `porch`, two as `garden`, and two of `porch` wait in the spool."""
    moved = make_plan(
        catalog.queue.waiting(2), catalog.streams(STREAMS), Destination(store.settings.s3_bucket_name, PREFIX, "garden")
    )
    _uploaded(store, catalog, moved, spool)
    renamed = Spool(spool.path, "garden", [NODE])
    again, found = _again(tmp_path, renamed, store)
    assert found == Rebuilt(5, 22, 2, ())
    assert _rows(again) == _rows(catalog)
    assert again.streams(STREAMS) == catalog.streams(STREAMS)
    assert again.hole_run(FIRST, LAST, 99).holes == catalog.hole_run(FIRST, LAST, 99).holes != []
    assert _findings(renamed, store, again, deep=True) == []
    assert "move it out" not in caplog.text
    again.close()


def test_verify_finds_the_archives_of_a_former_name_without_being_told(
    spool: Spool, store: RunningStore, catalog: Catalog
) -> None:
    findings = _findings(Spool(spool.path, "garden"), store, catalog)
    assert [line for line in findings if "missing" in line] == []


def test_a_rebuild_reports_foreign_objects_and_leaves_them(
    tmp_path: Path, spool: Spool, store: RunningStore, catalog: Catalog
) -> None:
    first = next((store.folder / PREFIX / NODE).rglob("*.zip"))
    _put(store, "strange.zip", b"not a zip")
    _put(store, "renamed.zip", first.read_bytes())
    _put(store, "readme.txt", b"hello")
    again, found = _again(tmp_path, spool, store)
    assert (found.archives, len(found.faults)) == (4, 2)
    assert _rows(again) == _rows(catalog)
    again.close()


def _put(store: RunningStore, name: str, data: bytes) -> None:
    """Through the server, which keeps listings for a while."""
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    S3Store(store.settings).put(f"{PREFIX}{NODE}/{name}", data, md5, overwrite=True)


def _findings(spool: Spool, store: RunningStore, catalog: Catalog, *, deep: bool = False) -> list[str]:
    return list(verify(S3Store(store.settings), PREFIX, spool, catalog, deep=deep))


def test_verify_finds_nothing_on_an_intact_node(spool: Spool, store: RunningStore, catalog: Catalog) -> None:
    assert _findings(spool, store, catalog, deep=True) == []


def test_verify_reports_every_kind_of_difference(spool: Spool, store: RunningStore, catalog: Catalog) -> None:
    folder = store.folder / PREFIX / NODE
    gone, short, changed, *_ = sorted(folder.rglob("*.zip"))
    data = bytearray(changed.read_bytes())
    data[1_000] ^= 1
    _put(store, str(changed.relative_to(folder)), bytes(data))
    _put(store, str(short.relative_to(folder)), short.read_bytes()[:-1])
    _put(store, f"2026/03/03/{STREAMS[0]}-000099-0123abcd.zip", b"x")
    S3Store(store.settings).delete(f"{PREFIX}{NODE}/{gone.relative_to(folder)}")
    lost = catalog.queue.waiting(1)[0]
    spool.layout.audio_path(lost).unlink()
    other = audio_bytes(50)
    put_chunk(spool, make_chunk(50, other), other)
    found = "\n".join(_findings(spool, store, catalog, deep=True))
    assert f"{gone.name}: is missing in the store" in found
    assert f"{short.name}: has {short.stat().st_size} bytes" in found
    assert f"{changed.name}: has different bytes from what was uploaded" in found
    assert f"{changed.name}: 20260303T" in found
    assert "-0123abcd.zip: is not in the catalog" in found
    assert f"{lost.chunk_id}: is neither in the store nor in the spool" in found
    assert "-000050.flac: is not in the catalog" in found
    assert len(found.splitlines()) == 7
    assert len(_findings(spool, store, catalog)) == 5
