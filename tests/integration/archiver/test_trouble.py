"""What goes wrong once, or stays wrong in one file, stops nothing else. Neither broker nor store: no job is done."""

from __future__ import annotations

import contextlib
import errno
import queue
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from edge.archiver.intake import Intake
from edge.archiver.jobs import Delete, DeleteClips, Job, JobResult, Upload
from edge.archiver.pacing import Pacing
from edge.archiver.plan.plan import ArchivePlan, Destination, make_plan
from edge.archiver.service import assemble
from edge.catalog import Catalog
from edge.catalog.erasures import Erasures
from edge.catalog.holds import change_holds
from edge.configuration.settings import S3, Archive, Settings, Thresholds
from edge.core.errors import CatalogBusy, ChunkDamaged, ImHearingError, SpoolError, StoreUnreachable
from edge.core.instant import FIRST, LAST, Instant
from edge.core.systemd import Heartbeat
from edge.core.values import Hole
from edge.messaging.events import ArchiveChanged, ArchiverState, Event, Progress
from edge.spool.chunks import SpoolChunks, SpoolFile
from edge.spool.spool import Spool
from tests.support.archiver import make_cleanup, make_deletions, make_eraser, make_policy, make_retention
from tests.support.chunks import START, audio_bytes, fill_spool, make_chunk, make_stream
from tests.support.kernel import TurnedClock
from tests.support.small_disk import SpoolOnSmallDisk
from tests.support.wait import wait_until

SECOND = 1_000_000
OTHER = "20250101T000000Z-bbbb"
HASH = "0" * 64
PACE = Pacing(rescan=0.0, report=0.0, first_retry=0.01, longest_link_retry=0.01, longest_retry=0.01)


class IdleWorker:
    """Takes jobs and does none."""

    def __init__(self) -> None:
        self.job: Job | None = None

    def submit(self, job: Job) -> None:
        self.job = job

    def is_stuck(self, seconds: float) -> bool:
        return False

    def uploading(self) -> str | None:
        return self.job.plan.archive_id if isinstance(self.job, Upload) else None

    def progress(self) -> Progress | None:
        return Progress(self.job.plan.archive_id, 0, 1, 0.0) if isinstance(self.job, Upload) else None


class Node:
    """An archiver whose turns a test takes, on a real spool and catalog; `restarted` gives the next process's."""

    def __init__(self, folder: Path, spool: Spool, archive: Archive, pacing: Pacing = PACE) -> None:
        self.spool, self.folder, self.archive = spool, folder, archive
        self.catalog = Catalog(folder / "catalog.db")
        self.catalog.open()
        self.worker, self.events, self.clock = IdleWorker(), list[Event](), TurnedClock()
        self.inbox: queue.Queue[Callable[[], None]] = queue.Queue()
        self.orders = Erasures(self.catalog.path)
        settings = Settings(
            archive=replace(archive, archive_max_chunks=3),
            thresholds=Thresholds(records_count=1),
            s3=S3(s3_bucket_name="bucket", prefix="p/"),
        )
        self.archiver = assemble(
            settings,
            spool,
            self.catalog,
            self.worker,  # type: ignore[arg-type]
            make_deletions(spool, self.catalog),
            self.events.append,
            pacing,
            self.inbox,
            Heartbeat({}),
            self.clock,
        )

    def turn(self) -> None:
        """As `run` takes it, in which what goes wrong is logged; fails where it takes for ever."""
        self.clock.pass_time(0.02)
        with _deadline(self.catalog):
            self.archiver.request_rescan()
            with contextlib.suppress(ImHearingError):
                self.archiver.turn()

    def end(self, sha256: str | None = HASH, problem: ImHearingError | None = None) -> Job:
        """The worker ends its job."""
        job = self.worker.job
        assert job is not None
        with contextlib.suppress(ImHearingError):
            self.archiver.on_job_result(
                JobResult(job, 1.0, sha256 if isinstance(job, Upload) and not problem else None, problem)
            )
        return job

    def turns_until(self, condition: Callable[[], object], what: str) -> None:
        def holds() -> bool:
            self.turn()
            return bool(condition())

        wait_until(holds, what)

    def told(self, kind: str) -> int:
        return sum(isinstance(event, ArchiveChanged) and event.event == kind for event in self.events)

    def erase(self, start: int, end: int) -> str:
        """Orders to erase these seconds."""
        return self.orders.give(Instant(START + start * SECOND), Instant(START + end * SECOND), START).id

    def plan(self) -> ArchivePlan:
        assert isinstance(self.worker.job, Upload)
        return self.worker.job.plan

    def restarted(self) -> Node:
        self.catalog.close()
        return Node(self.folder, self.spool, self.archive)


