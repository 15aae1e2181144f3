from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge.core.errors import SpoolBusy, SpoolError
from edge.core.instant import Instant
from edge.core.values import PauseOrder, SpoolState
from edge.spool.chunks import SpoolFile
from edge.spool.spool import Spool
from tests.support.privileges import without_root_privileges
from tests.support.spool.chunks import BOOT, START, audio_bytes, make_chunk, make_stream, put_chunk

HOSTILE = [
    "20260303T220000Z-abcd-000000.flac\n", "20260303T220000Z-abcd-000000.flac.bak",
    "x20260303T220000Z-abcd-000000.flac",
    "20260303T220000Z-abcd-000000.FLAC", "20260303T220000Z-abc1-000000.flac", "20260303T220000Z-abcd-00000０.flac",
    "..", "notes.txt", "20260303T220000Z-abcd-000000.json.tmp.swp", ".hidden", "20260303T220000Z-abcd.stream.json~",
    "my.json.tmp", "holiday.flac.part", "x.repair",
]  # fmt: skip


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "spool", "porch")
    spool.create()
    return spool


def test_a_new_spool_is_not_accessible_to_other_users(spool: Spool) -> None:
    assert spool.path.stat().st_mode & 0o007 == 0
    assert list(spool.path.iterdir()) == []


def test_a_spool_that_cannot_be_created_or_listed_raises_spool_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="record_path"):
        Spool(tmp_path / "file" / "spool", "porch").create()
    with pytest.raises(SpoolError, match="cannot be listed"):
        Spool(tmp_path / "nowhere", "porch").chunks.finished()


def test_a_second_recorder_cannot_lock_the_spool(spool: Spool) -> None:
    second = Spool(spool.path, "porch")
    with spool.recorder_lock.hold(), pytest.raises(SpoolBusy, match="another"), second.recorder_lock.hold():
        pass
    with spool.recorder_lock.hold():
        pass


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from(["put", "mark", "unmark", "remove"]), st.integers(0, 1)), max_size=12))
@example(steps=[("put", 1), ("mark", 1), ("unmark", 1)])
def test_a_listing_that_goes_on_from_an_earlier_one_finds_the_same(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder) / "spool", "porch")
        spool.create()
        known: dict[str, SpoolFile] = {}
        for step, number in steps:
            chunk = make_chunk(number, b"sound" * number)
            mark = spool.layout.retained_path(chunk.chunk_id)
            match step:
                case "put":
                    put_chunk(spool, chunk, b"sound" * number)
                case "mark":
                    mark.touch()
                case "unmark":
                    mark.unlink(missing_ok=True)
                case "remove":
                    spool.chunks.remove(chunk.chunk_id)
            known = spool.chunks.finished(known.values())
            assert known == spool.chunks.finished()


def test_a_finished_chunk_can_be_listed_read_and_removed(spool: Spool) -> None:
    data = audio_bytes(1)
    chunk = make_chunk(1, data)
    put_chunk(spool, chunk, data)
    assert [file.bytes for file in spool.chunks.finished().values()] == [len(data)]
    assert spool.chunks.manifest_ids() == {chunk.chunk_id}
    assert spool.chunks.manifest(chunk.chunk_id) == chunk
    assert spool.chunks.parts() == []
    assert spool.chunks.leftovers() == []
    spool.chunks.remove(chunk.chunk_id)
    spool.chunks.remove(chunk.chunk_id)
    assert list(spool.path.iterdir()) == []


def test_files_with_foreign_names_are_ignored(spool: Spool) -> None:
    for name in HOSTILE[:6] + HOSTILE[7:]:
        (spool.path / name).write_bytes(b"x")
    listed = (spool.chunks.finished(), spool.chunks.parts(), spool.chunks.manifest_ids(), spool.streams.ids())
    assert listed == ({}, [], set(), [])
    assert spool.chunks.leftovers() == []


def test_links_and_folders_are_ignored(spool: Spool, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    for ending in (".flac", ".flac.part", ".json", ".json.tmp"):
        (spool.path / f"20260303T220000Z-abcd-000001{ending}").symlink_to(tmp_path / "secret")
        (spool.path / f"20260303T220000Z-abcd-000002{ending}").mkdir()
    (spool.path / "20260303T220000Z-abcd.stream.json").symlink_to(tmp_path / "secret")
    listed = (spool.chunks.finished(), spool.chunks.parts(), spool.chunks.manifest_ids(), spool.streams.ids())
    assert listed == ({}, [], set(), [])
    assert spool.chunks.leftovers() == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "", "20260303T220000Z-abcd-000000/../x", "x\0"])
