"""What is in the bucket is a claim: it deletes nothing, neither here nor there, and the spool wins. No broker runs."""

from __future__ import annotations

import contextlib
import hashlib
import io
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.archiver.jobs import FoundArchive
from edge.archiver.plan.plan import ArchivePlan, Destination, make_plan, read_manifest
from edge.archiver.rebuild import Rebuilt, rebuild_in_place, take_archive
from edge.archiver.upload.upload import Uploader
from edge.catalog import Catalog, CatalogReader
from edge.catalog.holds import change_holds
from edge.configuration.settings import Settings, Thresholds
from edge.core.instant import FIRST, LAST, Instant
from edge.core.values import Chunk, DiscardedChunk, GoneCause, SpoolState
from edge.spool.spool import Spool
from edge.store.s3 import S3Store
from tests.support.archiver.running import (
    all_stored,
    archived,
    erase,
    fill,
    rows_by_number,
    running_archiver,
    spooled,
    wait_stored,
)
from tests.support.spool.chunks import BOOT, RATE, START, STREAM, make_chunk, make_stream
from tests.support.store.s3 import RunningStore
from tests.support.store.uploads import md5_of
from tests.support.wait import wait_until

FORGED = b"forged"


def _plan(chunks: Sequence[Chunk], given_up: Sequence[DiscardedChunk] = (), replaces: str | None = None) -> ArchivePlan:
    return make_plan(chunks, {STREAM: make_stream()}, Destination("", "imhearing/", "porch"), given_up, replaces)


def _plant(settings: Settings, plan: ArchivePlan) -> None:
    """As somebody does who may write there."""
    Uploader(S3Store(settings.s3), lambda _: io.BytesIO(FORGED), threading.Event()).upload(plan.key, plan.bundle)


def _forged(seq: int, sha256: str = "f" * 64) -> Chunk:
    """Claims another sound for this chunk, with a SHA-256 that is not that sound's."""
    return replace(make_chunk(seq, FORGED), sha256=sha256, crc32=zlib.crc32(FORGED))


def _rebuild(settings: Settings) -> Rebuilt:
    spool = Spool(settings.recorder.record_path, settings.node.name)
    return rebuild_in_place(S3Store(settings.s3), settings.s3.prefix, spool, settings.catalog.db_path, Instant(9))


def _put_uncommitted(settings: Settings, files: dict[str, bytes], damage: int | None = None) -> str:
    """Stores the archive that the archiver makes of these files, as if it had been killed before the commit."""
    plan = _plan([make_chunk(int(name[-6:]), data) for name, data in files.items()])
    body = bytearray(b"".join(plan.bundle.stream(lambda name: io.BytesIO(files[name.split(".")[0]]))))
    if damage is not None:
        body[damage] ^= 1
    S3Store(settings.s3).put(plan.key, bytes(body), md5_of(bytes(body)))
    return plan.archive_id


def _survey(settings: Settings) -> None:
    """An order to erase what was never recorded makes the archiver look through the bucket."""
    assert erase(settings, 600, 601).state == "done"


def test_what_the_store_damaged_is_stored_again_after_a_rebuild(settings: Settings, store: RunningStore) -> None:
    files = fill(settings, 3)
    _put_uncommitted(settings, files, damage=3_000)
    _rebuild(settings)
    with running_archiver(settings):
        wait_until(all_stored(settings, 3), "all has left the spool")
    assert archived(store) == files


def test_an_archive_found_by_a_rebuild_is_verified_before_its_chunks_leave_the_spool(
    settings: Settings, store: RunningStore
) -> None:
    files = fill(settings, 3)
    archive_id = _put_uncommitted(settings, files)
    _rebuild(settings)
    with contextlib.closing(CatalogReader(settings.catalog.db_path)) as catalog:
        assert catalog.archives([archive_id])[archive_id].sha256 is None
    with running_archiver(settings):
        wait_until(all_stored(settings, 3), "all has left the spool")
    with contextlib.closing(CatalogReader(settings.catalog.db_path)) as catalog:
        [path] = store.folder.rglob("*.zip")
        assert catalog.archives([archive_id])[archive_id].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert len(catalog.archive_records.members(archive_id)) == 3
        assert catalog.archive_records.pending_deletion() == []
    assert archived(store) == files


@pytest.mark.parametrize("cause", ["erased", "lifecycle"])
@pytest.mark.parametrize("way", ["survey", "rebuild"])
def test_an_archive_that_claims_to_replace_another_deletes_nothing(
    settings: Settings, store: RunningStore, way: str, cause: GoneCause
) -> None:
    keeping = replace(settings, archive=replace(settings.archive, keep_local=3600.0))
    files = fill(settings, 3)
    with running_archiver(keeping):
        wait_stored(settings, 3)
    change_holds(settings.catalog.db_path, lambda holds: holds.added(START, Instant(START + 1)))
    [path] = store.folder.rglob("*.zip")
    given_up = [DiscardedChunk(make_chunk(seq, data), cause) for seq, data in enumerate(files.values())]
    _plant(settings, _plan([], given_up, replaces=path.stem))
    if way == "rebuild":
        _rebuild(settings)
    with running_archiver(keeping):
        _survey(settings)
        wait_stored(settings, 3)
    assert path.exists()
    assert spooled(settings) == files.keys()
    assert [row.gone for row in rows_by_number(settings).values()] == [None] * 3