@contextlib.contextmanager
def _deadline(catalog: Catalog) -> Iterator[None]:
    """A planner that goes round and round asks for the open plans each time."""
    asked, real = 0, catalog.archive_records.open_plans

    def counted() -> list[Any]:
        nonlocal asked
        asked += 1
        assert asked < 100, "it goes round and round"
        return real()

    catalog.archive_records.open_plans = counted  # type: ignore[method-assign]
    try:
        yield
    finally:
        catalog.archive_records.open_plans = real  # type: ignore[method-assign]


@contextlib.contextmanager
def failing(owner: object, name: str, problem: Exception, times: int = 1) -> Iterator[None]:
    """The next `times` calls of a method raise; then it works again."""
    real, left = getattr(owner, name), times

    def wrapped(*args: Any, **options: Any) -> Any:
        nonlocal left
        if left:
            left -= 1
            raise problem
        return real(*args, **options)

    setattr(owner, name, wrapped)
    yield
    assert left == 0, "it was never called"
    setattr(owner, name, real)


def read_only() -> OSError:
    return OSError(errno.EROFS, "Read-only file system")


@pytest.fixture
def spool(tmp_path: Path) -> SpoolOnSmallDisk:
    fill_spool(tmp_path / "spool", 3)
    return SpoolOnSmallDisk(tmp_path / "spool", "porch")


@pytest.fixture
def node(tmp_path: Path, spool: SpoolOnSmallDisk) -> Iterator[Node]:
    node = Node(tmp_path, spool, Archive())
    yield node
    node.catalog.close()


# planning


def test_a_plan_that_was_taken_back_can_be_made_again(node: Node) -> None:
    """The eraser took it back and was killed before it marked the chunk as erased."""
    node.turn()
    plan = node.plan()
    node.catalog.plans.take_back(plan.archive_id)
    again = node.restarted()
    for _ in range(4):
        again.turn()
        if isinstance(again.worker.job, Upload):
            break
        again.end()
    assert again.plan().archive_id == plan.archive_id
    assert again.told("planned") <= 1
    again.end()
    assert sorted(again.catalog.plans.uploaded_chunks(plan_ids(plan))) == plan_ids(plan)
    assert again.catalog.archive_records.pending_deletion() == []


def plan_ids(plan: ArchivePlan) -> list[str]:
    return [member.chunk.chunk_id for member in plan.members]


def test_whatever_takes_a_plan_back_what_the_store_may_have_of_it_is_deleted(node: Node) -> None:
    node.turn()
    plan = node.plan()
    damaged = plan_ids(plan)[1]
    job = node.worker.job
    assert job is not None
    problem = ChunkDamaged("cannot be read", damaged)
    node.archiver.on_job_result(JobResult(job, 1.0, None, problem, {damaged: str(problem)}))
    node.turns_until(lambda: isinstance(node.worker.job, Delete), "its deletion")
    assert node.end().key == plan.key
    node.turns_until(lambda: isinstance(node.worker.job, Upload), "the next upload")
    assert plan_ids(node.plan()) == [one for one in plan_ids(plan) if one != damaged]


def test_chunks_set_aside_while_the_spool_was_unreadable_are_planned_again(node: Node) -> None:
    node.turn()
    plan, job = node.plan(), node.worker.job
    assert job is not None
    with failing(node.spool.chunks, "finished", SpoolError("cannot be listed")):
        problem = ChunkDamaged("cannot be read", plan_ids(plan)[0])
        node.archiver.on_job_result(JobResult(job, 1.0, None, problem, dict.fromkeys(plan_ids(plan), "cannot be read")))
        node.turn()
    assert node.catalog.queue.aside().keys() == set(plan_ids(plan))

    def is_planned() -> bool:
        if isinstance(node.worker.job, Delete):
            node.end()
        return isinstance(node.worker.job, Upload)

    node.turns_until(is_planned, "the next upload")
    assert plan_ids(node.plan()) == plan_ids(plan)


