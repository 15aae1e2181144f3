"""The archiver's service with a real broker, a real store and real chunks, also when it is killed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from edge.archiver import service
from edge.archiver.pacing import Pacing
from edge.archiver.verify import verify
from edge.catalog import CatalogReader
from edge.catalog.erasures import Erasures
from edge.configuration.settings import Archive, Budget, Mqtt, Node, Recorder, Secret, Settings, Thresholds
from edge.configuration.settings import Catalog as CatalogSettings
from edge.core import wire
from edge.core.errors import CatalogBusy, CatalogError
from edge.core.instant import FIRST, LAST, Instant
from edge.core.values import Hole, SoundSpan, SpoolState
from edge.messaging import topics
from edge.messaging.bus import Bus
from edge.messaging.events import ArchiveChanged, ArchiverState, ArchiverStatus, ChunkCompleted, Event, Response
from edge.messaging.messages import InboundMessage
from edge.spool.spool import Spool
from edge.store.s3 import S3Store
from tests.support.broker import BrokerAddress, running_broker
from tests.support.chunks import (
    BOOT,
    RATE,
    START,
    STREAM,
    audio_bytes,
    fill_spool,
    make_chunk,
    make_stream,
    put_chunk,
)
from tests.support.fault_proxy import FAULTS, Fault, Request, running_proxy
from tests.support.s3 import RunningStore, running_store
from tests.support.wait import DEADLINE, wait_until

FAST = Pacing(rescan=0.3, report=0.1, first_retry=0.05, longest_link_retry=0.2, longest_retry=0.2, blocked_retry=0.2)
_BEFORE_THE_STORE_TIMES_OUT = 30.0  # seconds; the store may take 60 for each answer


@pytest.fixture(scope="module")
def broker() -> Iterator[BrokerAddress]:
    with running_broker() as address:
        yield address


@pytest.fixture
def store() -> Iterator[RunningStore]:
    with running_store() as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path, broker: BrokerAddress, store: RunningStore) -> Settings:
    node = "node-" + "".join(c for c in tmp_path.name.lower() if c.isalnum())[-40:]
    return Settings(
        node=Node(name=node),
        recorder=Recorder(record_path=tmp_path / "spool"),
        thresholds=Thresholds(records_count=3),
        mqtt=Mqtt(host=broker.host, port=broker.port),
        s3=store.settings,
        catalog=CatalogSettings(db_path=tmp_path / "catalog.db"),
    )


@contextlib.contextmanager
def running_archiver(settings: Settings, pacing: Pacing = FAST) -> Iterator[None]:
    stop = threading.Event()
    problems: list[BaseException] = []

    def run() -> None:
        try:
            service.run(settings, stop, pacing)
        except BaseException as problem:
            problems.append(problem)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(DEADLINE)
        assert not thread.is_alive(), "the archiver did not end"
        assert not problems, problems


class Listener:
    """Hears what the node publishes."""

    def __init__(self, settings: Settings) -> None:
        self.node = settings.node.name
        self.bus = Bus(settings.mqtt, self.node, "control", "test")
        self.events: list[Event] = []
        self.responses: list[InboundMessage] = []
        self.bus.subscribe_raw(topics.response(self.node, "+"), self.responses.append)
        self.bus.subscribe_all(lambda event, _: self.events.append(event))

    def heard(self, event: type[Event]) -> list[Any]:
        return [each for each in list(self.events) if isinstance(each, event)]

    def archives(self, kind: str) -> list[ArchiveChanged]:
        return [event for event in self.heard(ArchiveChanged) if event.event == kind]


@pytest.fixture
def listener(settings: Settings) -> Iterator[Listener]:
    listener = Listener(settings)
    listener.bus.start()
    assert listener.bus.wait_connected(DEADLINE)
    yield listener
    listener.bus.stop()


def _fill(settings: Settings, count: int, first: int = 0, frames: int = RATE) -> dict[str, bytes]:
    return fill_spool(settings.recorder.record_path, count, first=first, node=settings.node.name, frames=frames)


def _audio(settings: Settings) -> set[str]:
    return {path.name.split(".")[0] for path in settings.recorder.record_path.glob("*.flac")}


def _archived(store: RunningStore) -> dict[str, bytes]:
    """Every chunk in the store by its id; one that lies in two archives is a failure."""
    found: dict[str, bytes] = {}
    for path in store.folder.rglob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist()[:-1]:
                assert name.split(".")[0] not in found, f"{name} is in two archives"
                found[name.split(".")[0]] = archive.read(name)
    return found


def _rows(settings: Settings) -> dict[str, Any]:
    reader = CatalogReader(settings.catalog.db_path)

    def ask() -> dict[str, Any] | None:
        try:
            return {row.chunk.chunk_id: row for row in reader.chunks_between(FIRST, LAST, 10_000)}
        except CatalogBusy:
            return None

    try:
        return wait_until(lambda: [rows] if (rows := ask()) is not None else None, "the catalog can be read")[0]
    finally:
        reader.close()


def _all_stored(settings: Settings, count: int) -> Callable[[], bool]:
    def ask() -> bool:
        if _audio(settings):
            return False
        rows = _rows(settings)
        return len(rows) == count and all(row.where for row in rows.values())

    return ask


def test_a_due_batch_ends_up_in_the_store(settings: Settings, store: RunningStore, listener: Listener) -> None:
    files = _fill(settings, 5)
    with running_archiver(settings):
        wait_until(_all_stored(settings, 5), "all is stored")
        (uploaded,) = wait_until(lambda: listener.archives("uploaded"), "it is told")
    assert _archived(store) == files
    (planned,) = listener.archives("planned")
    assert (planned.archive_id, planned.chunks, planned.sha256) == (uploaded.archive_id, 5, None)
    (path,) = store.folder.rglob("*.zip")
    assert f"{uploaded.bucket}/{uploaded.key}" == str(path.relative_to(store.folder.parent))
    assert path.stat().st_size == uploaded.bytes
    data = path.read_bytes()
    for chunk_id, row in _rows(settings).items():
        assert data[row.where.offset :][: row.where.length] == files[chunk_id]
    states = [status.state for status in listener.heard(ArchiverStatus)]
    assert states[-1] == "offline"
    assert "online" in states


def test_below_the_limits_nothing_is_archived_until_asked(
    settings: Settings, store: RunningStore, listener: Listener
) -> None:
    _fill(settings, 2)
    with running_archiver(settings):
        state = wait_until(lambda: [s for s in listener.heard(ArchiverState) if s.backlog_chunks == 2], "it is told")
        assert state[-1].state == "idle"
        topic = f"imhearing/{settings.node.name}/request/archive"
        listener.bus.send(topic, b'{"id":"0123456789abcdef"}')
        wait_until(_all_stored(settings, 2), "all is stored")
    assert listener.responses[0].topic.endswith("response/archive")
    response = wire.decode(listener.responses[0].payload, Response)
    assert (response.id, response.ok) == ("0123456789abcdef", True)
    assert response.data is not None
    assert response.data["archives"] == [listener.archives("uploaded")[0].archive_id]


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"id":7}', b'{"id":"short"}', b"\xff", b"[" * 5_000])
def test_a_bad_request_is_answered(settings: Settings, listener: Listener, payload: bytes) -> None:
    with running_archiver(settings):
        wait_until(lambda: listener.heard(ArchiverState), "it runs")
        listener.bus.send(f"imhearing/{settings.node.name}/request/archive", payload)
        answer = wait_until(lambda: listener.responses, "it is answered")[0]
    response = wire.decode(answer.payload, Response)
    assert not response.ok
    assert response.error is not None
    assert response.error.code == "bad_request"


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [
        (Thresholds(records_count=0, storage_usage=0.01), 1),
        (Thresholds(records_count=0, oldest_age=1), 1),
        (Thresholds(records_count=0, sound_level=-31), 1),
    ],
    ids=["storage_usage", "oldest_age", "sound_level"],
)
def test_each_limit_archives(settings: Settings, limits: Thresholds, seconds: int) -> None:
    _fill(settings, 1)
    with running_archiver(replace(settings, thresholds=limits)):
        wait_until(_all_stored(settings, 1), "it is stored")


def test_limits_set_at_run_time_count(settings: Settings) -> None:
    _fill(settings, 2)
    with running_archiver(settings):
        path = settings.recorder.record_path / "settings.json"
        path.write_text('{"records_count": 2}')
        wait_until(_all_stored(settings, 2), "all is stored")


def test_a_backlog_leaves_in_as_many_archives_as_the_limits_ask_for(settings: Settings, store: RunningStore) -> None:
    files = _fill(settings, 11)
    with running_archiver(replace(settings, archive=Archive(archive_max_chunks=4))):
        wait_until(_all_stored(settings, 11), "all is stored")
    assert len(list(store.folder.rglob("*.zip"))) == 3
    assert _archived(store) == files


def test_an_event_is_quicker_than_the_rescan(settings: Settings, store: RunningStore, listener: Listener) -> None:
    with running_archiver(settings, replace(FAST, rescan=3_600.0)):
        wait_until(lambda: listener.heard(ArchiverState), "it runs")
        wait_until(lambda: "connected" if listener.heard(ArchiverStatus) else "", "it is connected")
        files = _fill(settings, 3)
        for chunk_id in files:
            listener.bus.publish(_completed(settings, chunk_id))
        wait_until(_all_stored(settings, 3), "all is stored")
    assert _archived(store) == files


def _completed(settings: Settings, chunk_id: str) -> ChunkCompleted:
    chunk = Spool(settings.recorder.record_path, settings.node.name).chunks.manifest(chunk_id)
    values = {name: getattr(chunk, name) for name in ChunkCompleted.__struct_fields__ if hasattr(chunk, name)}
    return ChunkCompleted(**{"at": Instant(0), **values})


def test_forged_events_change_nothing(settings: Settings, listener: Listener, tmp_path: Path) -> None:
    files = _fill(settings, 2)
    outside = tmp_path / "outside.json"
    outside.write_bytes(b"{}")
    good = _completed(settings, next(iter(files)))
    with running_archiver(settings):
        wait_until(lambda: listener.heard(ArchiverState), "it runs")
        topic = good.topic
        for chunk_id in ("../outside", "/etc/passwd", f"{STREAM}-000099", f"{STREAM}-000001\n", "", "x" * 60_000):
            listener.bus.send(topic, wire.encode({**wire.to_plain(good), "chunk_id": chunk_id}))
        lies = replace(good, bytes=1, sha256="0" * 64, crc32=0)  # of a chunk that is there: only the spool counts
        listener.bus.publish(lies)
        listener.bus.send(topic, b"\x00\xff")
        listener.bus.send(f"imhearing/{settings.node.name}/request/archive", b'{"id":"0123456789abcdef"}')
        wait_until(_all_stored(settings, 2), "all is stored")
    assert {row.chunk.sha256 for row in _rows(settings).values()} != {"0" * 64}
    assert outside.exists()


def test_it_works_without_a_broker(settings: Settings) -> None:
    _fill(settings, 3)
    with running_archiver(replace(settings, mqtt=Mqtt(host="127.0.0.1", port=1))):
        wait_until(_all_stored(settings, 3), "all is stored")


def test_the_link_being_down_is_waited_out(settings: Settings, store: RunningStore, listener: Listener) -> None:
    files = _fill(settings, 3)
    with running_proxy(store.settings) as (proxy, through), running_archiver(replace(settings, s3=through)):
        proxy.fail_always("reset_body")
        state = wait_until(lambda: [s for s in listener.heard(ArchiverState) if s.reason], "the trouble is told")
        assert state[-1].state != "blocked"
        assert _audio(settings) == set(files)
        proxy.heal()
        wait_until(_all_stored(settings, 3), "all is stored")
    assert _archived(store) == files
    assert listener.archives("failed") == []


def test_what_a_person_must_mend_is_blocked_and_then_goes_on(
    settings: Settings, store: RunningStore, listener: Listener
) -> None:
    files = _fill(settings, 3)
    with running_proxy(store.settings) as (proxy, through), running_archiver(replace(settings, s3=through)):
        proxy.fail_always("no_bucket", "PUT")
        blocked = wait_until(lambda: [s for s in listener.heard(ArchiverState) if s.state == "blocked"], "it is told")
        assert "there is no bucket" in (blocked[0].reason or "")
        proxy.heal()
        wait_until(_all_stored(settings, 3), "all is stored")
        wait_until(lambda: listener.heard(ArchiverState)[-1].state == "idle", "it is idle again")
    assert listener.heard(ArchiverState)[-1].reason is None
    assert _archived(store) == files
    assert listener.archives("failed")


def test_a_store_that_fails_one_time_in_five_gets_everything_once(settings: Settings, store: RunningStore) -> None:
    count = int(os.environ.get("IMHEARING_FAULTY_ARCHIVES", "12"))
    faults: tuple[Fault, ...] = (*FAULTS, "denied", "skewed", "no_bucket")
    dice = random.Random(11)
    files = _fill(settings, count, frames=100)
    one_each = replace(settings, archive=Archive(archive_max_chunks=1), thresholds=Thresholds(records_count=1))
    with running_proxy(store.settings) as (proxy, through), running_archiver(replace(one_each, s3=through)):
        proxy.choose = lambda _: dice.choice(faults) if dice.random() < 0.2 else None
        wait_until(lambda: not _audio(settings), "all is stored", 20 + 3 * count)
    assert _archived(store) == files
    assert len(list(store.folder.rglob("*.zip"))) == count
    assert sum(fault is not None for _, fault in proxy.seen) > count / 4
    assert S3Store(store.settings).open_uploads("imhearing/") == []


def test_an_archive_whose_response_was_lost_is_not_orphaned_by_a_member_that_becomes_unreadable(
    settings: Settings, store: RunningStore
) -> None:
    files = _fill(settings, 3)
    member = settings.recorder.record_path / f"{sorted(files)[1]}.flac"
    with running_proxy(store.settings) as (proxy, through), running_archiver(replace(settings, s3=through)):

        def choose(request: Request) -> Fault | None:
            if request.name == "PUT":
                return "reply_lost"
            if request.name == "HEAD" and list(store.folder.rglob("*.zip")):
                member.write_bytes(b"")
            return "slow_down" if request.name == "GET" else None

        proxy.choose = choose
        wait_until(lambda: proxy.names().count("GET") > 8 or len(list(store.folder.rglob("*.zip"))) > 1, "two attempts")
        proxy.heal()
        wait_until(_all_stored(settings, 3), "all is stored")
        assert _archived(store) == files
        assert _differences(settings) == []
        orders = Erasures(settings.catalog.db_path)
        order = orders.give(START, Instant(START + 3_000_000), START)
        wait_until(lambda: orders.result(order.id), "all is erased")
    assert _archived(store) == {}
    assert _differences(settings) == []


def _differences(settings: Settings) -> list[str]:
    """What `imhearing catalog verify` prints."""
    spool = Spool(settings.recorder.record_path, settings.node.name)
    with contextlib.closing(CatalogReader(settings.catalog.db_path)) as catalog:
        return list(verify(S3Store(settings.s3), settings.s3.prefix, settings.node.name, spool, catalog, deep=True))


def test_over_the_budget_it_is_blocked_and_recording_goes_on(settings: Settings, listener: Listener) -> None:
    _fill(settings, 3)
    tight = replace(settings, budget=Budget(price_per_gb=1e9, budget_cost=0.001))
    with running_archiver(tight):
        blocked = wait_until(lambda: [s for s in listener.heard(ArchiverState) if s.state == "blocked"], "it is told")
        assert "budget_cost" in (blocked[0].reason or "")
    assert len(_audio(settings)) == 3
    with running_archiver(settings):
        wait_until(_all_stored(settings, 3), "all is stored")


def test_wrong_credentials_do_not_end_it(settings: Settings, listener: Listener) -> None:
    _fill(settings, 3)
    with running_archiver(replace(settings, s3=replace(settings.s3, secret_access_key=Secret("wrong")))):
        blocked = wait_until(lambda: [s for s in listener.heard(ArchiverState) if s.state == "blocked"], "it is told")
        assert "secret_access_key" in (blocked[0].reason or "")
    assert len(_audio(settings)) == 3


def test_a_damaged_chunk_holds_up_nothing(settings: Settings, store: RunningStore, listener: Listener) -> None:
    files = _fill(settings, 5)
    ids = list(files)
    spool = settings.recorder.record_path
    (spool / f"{ids[1]}.flac").write_bytes(b"x" * len(files[ids[1]]))
    (spool / f"{ids[3]}.flac").write_bytes(b"short")
    whole = {chunk_id: files[chunk_id] for chunk_id in (ids[0], ids[2], ids[4])}
    with running_archiver(settings):
        wait_until(lambda: _archived(store) == whole, "what is whole is stored")
        wait_until(lambda: len(listener.archives("uploaded")) == 1, "it is told")
    assert len(listener.archives("failed")) == 1
    assert _audio(settings) == {ids[1], ids[3]}
    rows = _rows(settings)
    assert "CRC-32" in rows[ids[1]].aside
    assert "shorter" in rows[ids[3]].aside
    (spool / f"{ids[1]}.flac").write_bytes(files[ids[1]])  # a card that could be read again, say
    (spool / f"{ids[3]}.flac").write_bytes(files[ids[3]])
    with running_archiver(replace(settings, thresholds=Thresholds(records_count=1))):
        wait_until(_all_stored(settings, 5), "all is stored")
    assert _archived(store) == files


def test_a_damaged_manifest_holds_up_nothing(settings: Settings, store: RunningStore) -> None:
    files = _fill(settings, 4)
    bad = next(iter(files))
    (settings.recorder.record_path / f"{bad}.json").write_bytes(b"{not json")
    with running_archiver(settings):
        wait_until(lambda: _audio(settings) == {bad}, "the others are stored")
    assert _archived(store).keys() == files.keys() - {bad}


def test_a_chunk_that_differs_from_the_stored_one_of_its_name_stays(settings: Settings, store: RunningStore) -> None:
    files = _fill(settings, 3)
    with running_archiver(settings):
        wait_until(_all_stored(settings, 3), "all is stored")
    other = audio_bytes(99)
    spool = Spool(settings.recorder.record_path, settings.node.name)
    put_chunk(spool, make_chunk(0, other, node=settings.node.name), other)
    data = files[f"{STREAM}-000001"]
    put_chunk(spool, make_chunk(1, data, node=settings.node.name), data)  # as a crash before the removal leaves it
    with running_archiver(settings):
        wait_until(lambda: len(_audio(settings)) == 1, "what is stored is removed")
    assert _audio(settings) == {f"{STREAM}-000000"}
    assert _archived(store) == files


def test_a_manifest_that_a_crash_left_alone_goes(settings: Settings) -> None:
    files = _fill(settings, 3)
    first = next(iter(files))
    path = settings.recorder.record_path / f"{first}.json"
    manifest = path.read_bytes()
    with running_archiver(settings):
        wait_until(_all_stored(settings, 3), "all is stored")
    path.write_bytes(manifest)
    unknown = path.with_name(f"{STREAM}-000009.json")  # a chunk that the recorder is just finishing
    unknown.write_bytes(manifest)
    with running_archiver(settings):
        wait_until(lambda: not path.exists(), "the manifest is removed")
    assert unknown.exists()


def test_records_of_ended_streams_leave_and_others_stay(settings: Settings) -> None:
    node = settings.node.name
    _fill(settings, 3)
    spool = Spool(settings.recorder.record_path, node)
    ended, uncertain, current = "20260303T210000Z-aaaa", "20260303T210001Z-bbbb", "20260303T230000Z-cccc"
    spool.streams.write(make_stream(ended, node=node, ordinal=0))
    spool.streams.write(make_stream(uncertain, node=node, ordinal=0, uncertain=True))
    spool.streams.write(make_stream(current, node=node, ordinal=2))
    spool.state.write(SpoolState(state="recording", since=START, boot_id=BOOT, ordinal=2, stream_id=current))
    opened = "20260303T230001Z-dddd"  # the state does not name it yet
    spool.streams.write(make_stream(opened, node=node, ordinal=3))
    with running_archiver(settings):
        wait_until(
            lambda: set(spool.streams.ids()) == {uncertain, current, opened}, "records of ended streams are gone"
        )
        wait_until(_all_stored(settings, 3), "all is stored")
    reader = CatalogReader(settings.catalog.db_path)
    assert set(reader.streams([ended, STREAM])) == {ended, STREAM}
    reader.close()


def test_a_clock_correction_reaches_the_store(settings: Settings, store: RunningStore) -> None:
    node = settings.node.name
    spool = Spool(settings.recorder.record_path, node)
    spool.create()
    spool.streams.write(make_stream(node=node, uncertain=True))
    spool.state.write(SpoolState(state="recording", since=START, boot_id=BOOT, ordinal=1, stream_id=STREAM))
    for seq in range(3):
        data = audio_bytes(seq)
        put_chunk(spool, make_chunk(seq, data, node=node, uncertain=True), data)
    with running_archiver(settings):
        wait_until(_all_stored(settings, 3), "all is stored")
        corrected = make_stream(node=node, shift=60_000_000, knots=((0, Instant(START + 60_000_000)),))
        spool.streams.write(corrected)
        path = store.folder / "imhearing" / node / "corrections" / f"{STREAM}.json"
        wait_until(path.exists, "the correction is stored")
    assert wire.decode(path.read_bytes(), type(corrected)) == corrected
    assert {row.chunk.started_at for row in _rows(settings).values()} == {
        START + (60 + seq) * 1_000_000 for seq in range(3)
    }


def test_sounds_are_named_with_their_archive(settings: Settings, listener: Listener) -> None:
    spool = Spool(settings.recorder.record_path, settings.node.name)
    spool.create()
    span = SoundSpan(f"{STREAM}-s100", 100, 200, -20.0, -25.0)
    hole = Hole("restart", Instant(START - 5), START)
    for seq in range(3):
        data = audio_bytes(seq)
        chunk = make_chunk(seq, data, node=settings.node.name, sounds=(span,) if seq == 0 else (), before=(hole,))
        put_chunk(spool, chunk, data)
    with running_archiver(settings):
        (uploaded,) = wait_until(lambda: listener.archives("uploaded"), "it is told")
    assert uploaded.sounds == (span.sound_id,)


def test_plans_for_another_bucket_are_made_anew(settings: Settings, store: RunningStore) -> None:
    files = _fill(settings, 3)
    elsewhere = replace(settings, s3=replace(settings.s3, s3_bucket_name="elsewhere"))
    with running_archiver(elsewhere):
        wait_until(lambda: len(_rows(settings)) == 3, "all is known")
    with running_archiver(settings):
        wait_until(_all_stored(settings, 3), "all is stored")
    assert _archived(store) == files


@pytest.mark.parametrize("place", [0, 5_000], ids=["at start", "inside"])
def test_a_damaged_catalog_is_set_aside_and_sound_goes_on(settings: Settings, store: RunningStore, place: int) -> None:
    _fill(settings, 3)
    with running_archiver(settings):
        wait_until(_all_stored(settings, 3), "all is stored")
    path = settings.catalog.db_path
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"\xde\xad" * 30_000)
    _fill(settings, 3, first=3)
    with running_archiver(settings):
        wait_until(_all_stored(settings, 3), "what came after is stored")
    assert len(list(path.parent.glob("catalog.db.damaged-*"))) == 1
    assert len(_archived(store)) == 6


def test_a_catalog_that_vanishes_is_made_anew(settings: Settings, store: RunningStore) -> None:
    _fill(settings, 3)
    with running_archiver(settings):
        wait_until(_all_stored(settings, 3), "all is stored")
        settings.catalog.db_path.unlink()
        files = _fill(settings, 3, first=3)
        wait_until(settings.catalog.db_path.exists, "there is a catalog again")
        wait_until(_all_stored(settings, 3), "what came after is stored")
        assert _rows(settings).keys() == files.keys()


def test_a_second_archiver_says_so_and_ends(settings: Settings) -> None:
    _fill(settings, 1)
    with running_archiver(settings):
        wait_until(lambda: settings.catalog.db_path.exists() and _rows(settings), "the first one runs")
        with pytest.raises(CatalogError, match="another archiver"):
            service.run(settings, threading.Event(), FAST)


def test_it_ends_although_the_store_never_answers(settings: Settings, store: RunningStore) -> None:
    _fill(settings, 3)
    with running_proxy(store.settings) as (proxy, through):
        proxy.fail_always("stall")
        stop = threading.Event()
        thread = threading.Thread(target=service.run, args=(replace(settings, s3=through), stop, FAST), daemon=True)
        thread.start()
        wait_until(lambda: proxy.seen, "it asks the store")
        stop.set()
        thread.join(_BEFORE_THE_STORE_TIMES_OUT)
        assert not thread.is_alive()


# killed


_PROCESS = """
import logging, sys, threading
from pathlib import Path
import msgspec
from edge.core import wire
from edge.archiver import service
from edge.archiver.pacing import Pacing
from edge.store.s3 import S3Store
from edge.configuration.loader import load
logging.basicConfig(level=logging.WARNING)
settings = load(Path(sys.argv[1]))
pace = Pacing(rescan=0.3, first_retry=0.05, longest_link_retry=0.2, longest_retry=0.2, blocked_retry=0.2)
service.run(settings, threading.Event(), pace)
"""


@contextlib.contextmanager
def archiver_process(settings: Settings, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    from edge.configuration.loader import to_ini  # noqa: PLC0415

    config = folder / "config.ini"
    config.write_text(to_ini(settings, "of a test"))
    config.chmod(0o600)
    process = subprocess.Popen([sys.executable, "-c", _PROCESS, str(folder)])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_killed_again_and_again_nothing_is_lost_or_doubled(
    settings: Settings, store: RunningStore, tmp_path: Path
) -> None:
    """Kills on the way at moments that follow from what it has reached, and lets the last one finish."""
    settings = replace(settings, archive=Archive(archive_max_chunks=2))
    files = _fill(settings, 12, frames=4 * RATE)
    with running_proxy(store.settings) as (proxy, through):
        settings = replace(settings, s3=through)
        for moment in range(8):
            proxy.seen.clear()
            with archiver_process(settings, tmp_path) as process:
                wait_until(
                    lambda wanted=moment: (
                        len(proxy.seen) > wanted // 2 or process.poll() is not None or not _audio(settings)
                    ),  # type: ignore[misc]
                    "it has asked the store",
                )
                process.send_signal(signal.SIGKILL)
                process.wait()
            stored = (
                {name for name, row in _rows(settings).items() if row.where}
                if settings.catalog.db_path.exists()
                else set()
            )
            archived = _archived_if_whole(store)
            assert stored <= archived.keys()
            assert files.keys() <= _audio(settings) | stored
        with archiver_process(settings, tmp_path):
            wait_until(_all_stored(settings, 12), "all is stored")
    assert _archived(store) == files
    assert _rows(settings).keys() == files.keys()


def _archived_if_whole(store: RunningStore) -> dict[str, bytes]:
    try:
        return _archived(store)
    except zipfile.BadZipFile:  # being written this moment by the store
        return wait_until(lambda: _archived(store), "the store has finished")