@pytest.mark.parametrize("claim", ["quiet", "erased", "member"])
def test_a_claim_about_waiting_sound_does_not_keep_it_from_being_uploaded(
    settings: Settings, store: RunningStore, claim: str
) -> None:
    files = fill(settings, 3)
    [data] = list(files.values())[:1]
    if claim == "member":
        forged = _plan([_forged(0, hashlib.sha256(data).hexdigest())])
    else:
        forged = _plan([], [DiscardedChunk(make_chunk(0, data), claim)])  # type: ignore[arg-type]
    _plant(settings, forged)
    _rebuild(settings)
    with running_archiver(settings):
        wait_until(all_stored(settings, 3), "all has left the spool")
    assert files.items() <= _stored_by(settings, store).items()


def _stored_by(settings: Settings, store: RunningStore) -> dict[str, bytes]:
    """Every chunk as the catalog says it is stored."""
    found = {}
    with contextlib.closing(CatalogReader(settings.catalog.db_path)) as catalog:
        for row in catalog.chunks_between(FIRST, LAST, 99):
            if row.where is not None:
                key = catalog.archives([row.where.archive])[row.where.archive].key
                pieces = S3Store(store.settings).read(key, row.where.offset, row.where.length)
                found[row.chunk.chunk_id] = b"".join(pieces)
    return found


@pytest.mark.parametrize("claim", ["member", "quiet"])
def test_sound_is_uploaded_although_the_bucket_claimed_it_before_it_was_recorded(
    settings: Settings, store: RunningStore, claim: str
) -> None:
    fill(settings, 1)
    with running_archiver(settings):
        wait_stored(settings, 1)
        claims = [_forged(seq) for seq in (5, 6)]
        _plant(
            settings,
            _plan(claims) if claim == "member" else _plan([], [DiscardedChunk(one, "quiet") for one in claims]),
        )
        _survey(settings)
        files = fill(settings, 2, first=5)
        wait_until(lambda: spooled(settings) == set(), "what was recorded has left the spool")
    assert files.items() <= _stored_by(settings, store).items()


def test_an_archive_with_sound_that_is_not_recorded_yet_is_refused(settings: Settings) -> None:
    fill(settings, 1)
    knot = (RATE, Instant(START + 1_000_000))
    Spool(settings.recorder.record_path, "porch").state.write(
        SpoolState(state="recording", since=START, boot_id=BOOT, ordinal=1, stream_id=STREAM, knot=knot)
    )
    plan = _plan([_forged(9)])
    _plant(settings, plan)
    [fault] = _rebuild(settings).faults
    assert f"{plan.key}: chunks: {STREAM}-000009 is not recorded yet" in fault
    assert list(rows_by_number(settings)) == [0]
    with running_archiver(replace(settings, thresholds=Thresholds())):
        result = erase(settings, 600, 601)
    assert result.reason is not None
    assert plan.key in result.reason
    assert list(rows_by_number(settings)) == [0]


def test_an_archive_of_another_stream_under_a_known_streams_id_is_refused(settings: Settings) -> None:
    fill(settings, 1)
    plan = make_plan([_forged(1)], {STREAM: make_stream(ordinal=7)}, Destination("", "imhearing/", "porch"))
    _plant(settings, plan)
    [fault] = _rebuild(settings).faults
    assert f"{plan.key}: streams: {STREAM} is another one in the spool" in fault


def test_a_record_in_the_bucket_moves_no_sound_that_was_recorded_here(tmp_path: Path) -> None:
    """Else it could move it into the range of the next order, or out of a hold."""
    recorded, claim = make_chunk(0, FORGED, uncertain=True), make_chunk(1, FORGED, uncertain=True)
    moved = make_stream(uncertain=False, shift=3_600_000_000)
    plan = make_plan([claim], {STREAM: moved}, Destination("", "imhearing/", "porch"))
    with contextlib.closing(Catalog(tmp_path / "catalog.db")) as catalog:
        catalog.registration.put_stream(make_stream(uncertain=True))
        catalog.registration.add_chunks([recorded])
        found = FoundArchive(plan.key, plan.bundle.size, read_manifest(plan.manifest), (moved,))
        take_archive(catalog, found, "bucket", Instant(9))
        assert catalog.stream(STREAM) == make_stream(uncertain=True)
        assert [row.chunk.started_at for row in catalog.chunks([recorded.chunk_id])] == [START]


@pytest.mark.parametrize("orders", [1, 2, 3])
def test_erased_sound_stays_erased_when_an_earlier_version_of_its_archive_comes_back(
    settings: Settings, store: RunningStore, orders: int
) -> None:
    fill(settings, 5)
    larger = replace(settings, archive=replace(settings.archive, archive_max_chunks=5))
    versions: dict[Path, bytes] = {}
    with running_archiver(larger):
        wait_stored(settings, 5)
        for number in range(orders):
            versions |= {path: path.read_bytes() for path in store.folder.rglob("*.zip")}
            assert erase(settings, number, number + 1).chunks == 1
    for path, data in versions.items():
        S3Store(settings.s3).put(path.relative_to(store.folder).as_posix(), data, md5_of(data))
    found = _rebuild(settings)
    assert [row.gone for row in rows_by_number(settings).values()] == ["erased"] * orders + [None] * (5 - orders)
    assert len(found.faults) >= orders
    assert all("was erased, as" in fault and "run `imhearing forget`" in fault for fault in found.faults)
    with running_archiver(larger):
        assert erase(settings, 0, orders).state == "done"
    kept = {f"{STREAM}-{number:06d}" for number in range(orders, 5)}
    assert _stored_by(settings, store).keys() == kept
    assert _rebuild(settings).faults == ()