def test_a_deletion_under_way_does_not_take_the_plan_that_was_made_again(node: Node) -> None:
    node.turn()
    plan = node.plan()
    node.end(problem=StoreUnreachable("down"))
    node.catalog.plans.take_back(plan.archive_id)
    again = node.restarted()
    doomed = again.catalog.archive_records.pending_deletion()[0]
    again.worker.submit(Delete(doomed))
    again.turn()  # plans, while the worker deletes
    again.end()
    again.turns_until(lambda: again.worker.job is not None, "the next job")
    assert again.plan().key == plan.key
    again.end()
    assert sorted(again.catalog.plans.uploaded_chunks(plan_ids(plan))) == plan_ids(plan)


def test_a_plan_of_held_chunks_alone_is_not_taken_back(tmp_path: Path, spool: SpoolOnSmallDisk) -> None:
    node = Node(tmp_path, spool, Archive(when_full="drop_oldest"))
    with contextlib.closing(node.catalog):
        change_holds(node.catalog.path, lambda holds: holds.added(FIRST, LAST))
        node.turn()
        node.end(problem=StoreUnreachable("down"))
        spool.disk.room_for = 0
        for _ in range(3):
            node.turn()
        assert node.told("planned") == 1
        assert node.catalog.archive_records.pending_deletion() == []
        assert len(spool.chunks.finished()) == 3


# one bad file