def test_nothing_outside_the_spool_can_be_removed(spool: Spool, name: str) -> None:
    with pytest.raises(SpoolError, match="not a chunk ID"):
        spool.chunks.remove(name)


def test_a_renamed_node_reads_what_it_recorded_under_its_former_names(spool: Spool) -> None:
    chunk, stream = make_chunk(1, b""), make_stream()
    put_chunk(spool, chunk, b"")
    spool.streams.write(stream)
    renamed = Spool(spool.path, "garden", ["attic", "porch"])
    assert renamed.chunks.manifest(chunk.chunk_id) == chunk
    assert renamed.streams.read(stream.stream_id) == stream


def test_what_another_name_recorded_is_refused_with_the_setting_that_makes_it_the_nodes_own(spool: Spool) -> None:
    put_chunk(spool, make_chunk(1, b""), b"")
    with pytest.raises(SpoolError, match=r"if this node was once called porch, add that to \[node\] former_names"):
        Spool(spool.path, "garden").chunks.manifest(make_chunk(1, b"").chunk_id)


@pytest.mark.parametrize(
    ("changes", "data", "message"),
    [
        ({"seq": 2}, None, "belongs to chunk"),
        ({"node": "attic"}, None, "belongs to chunk"),
        ({}, b"{", "is damaged"),
        ({}, b" " * 1_000_001, "too large"),
        ({}, b'{"chunk_id": "../../x"}', "is damaged"),
    ],
)
def test_a_damaged_or_misnamed_manifest_is_refused(
    spool: Spool, changes: dict[str, object], data: bytes | None, message: str
) -> None:
    chunk = make_chunk(**{"seq": 1, "data": b"", **changes})  # type: ignore[arg-type]
    put_chunk(spool, chunk, b"")
    path = spool.layout.manifest_path(make_chunk(1, b"").chunk_id)
    spool.layout.manifest_path(chunk.chunk_id).replace(path)
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(SpoolError, match=message):
        spool.chunks.manifest(make_chunk(1, b"").chunk_id)


@given(st.binary(max_size=100))
def test_a_damaged_state_always_raises_spool_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    spool = Spool(tmp_path_factory.mktemp("spool"), "porch")
    (spool.path / "state.json").write_bytes(data)
    with pytest.raises(SpoolError, match="damaged"):
        spool.state.read()


def test_state_streams_and_pauses_are_read_back_as_written(spool: Spool) -> None:
    assert spool.state.read() is None
    assert spool.pause.read() is None
    state = SpoolState(state="paused", since=START, boot_id=BOOT, ordinal=3)
    spool.state.write(state)
    spool.streams.write(make_stream())
    spool.pause.write(PauseOrder(Instant(START + 1)))
    assert spool.state.read() == state
    assert spool.streams.read(spool.streams.ids()[0]) == make_stream()
    assert spool.pause.read() == PauseOrder(Instant(START + 1))
    spool.pause.remove()
    spool.pause.remove()
    spool.streams.remove(make_stream().stream_id)
    assert (spool.pause.read(), spool.streams.ids()) == (None, [])


def test_only_the_recorders_own_temporaries_are_leftovers(spool: Spool) -> None:
    ours = {
        "state.json.tmp", "20260303T220000Z-abcd-000001.json.tmp", "20260303T220000Z-abcd.stream.json.tmp",
        "20260303T220000Z-abcd-000001.flac.part.repair", ".probe", "sounds.json.01234567.tmp",
    }  # fmt: skip
    for name in ours | {"pause.json.tmp", "settings.json.tmp"}:  # others may be writing those right now
        (spool.path / name).write_bytes(b"")
    assert {path.name for path in spool.chunks.leftovers()} == ours


def test_free_and_total_bytes_are_those_of_the_disk(spool: Spool) -> None:
    whole = os.statvfs(spool.path)
    assert spool.disk.total_bytes() == whole.f_blocks * whole.f_frsize
    assert 0 < spool.disk.free_bytes() <= spool.disk.total_bytes()


def test_an_unreadable_spool_raises_spool_error(spool: Spool) -> None:
    spool.state.write(SpoolState(state="paused", since=START, boot_id=BOOT, ordinal=3))
    spool.path.chmod(0)
    with without_root_privileges(), pytest.raises(SpoolError, match="cannot be read"):
        spool.state.read()


def test_a_file_in_place_of_the_spool_is_named_as_such(tmp_path: Path) -> None:
    """`[log] log_file` made it."""
    (tmp_path / "spool").touch()
    with pytest.raises(SpoolError, match=r"it is a file, perhaps that of \[log\] log_file; delete it, or set"):
        Spool(tmp_path / "spool", "porch").create()
