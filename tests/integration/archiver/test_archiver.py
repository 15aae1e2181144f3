"""When the archiver's service archives, and what it publishes: with a real broker, a real store and real chunks."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.archiver import service
from edge.catalog import CatalogReader
from edge.configuration.settings import Archive, Mqtt, Settings, Thresholds
from edge.core import wire
from edge.core.errors import CatalogError
from edge.core.instant import Instant
from edge.core.values import Hole, SoundSpan, SpoolState
from edge.messaging.events import ArchiverState, ArchiverStatus, ChunkCompleted, Response
from edge.spool.spool import Spool
from tests.support.archiver.listener import EventListener
from tests.support.archiver.running import FAST, all_stored, archived, catalog_rows, fill, running_archiver
from tests.support.messaging.odd_brokers import hesitant_broker
from tests.support.spool.chunks import BOOT, START, STREAM, audio_bytes, make_chunk, make_stream, put_chunk
from tests.support.store.s3 import RunningStore
from tests.support.wait import wait_until


def test_chunks_that_exceed_a_limit_are_archived_to_the_store(
    settings: Settings, store: RunningStore, listener: EventListener
) -> None:
    files = fill(settings, 5)
    with running_archiver(settings):
        wait_until(all_stored(settings, 5), "all is stored")
        (uploaded,) = wait_until(lambda: listener.archive_events("uploaded"), "it is published")
    assert archived(store) == files
    (planned,) = listener.archive_events("planned")
    assert (planned.archive_id, planned.chunks, planned.sha256) == (uploaded.archive_id, 5, None)
    (path,) = store.folder.rglob("*.zip")
    assert f"{uploaded.bucket}/{uploaded.key}" == str(path.relative_to(store.folder.parent))
    assert path.stat().st_size == uploaded.bytes
    data = path.read_bytes()
    for chunk_id, row in catalog_rows(settings).items():
        assert row.where is not None
        assert data[row.where.offset :][: row.where.length] == files[chunk_id]
    wait_until(lambda: listener.events_of(ArchiverStatus)[-1].state == "offline", "it is offline")
    assert "online" in [status.state for status in listener.events_of(ArchiverStatus)]


def test_below_the_limits_nothing_is_archived_until_an_archive_command(
    settings: Settings, store: RunningStore, listener: EventListener
) -> None:
    fill(settings, 2)
    with running_archiver(settings):
        state = wait_until(
            lambda: [s for s in listener.events_of(ArchiverState) if s.backlog_chunks == 2], "it is published"
        )
        assert state[-1].state == "idle"
        topic = f"imhearing/{settings.node.name}/request/archive"
        listener.bus.send(topic, b'{"id":"0123456789abcdef"}')
        wait_until(all_stored(settings, 2), "all is stored")
    assert listener.responses[0].topic.endswith("response/archive")
    response = wire.decode(listener.responses[0].payload, Response)
    assert (response.id, response.ok) == ("0123456789abcdef", True)
    assert response.data is not None
    assert response.data["archives"] == [listener.archive_events("uploaded")[0].archive_id]


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"id":7}', b'{"id":"short"}', b"\xff", b"[" * 5_000])
def test_an_invalid_archive_command_is_refused_as_bad_request(
    settings: Settings, listener: EventListener, payload: bytes
) -> None:
    with running_archiver(settings):
        wait_until(lambda: listener.events_of(ArchiverState), "it runs")
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
def test_exceeding_any_one_limit_triggers_archiving(settings: Settings, limits: Thresholds, seconds: int) -> None:
    fill(settings, 1)
    with running_archiver(replace(settings, thresholds=limits)):
        wait_until(all_stored(settings, 1), "it is stored")


def test_limits_set_at_run_time_trigger_archiving(settings: Settings) -> None:
    fill(settings, 2)
    with running_archiver(settings):
        path = settings.recorder.record_path / "settings.json"
        path.write_text('{"records_count": 2}')
        wait_until(all_stored(settings, 2), "all is stored")


def test_a_backlog_is_split_into_archives_of_the_configured_size(settings: Settings, store: RunningStore) -> None:
    files = fill(settings, 11)
    with running_archiver(replace(settings, archive=Archive(archive_max_chunks=4))):
        wait_until(all_stored(settings, 11), "all is stored")
    assert len(list(store.folder.rglob("*.zip"))) == 3
    assert archived(store) == files


def test_chunk_events_trigger_archiving_before_the_next_rescan(
    settings: Settings, store: RunningStore, listener: EventListener
) -> None:
    with running_archiver(settings, replace(FAST, rescan=3_600.0)):
        wait_until(lambda: listener.events_of(ArchiverState), "it runs")
        wait_until(lambda: "connected" if listener.events_of(ArchiverStatus) else "", "it is connected")
        files = fill(settings, 3)
        for chunk_id in files:
            listener.bus.publish(_completed(settings, chunk_id))
        wait_until(all_stored(settings, 3), "all is stored")
    assert archived(store) == files


def test_a_chunk_announced_before_the_broker_has_subscribed_us_is_found_once_it_has(
    settings: Settings, store: RunningStore
) -> None:
    with hesitant_broker() as late:
        quiet = replace(settings, mqtt=Mqtt(host="127.0.0.1", port=late.port))
        with running_archiver(quiet, replace(FAST, rescan=3_600.0)):
            wait_until(late.has_subscriber, "it wants to subscribe")
            wait_until(settings.catalog.db_path.exists, "it has looked at the spool")
            files = fill(settings, 3)  # whose events it does not get
            late.confirm()
            wait_until(all_stored(settings, 3), "all is stored")
    assert archived(store) == files


def _completed(settings: Settings, chunk_id: str) -> ChunkCompleted:
    chunk = Spool(settings.recorder.record_path, settings.node.name).chunks.manifest(chunk_id)
    values = {name: getattr(chunk, name) for name in ChunkCompleted.__struct_fields__ if hasattr(chunk, name)}
    return ChunkCompleted(**{"at": Instant(0), **values})


def test_forged_chunk_events_change_neither_catalog_nor_files(
    settings: Settings, listener: EventListener, tmp_path: Path
) -> None:
    files = fill(settings, 2)
    outside = tmp_path / "outside.json"
    outside.write_bytes(b"{}")
    good = _completed(settings, next(iter(files)))
    with running_archiver(settings):
        wait_until(lambda: listener.events_of(ArchiverState), "it runs")
        topic = good.topic
        for chunk_id in ("../outside", "/etc/passwd", f"{STREAM}-000099", f"{STREAM}-000001\n", "", "x" * 60_000):
            listener.bus.send(topic, wire.encode({**wire.to_plain(good), "chunk_id": chunk_id}))
        lies = replace(good, bytes=1, sha256="0" * 64, crc32=0)  # of a chunk that is there: only the spool counts
        listener.bus.publish(lies)
        listener.bus.send(topic, b"\x00\xff")
        listener.bus.send(f"imhearing/{settings.node.name}/request/archive", b'{"id":"0123456789abcdef"}')
        wait_until(all_stored(settings, 2), "all is stored")
    assert {row.chunk.sha256 for row in catalog_rows(settings).values()} != {"0" * 64}
    assert outside.exists()


def test_archiving_works_without_a_broker(settings: Settings) -> None:
    fill(settings, 3)
    with running_archiver(replace(settings, mqtt=Mqtt(host="127.0.0.1", port=1))):
        wait_until(all_stored(settings, 3), "all is stored")


def test_only_records_of_ended_streams_are_removed_from_the_spool(settings: Settings) -> None:
    node = settings.node.name
    fill(settings, 3)
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
        wait_until(all_stored(settings, 3), "all is stored")
    reader = CatalogReader(settings.catalog.db_path)
    assert set(reader.streams([ended, STREAM])) == {ended, STREAM}
    reader.close()


def test_a_clock_correction_is_uploaded_and_moves_the_catalog_rows(settings: Settings, store: RunningStore) -> None:
    node = settings.node.name
    spool = Spool(settings.recorder.record_path, node)
    spool.create()
    spool.streams.write(make_stream(node=node, uncertain=True))
    spool.state.write(SpoolState(state="recording", since=START, boot_id=BOOT, ordinal=1, stream_id=STREAM))
    for seq in range(3):
        data = audio_bytes(seq)
        put_chunk(spool, make_chunk(seq, data, node=node, uncertain=True), data)
    with running_archiver(settings):
        wait_until(all_stored(settings, 3), "all is stored")
        corrected = make_stream(node=node, shift=60_000_000, knots=((0, Instant(START + 60_000_000)),))
        spool.streams.write(corrected)
        path = store.folder / "imhearing" / node / "corrections" / f"{STREAM}.json"
        wait_until(path.exists, "the correction is stored")
    assert wire.decode(path.read_bytes(), type(corrected)) == corrected
    assert {row.chunk.started_at for row in catalog_rows(settings).values()} == {
        START + (60 + seq) * 1_000_000 for seq in range(3)
    }


def test_an_uploaded_event_lists_the_archives_sounds_once(settings: Settings, listener: EventListener) -> None:
    spool = Spool(settings.recorder.record_path, settings.node.name)
    spool.create()
    span = SoundSpan(f"{STREAM}-s100", 100, 200, -20.0, -25.0)
    hole = Hole("restart", Instant(START - 5), START)
    for seq in range(3):
        data = audio_bytes(seq)
        chunk = make_chunk(seq, data, node=settings.node.name, sounds=(span,) if seq == 0 else (), before=(hole,))
        put_chunk(spool, chunk, data)
    with running_archiver(settings):
        (uploaded,) = wait_until(lambda: listener.archive_events("uploaded"), "it is published")
    assert uploaded.sounds == (span.sound_id,)


def test_a_second_archiver_ends_with_an_error_that_names_the_reason(settings: Settings) -> None:
    fill(settings, 1)
    with running_archiver(settings):
        wait_until(lambda: settings.catalog.db_path.exists() and catalog_rows(settings), "the first one runs")
        with pytest.raises(CatalogError, match="another archiver"):
            service.run(settings, threading.Event(), FAST)
