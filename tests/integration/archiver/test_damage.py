"""Damaged chunks, manifests, records and catalogs do not keep other sound from being archived."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from edge.archiver.intake import Intake
from edge.configuration.settings import Settings, Thresholds
from edge.core.errors import ChunkDamaged, ChunkUnreadable, SpoolError
from edge.core.instant import FIRST, LAST, Instant
from edge.core.values import Hole
from edge.spool.spool import Spool
from tests.support.archiver.listener import EventListener
from tests.support.archiver.running import all_stored, archived, catalog_rows, fill, running_archiver, spooled
from tests.support.archiver.stepped import SteppedArchiver
from tests.support.spool.chunks import SECOND, START, STREAM, audio_bytes, make_chunk, make_stream, put_chunk
from tests.support.store.s3 import RunningStore
from tests.support.wait import wait_until


def test_damaged_chunks_are_set_aside_and_archived_once_they_are_readable(
    settings: Settings, store: RunningStore, listener: EventListener
) -> None:
    files = fill(settings, 5)
    ids = list(files)
    spool = settings.recorder.record_path
    (spool / f"{ids[1]}.flac").write_bytes(b"x" * len(files[ids[1]]))
    (spool / f"{ids[3]}.flac").write_bytes(b"short")
    whole = {chunk_id: files[chunk_id] for chunk_id in (ids[0], ids[2], ids[4])}
    with running_archiver(settings):
        wait_until(lambda: archived(store) == whole, "what is whole is stored")
        wait_until(lambda: len(listener.archive_events("uploaded")) == 1, "it is published")
    assert len(listener.archive_events("failed")) == 1
    assert spooled(settings) == {ids[1], ids[3]}
    rows = catalog_rows(settings)
    assert "CRC-32" in (rows[ids[1]].aside or "")
    assert "shorter" in (rows[ids[3]].aside or "")
    (spool / f"{ids[1]}.flac").write_bytes(files[ids[1]])  # a card that could be read again, say
    (spool / f"{ids[3]}.flac").write_bytes(files[ids[3]])
    with running_archiver(replace(settings, thresholds=Thresholds(records_count=1))):
        wait_until(all_stored(settings, 5), "all is stored")
    assert archived(store) == files


def test_a_damaged_manifest_does_not_keep_other_chunks_from_being_archived(
    settings: Settings, store: RunningStore
) -> None:
    files = fill(settings, 4)
    bad = next(iter(files))
    (settings.recorder.record_path / f"{bad}.json").write_bytes(b"{not json")
    with running_archiver(settings):
        wait_until(lambda: spooled(settings) == {bad}, "the others are stored")
    assert archived(store).keys() == files.keys() - {bad}


def test_a_chunk_that_differs_from_the_archived_one_of_its_name_is_kept(
    settings: Settings, store: RunningStore
) -> None:
    files = fill(settings, 3)
    with running_archiver(settings):
        wait_until(all_stored(settings, 3), "all is stored")
    other = audio_bytes(99)
    spool = Spool(settings.recorder.record_path, settings.node.name)
    put_chunk(spool, make_chunk(0, other, node=settings.node.name), other)
    data = files[f"{STREAM}-000001"]
    put_chunk(spool, make_chunk(1, data, node=settings.node.name), data)  # as a crash before the removal leaves it
    with running_archiver(settings):
        wait_until(lambda: len(spooled(settings)) == 1, "what is stored is removed")
    assert spooled(settings) == {f"{STREAM}-000000"}
    assert archived(store) == files


def test_a_manifest_left_behind_by_a_crash_is_removed(settings: Settings) -> None:
    files = fill(settings, 3)
    first = next(iter(files))
    path = settings.recorder.record_path / f"{first}.json"
    manifest = path.read_bytes()
    with running_archiver(settings):
        wait_until(all_stored(settings, 3), "all is stored")
    path.write_bytes(manifest)
    unknown = path.with_name(f"{STREAM}-000009.json")  # a chunk that the recorder is just finishing
    unknown.write_bytes(manifest)
    with running_archiver(settings):
        wait_until(lambda: not path.exists(), "the manifest is removed")
    assert unknown.exists()


@pytest.mark.parametrize("place", [0, 5_000], ids=["at start", "inside"])
def test_a_damaged_catalog_is_set_aside_and_archiving_continues(
    settings: Settings, store: RunningStore, place: int
) -> None:
    fill(settings, 3)
    with running_archiver(settings):
        wait_until(all_stored(settings, 3), "all is stored")
    path = settings.catalog.db_path
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"\xde\xad" * 30_000)
    fill(settings, 3, first=3)
    with running_archiver(settings):
        wait_until(all_stored(settings, 3), "what came after is stored")
    assert len(list(path.parent.glob("catalog.db.damaged-*"))) == 1
    assert len(archived(store)) == 6


def test_a_deleted_catalog_is_recreated_while_running(settings: Settings, store: RunningStore) -> None:
    fill(settings, 3)
    with running_archiver(settings):
        wait_until(all_stored(settings, 3), "all is stored")
        settings.catalog.db_path.unlink()
        files = fill(settings, 3, first=3)
        wait_until(settings.catalog.db_path.exists, "there is a catalog again")
        wait_until(all_stored(settings, 3), "what came after is stored")
        assert catalog_rows(settings).keys() == files.keys()


OTHER = "20250101T000000Z-bbbb"


def test_a_damaged_stream_record_is_logged_once_and_planning_continues(
    node: SteppedArchiver, caplog: pytest.LogCaptureFixture
) -> None:
    record = node.spool.layout.stream_path(OTHER)
    record.write_bytes(b"")
    for _ in range(3):
        node.turn()
    assert len(node.plan().members) == 3
    assert record.exists()
    assert sum(record.name in message for message in caplog.messages) == 1


@pytest.mark.parametrize(("problem", "returns"), [(ChunkUnreadable, True), (ChunkDamaged, False)])
def test_a_chunk_that_could_not_be_read_for_a_moment_is_planned_again(
    node: SteppedArchiver, problem: type[ChunkDamaged], returns: bool
) -> None:
    node.turn()
    chunk = node.plan().members[0].chunk
    node.end(problem=problem("the disk failed", chunk.chunk_id))
    assert set(node.catalog.queue.aside()) == {chunk.chunk_id}
    node.turn()
    assert set(node.catalog.queue.aside()) == (set() if returns else {chunk.chunk_id})


def test_a_damaged_state_is_logged_once_and_planning_continues(
    node: SteppedArchiver, caplog: pytest.LogCaptureFixture
) -> None:
    node.spool.streams.write(make_stream(OTHER))
    (node.spool.path / "state.json").write_bytes(b"{")
    for _ in range(3):
        node.turn()
    assert len(node.plan().members) == 3
    assert node.spool.layout.stream_path(OTHER).exists()
    assert sum("state.json" in message for message in caplog.messages) == 1


@pytest.mark.parametrize(("inside", "owner"), [(OTHER, "attic"), ("20250101T000000Z-cccc", "porch")])
def test_a_stream_record_of_another_node_or_stream_is_ignored_and_kept(
    node: SteppedArchiver, inside: str, owner: str
) -> None:
    hole = Hole("power", Instant(START - 5 * SECOND), START)
    record = node.spool.layout.stream_path(OTHER)
    node.spool.streams.write(make_stream(inside, node=owner, before=(hole,)))
    node.spool.layout.stream_path(inside).replace(record)
    for _ in range(2):
        node.turn()
    assert node.catalog.hole_run(FIRST, LAST, 99).holes == []
    assert node.catalog.stream(inside) is None
    assert record.exists()
    with pytest.raises(SpoolError, match="move it out"):
        node.spool.streams.read(OTHER)


def test_forged_chunk_ids_are_ignored_without_a_log_line(
    node: SteppedArchiver, caplog: pytest.LogCaptureFixture
) -> None:
    intake = Intake(node.spool, node.catalog)
    for number in range(50):
        assert not intake.register(f"20260101T000000Z-aaaa-{number:06d}")
    assert caplog.messages == []
