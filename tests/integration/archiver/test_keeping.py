"""What goes on purpose: erased ranges, quiet chunks, old archives, local copies; and what is held. No broker runs."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.archiver import service
from edge.archiver.intake import Intake
from edge.archiver.jobs import Delete, DeleteClips, JobResult
from edge.archiver.pacing import Pacing
from edge.archiver.plan.plan import Destination, make_plan
from edge.archiver.rebuild import rebuild
from edge.archiver.retention.eraser import Eraser
from edge.archiver.verify import verify
from edge.catalog import Catalog, CatalogChunk, CatalogReader
from edge.catalog.erasures import ErasureResult, Erasures
from edge.catalog.holds import Hold, Holds, HoldsUnreadable, change_holds, read_holds
from edge.configuration.settings import Archive, Mqtt, Node, Recorder, Settings, Thresholds
from edge.configuration.settings import Catalog as CatalogSettings
from edge.core.errors import CatalogBusy
from edge.core.instant import FIRST, LAST, Instant
from edge.core.values import SoundSpan, SpoolState
from edge.spool.spool import Spool
from edge.store.s3 import S3Store
from query_service.answer.node_answers import NodeAnswers
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.protocol import Request
from query_service.queries.values import Expired
from tests.support.archiver import make_eraser, make_policy
from tests.support.chunks import BOOT, START, STREAM, audio_bytes, fill_spool, make_chunk, make_stream, put_chunk
from tests.support.fault_proxy import running_proxy
from tests.support.s3 import RunningStore, running_store
from tests.support.small_disk import SpoolOnSmallDisk
from tests.support.wait import DEADLINE, wait_until

SECOND = 1_000_000
FAST = Pacing(rescan=0.2, report=0.1, first_retry=0.05, longest_link_retry=0.2, longest_retry=0.2, blocked_retry=0.2)


@pytest.fixture
def store() -> Iterator[RunningStore]:
    with running_store() as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path, store: RunningStore) -> Settings:
    return Settings(
        node=Node(name="porch"),
        recorder=Recorder(record_path=tmp_path / "spool"),
        thresholds=Thresholds(records_count=1),
        archive=Archive(archive_max_chunks=3),
        mqtt=Mqtt(host="127.0.0.1", port=1),
        s3=store.settings,
        catalog=CatalogSettings(db_path=tmp_path / "catalog.db"),
    )


@contextlib.contextmanager
def archiving(settings: Settings) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=service.run, args=(settings, stop, FAST), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(DEADLINE)
        assert not thread.is_alive()


def rows(settings: Settings) -> dict[int, CatalogChunk]:
    """By their number in the stream."""
    reader = CatalogReader(settings.catalog.db_path)
    try:
        return {row.chunk.seq: row for row in reader.chunks_between(FIRST, LAST, 1_000)}
    except CatalogBusy:
        return {}
    finally:
        reader.close()


def wait_stored(settings: Settings, count: int) -> None:
    wait_until(lambda: sum(row.where is not None for row in rows(settings).values()) == count, "all is stored")


def erase(settings: Settings, start: int, end: int) -> ErasureResult:
    """The seconds [start, end) of the recording; waits for the end of it."""
    orders = Erasures(settings.catalog.db_path)
    order = orders.give(Instant(START + start * SECOND), Instant(START + end * SECOND), START)
    wait_until(lambda: orders.result(order.id) is not None, "the order is carried out")
    result = orders.result(order.id)
    assert result is not None
    wait_until(lambda: orders.open() == [], "the order is gone")
    return result


def archived(store: RunningStore) -> dict[str, bytes]:
    found = {}
    for path in store.folder.rglob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            found.update({name: archive.read(name) for name in archive.namelist() if name != "manifest.json"})
    return found


def coverage(settings: Settings, seconds: int) -> CoverageAnswer:
    async def ask() -> CoverageAnswer:
        door = NodeAnswers(settings)
        try:
            end = Instant(START + seconds * SECOND)
            answer = await door.query(Request(id="0123456789abcdef", from_=START, to=end, urls=False))
        finally:
            await door.close()
        assert isinstance(answer, CoverageAnswer), answer
        return answer

    return asyncio.run(ask())


def put(store: RunningStore, key: str) -> None:
    data = b"clip"
    S3Store(store.settings).put(key, data, hashlib.md5(data, usedforsecurity=False).hexdigest())


def test_a_range_is_erased_everywhere(tmp_path: Path, settings: Settings, store: RunningStore) -> None:
    files = fill_spool(settings.recorder.record_path, 7)
    clips = [f"imhearing/porch/clips/20260303T{time}Z-0123456789abcdef.flac" for time in ("220002", "230000")]
    with archiving(settings):
        wait_stored(settings, 7)
        for clip in clips:
            put(store, clip)
        before = {path.name for path in store.folder.rglob("*.zip")}
        # half of the second chunk, and the first microsecond of the fifth
        assert erase(settings, 1, 2) == ErasureResult(_last_id(settings), "done", None, 1)
        assert erase(settings, 4, 5).chunks == 1
    assert sorted(archived(store).items()) == sorted(
        (f"{name}.flac", data) for name, data in files.items() if not name.endswith(("001", "004"))
    )
    assert len({path.name for path in store.folder.rglob("*.zip")} & before) == 1
    assert S3Store(settings.s3).open_uploads("imhearing/") == []
    assert [path.name for path in store.folder.rglob("*.flac")] == [clips[1].rsplit("/", 1)[1]]
    found = rows(settings)
    assert {seq: row.gone for seq, row in found.items() if row.gone} == {1: "erased", 4: "erased"}
    assert found[1].chunk.levels is None
    assert found[2].chunk.levels is not None
    answer = coverage(settings, 7)
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
        assert again.holes_between(FIRST, LAST) == catalog.holes_between(FIRST, LAST)


def test_what_waits_is_erased_and_told_by_the_next_archive(
    tmp_path: Path, settings: Settings, store: RunningStore
) -> None:
    fill_spool(settings.recorder.record_path, 3)
    patient = replace(settings, thresholds=Thresholds())
    with archiving(patient):
        wait_until(lambda: len(rows(settings)) == 3, "all is known")
        assert erase(settings, 0, 1).chunks == 1
        assert len(list(settings.recorder.record_path.glob("*.flac"))) == 2
    with archiving(settings):
        wait_stored(settings, 2)
    assert rows(settings)[0].gone == "erased"
    _rebuilt_is_equal(tmp_path, settings)


def test_a_whole_archive_can_be_erased(tmp_path: Path, settings: Settings, store: RunningStore) -> None:
    fill_spool(settings.recorder.record_path, 3)
    with archiving(settings):
        wait_stored(settings, 3)
        assert erase(settings, 0, 60).chunks == 3
    assert archived(store) == {}
    _rebuilt_is_equal(tmp_path, settings)


@pytest.mark.parametrize("request_name", ["PUT", "DELETE", "GET"])
def test_an_erasure_goes_on_after_trouble(
    tmp_path: Path, settings: Settings, store: RunningStore, request_name: str
) -> None:
    files = fill_spool(settings.recorder.record_path, 3)
    orders = Erasures(settings.catalog.db_path)
    with running_proxy(settings.s3) as (proxy, through):
        with archiving(replace(settings, s3=through)):
            wait_stored(settings, 3)
            proxy.fail_always("error", request_name)
            order = orders.give(START, Instant(START + 1), START)
            wait_until(lambda: sum(fault is not None for _, fault in proxy.seen) > 4, "it went wrong a few times")
            assert orders.result(order.id) is None
        proxy.heal()
        with archiving(replace(settings, s3=through)):
            wait_until(lambda: orders.result(order.id) is not None, "it is carried out")
    assert archived(store) == {f"{name}.flac": data for name, data in list(files.items())[1:]}
    assert len(list(store.folder.rglob("*.zip"))) == 1
    _rebuilt_is_equal(tmp_path, settings)


def test_both_archives_in_the_store_count_as_erased(tmp_path: Path, settings: Settings, store: RunningStore) -> None:
    """The old archive could not be deleted yet: a rebuild must not bring the sound back."""
    fill_spool(settings.recorder.record_path, 3)
    with archiving(settings):
        wait_stored(settings, 3)
        [old] = store.folder.rglob("*.zip")
        name, data = old.relative_to(store.folder).as_posix(), old.read_bytes()
        erase(settings, 0, 1)
    S3Store(settings.s3).put(name, data, hashlib.md5(data, usedforsecurity=False).hexdigest())
    with contextlib.closing(Catalog(tmp_path / "again.db")) as again:
        rebuild(S3Store(settings.s3), "imhearing/", Spool(settings.recorder.record_path, "porch"), again, START)
        assert [row.gone for row in again.chunks_between(FIRST, LAST, 9)] == ["erased", None, None]
        assert [archive.key for archive in again.archive_records.pending_deletion()] == [name]


@pytest.fixture
def eraser(settings: Settings) -> Iterator[tuple[Eraser, Catalog, Spool]]:
    """Without a worker: its jobs are seen, and not done."""
    fill_spool(settings.recorder.record_path, 3)
    spool = Spool(settings.recorder.record_path, "porch")
    with contextlib.closing(Catalog(settings.catalog.db_path)) as catalog:
        catalog.registration.add_chunks(spool.chunks.manifest(name) for name in sorted(spool.chunks.finished()))
        destination = Destination("bucket", "imhearing/", "porch")
        yield make_eraser(spool, catalog, destination, FAST, Intake(spool, catalog).rescan), catalog, spool


def test_an_erasure_waits_for_the_chunk_being_written(eraser: tuple[Eraser, Catalog, Spool]) -> None:
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
    job = erasing.next_job()
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
    while (job := renamed.next_job()) is not None:
        assert isinstance(job, DeleteClips)
        keys.append(job.key)
        renamed.on_result(JobResult(job, 0.1))
    assert keys == ["imhearing/garden/clips/", "imhearing/porch/clips/", "imhearing/attic/clips/"]


def test_a_plan_that_holds_an_erased_chunk_is_taken_back(eraser: tuple[Eraser, Catalog, Spool]) -> None:
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


def test_what_is_held_is_not_erased(settings: Settings, store: RunningStore) -> None:
    files = fill_spool(settings.recorder.record_path, 3)
    change_holds(settings.catalog.db_path, lambda holds: holds.added(START, Instant(START + SECOND)))
    with archiving(settings):
        wait_stored(settings, 3)
        result = erase(settings, 0, 3)
    assert (result.state, result.chunks) == ("refused", 0)
    assert archived(store) == {f"{name}.flac": data for name, data in files.items()}


def test_holds_join_and_split() -> None:
    at = [Instant(n) for n in range(10)]
    holds = Holds().added(at[1], at[3]).added(at[5], at[7]).added(at[3], at[5])
    assert holds.holds == (Hold(at[1], at[7]),)
    split = holds.released(at[2], at[4])
    assert split.holds == (Hold(at[1], at[2]), Hold(at[4], at[7]))
    assert split.touch(at[1], at[3])
    assert not split.touch(at[2], at[4])
    assert split.released(at[0], at[9]).holds == ()


def test_while_holds_cannot_be_read_nothing_goes(tmp_path: Path, settings: Settings, store: RunningStore) -> None:
    (tmp_path / "holds.json").write_text("{")
    with pytest.raises(HoldsUnreadable):
        read_holds(settings.catalog.db_path)
    fill_spool(settings.recorder.record_path, 3)
    orders = Erasures(settings.catalog.db_path)
    order = orders.give(START, LAST, START)
    with archiving(settings):
        wait_stored(settings, 3)  # uploading goes on
        (tmp_path / "holds.json").unlink()
        wait_until(lambda: orders.result(order.id) is not None, "it goes on once they can be read")
    assert archived(store) == {}


def test_quiet_chunks_are_discarded_around_sounds(tmp_path: Path, settings: Settings, store: RunningStore) -> None:
    spool = Spool(settings.recorder.record_path, "porch")
    spool.create()
    spool.streams.write(make_stream())
    spool.state.write(SpoolState(state="recording", since=START, boot_id=BOOT, ordinal=1, stream_id=STREAM))
    for seq in range(12):
        data = audio_bytes(seq)
        sounds = (SoundSpan(f"{STREAM}-s{seq * 8000 + 100}", seq * 8000 + 100, 500, -20.0, -24.0),)
        put_chunk(spool, make_chunk(seq, data, sounds=sounds if seq == 5 else ()), data)
    chosen = replace(
        settings,
        recorder=replace(settings.recorder, keep="sounds", pre_roll=1.5, post_roll=2.5, record_period=1.0),
        thresholds=Thresholds(records_count=1, sound_level=-30.0),
    )
    with archiving(chosen):
        wait_until(lambda: len(list(spool.path.glob("*.flac"))) == 0, "all is archived or discarded")
    kept = {seq for seq, row in rows(settings).items() if row.where}
    # the sound lasts from 5.0125 to 5.075 s
    assert kept == {3, 4, 5, 6, 7}
    assert {row.gone for seq, row in rows(settings).items() if seq not in kept} == {"quiet"}
    assert {getattr(i, "cause", None) for i in coverage(settings, 12).intervals} == {None, "quiet"}


def test_without_a_sound_level_nothing_is_quiet(settings: Settings) -> None:
    fill_spool(settings.recorder.record_path, 3)
    with archiving(replace(settings, recorder=replace(settings.recorder, keep="sounds"))):
        wait_stored(settings, 3)


@pytest.mark.parametrize(
    ("sound_level", "kept"),
    [
        (-30.0, set()),
        (-30.25, {2, 3, 4, 5}),  # the fourth alone was that loud; the others are within its rolls
        (-20.0, set()),
        (50.0, {0, 1, 2, 3, 4, 5, 6, 7}),  # dBA, but they were measured uncalibrated
        (0.0, {0, 1, 2, 3, 4, 5, 6, 7}),
    ],
)
def test_what_was_recorded_while_nothing_listened_is_judged_by_its_own_level(
    tmp_path: Path, sound_level: float, kept: set[int]
) -> None:
    spool = Spool(tmp_path / "spool", "porch")
    spool.create()
    recorder = Recorder(record_path=spool.path, keep="sounds", pre_roll=1.5, post_roll=0.5, record_period=1.0)
    chunks = []
    for seq in range(8):
        chunk = make_chunk(seq)
        assert chunk.levels is not None
        chunks.append(replace(chunk, levels=replace(chunk.levels, lafmax=-30.25 if seq == 4 else -40.0)))
    with contextlib.closing(Catalog(tmp_path / "catalog.db")) as catalog:
        catalog.registration.add_chunks(chunks)
        policy = make_policy(spool, catalog, Archive(), recorder, sound_level)
        policy.apply(Instant(START + 3600 * SECOND))
        assert {row.chunk.seq for row in catalog.chunks_between(FIRST, LAST, 99) if row.gone is None} == kept


def test_what_follows_a_loud_chunk_is_kept_though_that_one_was_planned_before(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", "porch")
    spool.create()
    recorder = Recorder(record_path=spool.path, keep="sounds", pre_roll=0, post_roll=0.5, record_period=1.0)
    with contextlib.closing(Catalog(tmp_path / "catalog.db")) as catalog:
        policy = make_policy(spool, catalog, Archive(), recorder, -30.0)
        for seq in range(4):
            chunk = make_chunk(seq)
            assert chunk.levels is not None
            catalog.registration.add_chunks(
                [replace(chunk, levels=replace(chunk.levels, lafmax=-25.0 if seq == 0 else -40.0))]
            )
            policy.apply(chunk.ended_at)
            ready = policy.ready_to_plan(catalog.queue.waiting(1))
            if ready:
                plan = make_plan(ready, {}, Destination("bucket", "imhearing/", "porch"))
                catalog.plans.commit(plan.archive(START), plan.members, plan.manifest)
        assert [row.gone for row in catalog.chunks_between(FIRST, LAST, 9)] == [None, None, "quiet", "quiet"]


def test_what_was_never_measured_is_kept(tmp_path: Path) -> None:
    spool, recorder = Spool(tmp_path / "spool", "porch"), Recorder(keep="sounds")
    spool.create()
    with contextlib.closing(Catalog(tmp_path / "catalog.db")) as catalog:
        catalog.registration.add_chunks([replace(make_chunk(0), levels=None)])
        make_policy(spool, catalog, Archive(), recorder, -30.0).apply(Instant(START + 3600 * SECOND))
        assert [row.gone for row in catalog.chunks_between(FIRST, LAST, 99)] == [None]


def test_local_copies_stay_for_their_time_and_go_when_the_disk_is_low(settings: Settings) -> None:
    fill_spool(settings.recorder.record_path, 3)
    with archiving(replace(settings, archive=replace(settings.archive, keep_local=3600.0))):
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
    with archiving(settings):  # copies that are no longer wished go too
        wait_until(lambda: not spool.chunks.finished(), "the spool is empty")


@pytest.mark.parametrize(("wish", "left"), [("stop", 30), ("drop_oldest", 10)])
def test_only_who_chose_it_loses_the_oldest(tmp_path: Path, wish: str, left: int) -> None:
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


def test_archives_expire_but_held_ones_stay(settings: Settings, store: RunningStore) -> None:
    fill_spool(settings.recorder.record_path, 6)
    with archiving(settings):
        wait_stored(settings, 6)
    change_holds(settings.catalog.db_path, lambda holds: holds.added(START, Instant(START + 1)))
    kept_days = replace(settings, archive=replace(settings.archive, keep_remote=1e-9))
    with archiving(kept_days):
        wait_until(lambda: len(list(store.folder.rglob("*.zip"))) == 1, "the other archive is deleted")
        wait_until(lambda: sum(row.gone == "lifecycle" for row in rows(settings).values()) == 3, "told so")
    assert [row.gone for row in rows(settings).values()] == [None] * 3 + ["lifecycle"] * 3
    assert [i.cause for i in coverage(settings, 6).intervals if isinstance(i, Expired)] == ["lifecycle"] * 3
    with contextlib.closing(CatalogReader(settings.catalog.db_path)) as catalog:
        wait_until(lambda: catalog.archive_records.pending_deletion() == [], "deleted")
        assert len(catalog.archive_records.uploaded_ids()) == 1


def test_a_key_that_may_not_delete_leaves_it_to_the_bucket(settings: Settings, store: RunningStore) -> None:
    fill_spool(settings.recorder.record_path, 3)
    with running_proxy(settings.s3) as (proxy, through):
        chosen = replace(settings, s3=through, archive=replace(settings.archive, keep_remote=1e-9))
        proxy.fail_always("denied", "DELETE")
        with archiving(chosen), contextlib.closing(CatalogReader(settings.catalog.db_path)) as catalog:
            wait_until(lambda: sum(row.gone == "lifecycle" for row in rows(settings).values()) == 3, "it expires")
            wait_until(lambda: catalog.archive_records.pending_deletion() == [], "it is taken for deleted")
    assert len(list(store.folder.rglob("*.zip"))) == 1