def test_a_damaged_stream_record_stops_nothing(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    record = node.spool.layout.stream_path(OTHER)
    record.write_bytes(b"")
    for _ in range(3):
        node.turn()
    assert len(node.plan().members) == 3
    assert record.exists()
    assert sum(record.name in message for message in caplog.messages) == 1


def test_a_damaged_state_stops_nothing(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    node.spool.streams.write(make_stream(OTHER))
    (node.spool.path / "state.json").write_bytes(b"{")
    for _ in range(3):
        node.turn()
    assert len(node.plan().members) == 3
    assert node.spool.layout.stream_path(OTHER).exists()
    assert sum("state.json" in message for message in caplog.messages) == 1


@pytest.mark.parametrize(("inside", "owner"), [(OTHER, "attic"), ("20250101T000000Z-cccc", "porch")])
def test_a_stream_record_that_is_not_ours_is_left_alone(node: Node, inside: str, owner: str) -> None:
    hole = Hole("power", Instant(START - 5 * SECOND), START)
    record = node.spool.layout.stream_path(OTHER)
    node.spool.streams.write(make_stream(inside, node=owner, before=(hole,)))
    node.spool.layout.stream_path(inside).replace(record)
    for _ in range(2):
        node.turn()
    assert node.catalog.holes_between(FIRST, LAST) == []
    assert node.catalog.stream(inside) is None
    assert record.exists()
    with pytest.raises(SpoolError, match="move it out"):
        node.spool.streams.read(OTHER)


def test_one_file_that_cannot_be_removed_holds_up_no_other(node: Node) -> None:
    ids = sorted(node.spool.chunks.finished())
    with failing(node.spool.chunks, "remove", read_only()), pytest.raises(SpoolError):
        make_deletions(node.spool, node.catalog).remove_chunks(ids)
    assert sorted(node.spool.chunks.finished()) == ids[:1]


def test_forged_events_are_forgotten(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    intake = Intake(node.spool, node.catalog)
    for number in range(50):
        assert not intake.register(f"20260101T000000Z-aaaa-{number:06d}")
    assert caplog.messages == []


# what goes wrong once


def test_a_chunk_that_could_not_be_registered_is_tried_again(node: Node) -> None:
    intake = Intake(node.spool, node.catalog)
    name = min(node.spool.chunks.finished())
    with failing(node.catalog.registration, "add_chunks", CatalogBusy("busy")), pytest.raises(CatalogBusy):
        intake.register(name)
    assert intake.rescan() == 3
    assert name in node.catalog.known([name])


def test_what_could_not_be_removed_after_its_upload_goes_later(node: Node) -> None:
    node.turn()
    with failing(node.spool.chunks, "remove", read_only(), times=3):
        node.end()
    assert node.told("uploaded") == 1
    assert len(node.spool.chunks.finished()) == 3
    node.turn()
    assert node.spool.chunks.finished() == {}
    assert node.told("uploaded") == 1


def test_copies_that_are_kept_are_read_once(tmp_path: Path, spool: SpoolOnSmallDisk) -> None:
    node = Node(tmp_path, spool, Archive(keep_local=1e6))
    with contextlib.closing(node.catalog):
        node.turn()
        node.end()
        node.turn()
        spool.chunks.read = 0
        node.turn()
        assert spool.chunks.read == 0
        assert len(spool.chunks.finished()) == 3


@pytest.mark.parametrize("wish", ["quiet", "dropped"])
def test_what_was_discarded_and_could_not_be_removed_goes_later(node: Node, wish: str) -> None:
    intake, cleanup = Intake(node.spool, node.catalog), make_cleanup(node.spool, node.catalog)
    intake.rescan()
    names = sorted(node.spool.chunks.finished())[:2]
    node.catalog.deletions.mark_gone(names, wish)  # type: ignore[arg-type]
    with failing(node.spool.chunks, "remove", read_only(), times=2):
        cleanup.run(intake.registered)
    assert len(node.spool.chunks.finished()) == 3
    cleanup.run(intake.registered)
    assert len(node.spool.chunks.finished()) == 1


def test_the_catalog_failing_after_an_upload_is_waited_out(tmp_path: Path, spool: SpoolOnSmallDisk) -> None:
    node = Node(tmp_path, spool, Archive(), Pacing(rescan=0.0))
    with contextlib.closing(node.catalog):
        node.turn()
        with failing(node.catalog.plans, "mark_uploaded", CatalogBusy("busy")):
            node.end()
        node.turn()
        assert node.worker.job is None, "it is looked for and read again at once"
        node.clock.pass_time(0.9)
        node.turn()
        assert node.worker.job is None
        node.clock.pass_time(1.1)
        node.turn()
        assert node.worker.job is not None


def test_without_its_spool_the_archiver_goes_on(tmp_path: Path, spool: SpoolOnSmallDisk) -> None:
    node = Node(tmp_path, spool, Archive(), Pacing(rescan=1e6, report=0.0))
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


# orders to erase


def test_an_order_ends_once_the_sound_is_off_the_disk(node: Node) -> None:
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

    with failing(node.spool.chunks, "remove", read_only(), times=4):
        wait_until(work, "the order ends")
    assert name not in node.spool.chunks.finished()
    result = node.orders.result(order)
    assert result is not None
    assert (result.state, result.chunks) == ("done", 1)


def test_what_an_order_left_behind_goes_before_its_end_is_told(node: Node) -> None:
    """Also where no rescan comes in between."""
    Intake(node.spool, node.catalog).rescan()
    eraser = make_eraser(node.spool, node.catalog, Destination("", "p/", "porch"), PACE)
    order = node.erase(0, 1)

    def is_done() -> bool:
        assert eraser.next_job() is None
        return node.orders.result(order) is not None

    with failing(node.spool.chunks, "remove", read_only(), times=2):
        wait_until(is_done, "the order ends")
    assert len(node.spool.chunks.finished()) == 2


def test_while_an_order_cannot_be_carried_out_uploads_go_on(node: Node) -> None:
    Intake(node.spool, node.catalog).rescan()
    node.erase(0, 1)
    with failing(node.spool.chunks, "remove", read_only(), times=1):
        node.turn()
    assert len(node.plan().members) == 2


@pytest.mark.parametrize("damage", ["folder", "text", "other"])
def test_an_order_that_cannot_be_read_stops_nothing(node: Node, damage: str, caplog: pytest.LogCaptureFixture) -> None:
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


def test_orders_that_cannot_be_listed_stop_no_upload(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    node.catalog.path.with_name("orders").mkdir()
    with failing(Erasures, "open", PermissionError(errno.EACCES, "Permission denied")):
        node.turn()
    assert len(node.plan().members) == 3
    assert sum("orders to erase cannot be read" in message for message in caplog.messages) == 1


@pytest.mark.parametrize(("start", "state"), [(60, "done"), (0, "refused")])
def test_what_lies_in_another_bucket_is_not_waited_for(node: Node, start: int, state: str) -> None:
    node.turn()
    plan = node.plan()
    node.end()
    node.catalog.deletions.expire_archive(plan.archive_id)
    destination = Destination("another", "p/", "porch")
    eraser = make_eraser(node.spool, node.catalog, destination, PACE)
    order = node.erase(start, start + 1)
    job = eraser.next_job()
    if job is not None:
        assert isinstance(job, DeleteClips)
        eraser.on_result(JobResult(job, 1.0))
        assert eraser.next_job() is None
    result = node.orders.result(order)
    assert result is not None
    assert result.state == state
    assert (result.reason is None) == (state == "done")


def test_an_erasure_says_where_a_copy_may_be_that_cannot_be_reached(node: Node) -> None:
    node.turn()
    plan = node.plan()
    node.catalog.plans.take_back(plan.archive_id)
    eraser = make_eraser(node.spool, node.catalog, Destination("another", "p/", "porch"), PACE)
    order = node.erase(0, 1)
    job = eraser.next_job()
    assert isinstance(job, DeleteClips)
    eraser.on_result(JobResult(job, 1.0))
    assert eraser.next_job() is None
    result = node.orders.result(order)
    assert result is not None
    assert (result.state, result.chunks) == ("done", 1)
    assert result.reason == f"another bucket, bucket, may have a copy: {plan.key}"


class JustFinished(SpoolChunks):
    """The recorder finishes a chunk right after the first look at the finished ones."""

    finish_now: Callable[[], object] = staticmethod(lambda: None)

    def finished(self) -> dict[str, SpoolFile]:
        found = super().finished()
        todo, self.finish_now = self.finish_now, lambda: None
        todo()
        return found


def test_a_chunk_that_is_finished_meanwhile_is_not_missed(tmp_path: Path) -> None:
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


# what is held


def test_more_held_chunks_than_one_look_takes_hide_no_others(tmp_path: Path) -> None:
    spool = SpoolOnSmallDisk(tmp_path / "spool", "porch")
    spool.create()
    spool.disk.room_for = -1
    with contextlib.closing(Catalog(tmp_path / "catalog.db")) as catalog:
        catalog.registration.add_chunks(make_chunk(seq, b"x") for seq in range(1_030))
        change_holds(catalog.path, lambda holds: holds.added(START, Instant(START + 1_000 * SECOND)))
        make_policy(spool, catalog, Archive(when_full="drop_oldest")).apply(START)
        assert [chunk.seq for chunk in catalog.queue.waiting(2_000)] == list(range(1_000))


def test_no_more_is_given_up_than_can_be_removed(tmp_path: Path) -> None:
    fill_spool(tmp_path / "spool", 50)
    spool = SpoolOnSmallDisk(tmp_path / "spool", "porch")
    spool.disk.room_for = 10
    with contextlib.closing(Catalog(tmp_path / "catalog.db")) as catalog:
        catalog.registration.add_chunks(spool.chunks.manifest(name) for name in spool.chunks.finished())
        policy = make_policy(spool, catalog, Archive(when_full="drop_oldest"))
        with failing(spool.chunks, "remove", read_only(), times=40):
            for _ in range(2):
                with pytest.raises(SpoolError):
                    policy.apply(START)
        assert len(catalog.queue.waiting(99)) == 30
        policy.apply(START)
        assert sorted(spool.chunks.finished()) == [chunk.chunk_id for chunk in catalog.queue.waiting(99)]
        assert len(spool.chunks.finished()) == 10


def test_more_held_archives_than_one_look_takes_hide_no_others(tmp_path: Path, spool: SpoolOnSmallDisk) -> None:
    with contextlib.closing(Catalog(tmp_path / "catalog.db")) as catalog:
        held = make_plan([make_chunk(0, b"x")], {}, Destination("bucket", "p/", "porch")).archive(START)
        free = make_plan([make_chunk(1, b"x")], {}, Destination("bucket", "p/", "porch")).archive(START)
        found, expired = [held] * 1_000 + [free], list[str]()
        change_holds(catalog.path, lambda holds: holds.added(START, Instant(START + SECOND)))
        catalog.archive_records.uploaded_before = lambda _, limit: found[:limit]  # type: ignore[assignment, method-assign]
        catalog.deletions.expire_archive = expired.append  # type: ignore[assignment, method-assign]
        make_policy(spool, catalog, Archive(keep_remote=1.0)).apply(START)
        assert expired == [free.archive_id]
