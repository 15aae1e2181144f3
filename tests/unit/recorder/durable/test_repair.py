"""What a crash can leave in the spool, and how it is repaired."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from edge.core.errors import SpoolError
from edge.core.ids import chunk_id
from edge.core.values import AudioFormat, Chunk, Hole, OpenHole, SpoolState
from edge.recorder.durable.chunk_writer import digest, finish_chunk
from edge.recorder.durable.repair import repair
from edge.spool.chunks import SpoolChunks
from edge.spool.spool import Spool
from tests.support.spool.chunks import RATE, START, STREAM, at, audio_bytes, make_chunk, make_stream, put_chunk
from tests.unit.recorder.durable.crashed_spool import KERNEL, leave_recording_state, noise, part_bytes


def sound_of(spool: Spool, chunk: Chunk) -> np.ndarray:
    return soundfile.read(spool.layout.audio_path(chunk), dtype="int16", always_2d=True)[0]  # type: ignore[no-any-return]


def names(spool: Spool) -> set[str]:
    return {path.name for path in spool.path.iterdir()}


def test_an_empty_spool_needs_no_repair(spool: Spool) -> None:
    state, recovered = repair(spool, KERNEL)
    assert (state.state, state.ordinal, state.open_hole, state.holes, recovered) == ("stopped", 0, None, (), [])
    assert spool.state.read() == state
    assert repair(spool, KERNEL)[0].open_hole is None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(0, 60_000), audio_format=st.sampled_from(["flac", "wav"]))
def test_any_prefix_of_a_part_is_recovered_with_correct_samples(
    tmp_path_factory: pytest.TempPathFactory, length: int, audio_format: AudioFormat
) -> None:
    spool = Spool(tmp_path_factory.mktemp("spool"), "porch")
    frames = 3 * 4_096 + 700
    spool.streams.write(make_stream(chunk_frames=2 * RATE, format=audio_format))
    leave_recording_state(spool, (0, START))
    data = part_bytes(spool.path, frames, audio_format)[:length]
    spool.layout.part_path(chunk_id(STREAM, 0), audio_format).write_bytes(data)
    state, recovered = repair(spool, KERNEL)
    assert spool.chunks.parts() == []
    assert spool.chunks.leftovers() == []
    assert state.open_hole is not None
    assert state.open_hole.cause == "crash"
    if not recovered:
        assert length < 16_000
        assert state.open_hole.from_ == START
        assert spool.streams.ids() == []
        return
    [chunk] = recovered
    assert np.array_equal(sound_of(spool, chunk), noise(frames)[: chunk.frames])
    assert spool.chunks.manifest(chunk.chunk_id) == chunk
    assert digest(spool.layout.audio_path(chunk)).sha256 == chunk.sha256
    assert (chunk.recovered, chunk.end_reason, chunk.started_at) == (True, "crash", START)
    assert state.open_hole.from_ == chunk.ended_at == at(chunk.frames / RATE)
    assert spool.streams.read(STREAM).knots == ((0, START), (chunk.frames, chunk.ended_at))
    again, nothing = repair(spool, KERNEL)
    assert nothing == []
    assert replace(again, since=state.since) == state


def test_a_chunk_that_lacked_only_its_rename_is_kept_unchanged(spool: Spool) -> None:
    spool.streams.write(make_stream())
    leave_recording_state(spool, (0, START))
    data = audio_bytes(0)
    chunk = make_chunk(0, data)
    put_chunk(spool, chunk, data)
    spool.layout.audio_path(chunk).replace(spool.layout.part_path(chunk.chunk_id, "flac"))
    assert repair(spool, KERNEL)[1] == [chunk]
    assert spool.layout.audio_path(chunk).read_bytes() == data


def test_two_parts_of_one_stream_are_recovered_as_adjacent_chunks(spool: Spool) -> None:
    spool.streams.write(make_stream())
    leave_recording_state(spool, (0, START))
    whole = audio_bytes(0)
    spool.layout.part_path(chunk_id(STREAM, 0), "flac").write_bytes(whole)
    spool.layout.part_path(chunk_id(STREAM, 1), "flac").write_bytes(part_bytes(spool.path, 5_000))
    first, second = repair(spool, KERNEL)[1]
    assert (first.frames, first.end_reason) == (RATE, None)
    assert (second.first_frame, second.frames, second.end_reason) == (RATE, 4_096, "crash")
    assert first.ended_at == second.started_at


def test_a_recovered_chunk_after_lost_samples_keeps_its_time(spool: Spool) -> None:
    spool.streams.write(make_stream())
    leave_recording_state(spool, (0, START))
    spool.layout.part_path(chunk_id(STREAM, 0), "flac").write_bytes(part_bytes(spool.path, 5_000))
    spool.layout.part_path(chunk_id(STREAM, 1), "flac").write_bytes(part_bytes(spool.path, 5_000))
    first, second = repair(spool, KERNEL)[1]
    assert first.ended_at == at(4_096 / RATE)
    assert second.started_at == at(1)


def test_gaps_of_a_stream_without_chunks_are_kept(spool: Spool) -> None:
    before = (Hole("paused", at(-9), at(-5)), Hole("crash", at(-5), at(0)))
    spool.streams.write(make_stream(before=before, earlier=1))
    leave_recording_state(spool, (0, START))
    state, _ = repair(spool, KERNEL)
    assert (state.holes, state.open_hole, state.earlier) == (before, OpenHole("crash", START), 1)
    assert spool.streams.ids() == []


def test_the_record_of_a_stream_that_was_never_opened_is_removed(spool: Spool) -> None:
    data = audio_bytes(0)
    spool.streams.write(make_stream())
    put_chunk(spool, make_chunk(0, data), data)
    spool.state.write(SpoolState(state="stopped", since=START, boot_id=KERNEL.boot_id, ordinal=1))
    spool.streams.write(make_stream("20260303T220009Z-zzzz", ordinal=2))
    state, _ = repair(spool, KERNEL)
    assert spool.streams.ids() == [STREAM]
    assert state.ordinal == 1


def test_a_state_older_than_its_streams_is_updated(spool: Spool) -> None:
    data = audio_bytes(0)
    spool.streams.write(make_stream(ordinal=9))
    put_chunk(spool, make_chunk(0, data), data)
    spool.state.write(SpoolState(state="stopped", since=START, boot_id=KERNEL.boot_id, ordinal=1))
    assert repair(spool, KERNEL)[0].ordinal == 9
    assert spool.streams.ids() == [STREAM]


def test_after_another_boot_the_cause_of_the_gap_is_power(spool: Spool) -> None:
    spool.streams.write(make_stream())
    data = audio_bytes(0)
    put_chunk(spool, make_chunk(0, data), data)
    leave_recording_state(spool, (RATE, at(1)), boot_id="the boot before")
    state, _ = repair(spool, KERNEL)
    assert state.open_hole == OpenHole("power", at(1))
    assert (state.earlier, state.boot_id) == (1, KERNEL.boot_id)


def test_a_known_cause_is_recorded_for_the_gap(spool: Spool) -> None:
    spool.streams.write(make_stream())
    leave_recording_state(spool, (RATE, at(1)))
    assert repair(spool, KERNEL, "disk_full")[0].open_hole == OpenHole("disk_full", at(1))


def test_recovered_chunks_of_an_uncertain_stream_use_its_original_clock(spool: Spool) -> None:
    spool.streams.write(make_stream(uncertain=True, shift=3_600_000_000, knots=((0, at(3_600)),)))
    leave_recording_state(spool, (0, at(3_600)))
    spool.layout.part_path(chunk_id(STREAM, 0), "flac").write_bytes(part_bytes(spool.path, 5_000))
    state, [chunk] = repair(spool, KERNEL)
    assert chunk.uncertain
    assert chunk.started_at == START
    assert state.open_hole == OpenHole("crash", at(3_600 + 4_096 / RATE))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"state": "dancing"}', b"x" * 2_000_000])
def test_a_damaged_state_is_set_aside_and_rebuilt_from_the_chunks(spool: Spool, content: bytes) -> None:
    spool.streams.write(make_stream(ordinal=7))
    data = audio_bytes(0)
    put_chunk(spool, make_chunk(0, data), data)
    (spool.path / "state.json").write_bytes(content)
    state, _ = repair(spool, KERNEL)
    assert (state.ordinal, state.open_hole, state.earlier) == (7, OpenHole("unknown", at(1)), 1)
    [aside] = spool.path.glob("state.json.damaged-*")
    assert aside.read_bytes() == content


FOREIGN = {
    "holiday.flac": b"mine", "notes.json.tmp": b"mine", "x.repair": b"mine", "pause.json.tmp": b"someone's",
    "20260303T220000Z-zzzz-000001.flac.part": b"no stream", "20260303T220000Z-zzzz-000002.flac": b"no manifest",
    "20260303T220000Z-zzzz-000003.wav.age": b"no manifest", "20260303T220000Z-zzzz-000004.json": b"damaged",
    "..flac.part": b"mine",
}  # fmt: skip


def test_repair_leaves_foreign_files_untouched(spool: Spool, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, data in FOREIGN.items():
        (spool.path / name).write_bytes(data)
    attic = Spool(spool.path, "attic")
    other = "20260101T000000Z-aaaa"
    attic.streams.write(make_stream(other, node="attic"))
    put_chunk(attic, make_chunk(0, b"x", node="attic", stream_id=other), b"x")
    attic.layout.manifest_path(chunk_id(other, 1)).write_bytes(
        attic.layout.manifest_path(chunk_id(other, 0)).read_bytes()
    )
    attic.layout.part_path(chunk_id(other, 2), "flac").write_bytes(part_bytes(tmp_path, 9_000))
    (tmp_path / "target").write_bytes(b"precious")
    spool.layout.part_path(chunk_id(STREAM, 0), "flac").symlink_to(tmp_path / "target")
    spool.streams.write(make_stream())
    leave_recording_state(spool, (0, START))
    before = {path.name: path.read_bytes() for path in spool.path.iterdir()}
    assert repair(spool, KERNEL)[1] == []
    after = {path.name: path.read_bytes() for path in spool.path.iterdir()}
    del before["state.json"], after["state.json"], before[f"{STREAM}.stream.json"]
    assert after == before
    assert (tmp_path / "target").read_bytes() == b"precious"
    for name in (chunk_id(other, 1), "zzzz-000001", "zzzz-000002", "zzzz-000004"):
        assert name in caplog.text


def test_repair_removes_the_recorders_own_leftovers(spool: Spool) -> None:
    spool.streams.write(make_stream())
    leave_recording_state(spool, (RATE, at(1)))
    ours = [
        "state.json.tmp",
        f"{STREAM}.stream.json.tmp",
        f"{STREAM}-000001.json.tmp",
        f"{STREAM}-000001.flac.part.repair",
    ]
    for name in ours:
        (spool.path / name).write_bytes(b"half")
    put_chunk(spool, make_chunk(3, b"x"), b"x")
    spool.layout.audio_path(make_chunk(3, b"x")).unlink()  # the archiver had begun to remove it
    repair(spool, KERNEL)
    assert names(spool) == {"state.json", f"{STREAM}.stream.json"}


def test_audio_without_a_manifest_gets_one(spool: Spool) -> None:
    spool.streams.write(make_stream())
    data = audio_bytes(0)
    put_chunk(spool, make_chunk(0, data), data)
    spool.layout.manifest_path(chunk_id(STREAM, 0)).unlink()
    [chunk] = repair(spool, KERNEL)[1]
    assert (chunk.frames, chunk.recovered) == (RATE, True)
    assert spool.chunks.manifest(chunk.chunk_id) == chunk


def test_an_interrupted_repair_can_be_repeated(spool: Spool) -> None:
    spool.streams.write(make_stream())
    leave_recording_state(spool, (0, START))
    data = part_bytes(spool.path, 5_000)
    spool.layout.part_path(chunk_id(STREAM, 0), "flac").write_bytes(data)
    [chunk] = repair(spool, KERNEL)[1]
    spool.layout.part_path(chunk_id(STREAM, 0), "flac").write_bytes(data)  # its removal had not happened yet
    assert repair(spool, KERNEL)[1] == []
    assert spool.chunks.parts() == []
    assert spool.chunks.manifest(chunk.chunk_id) == chunk


def test_a_large_unreadable_part_is_set_aside_instead_of_deleted(spool: Spool) -> None:
    spool.streams.write(make_stream())
    leave_recording_state(spool, (0, START))
    spool.layout.part_path(chunk_id(STREAM, 0), "flac").write_bytes(b"?" * 200_000)
    assert repair(spool, KERNEL)[1] == []
    assert (spool.path / f"{STREAM}-000000.flac.part.damaged").stat().st_size == 200_000


def test_repairing_a_missing_spool_raises_an_error(spool: Spool) -> None:
    with pytest.raises((SpoolError, OSError)):
        repair(Spool(spool.path / "nowhere", "porch"), KERNEL)


def test_finishing_a_chunk_adds_only_the_digest_of_its_file(spool: Spool) -> None:
    part = spool.path / "x"
    part.write_bytes(b"abc")
    expected, unfinished = digest(part), make_chunk(0, b"")
    chunk = finish_chunk(spool, part, unfinished)
    assert (chunk.bytes, chunk.sha256, chunk.crc32) == expected
    assert chunk.chunk_id == unfinished.chunk_id
    assert spool.chunks.manifest(chunk.chunk_id) == chunk
    assert spool.layout.audio_path(chunk).read_bytes() == b"abc"


class EmptiedChunks(SpoolChunks):
    """The archiver removes a chunk while the recorder lists the folder."""

    def manifest_ids(self) -> set[str]:
        for name in list(self.finished()):
            self.remove(name)
        return super().manifest_ids()


def test_a_chunk_removed_by_the_archiver_during_repair_causes_no_error(spool: Spool) -> None:
    spool.streams.write(make_stream())
    put_chunk(spool, make_chunk(0), audio_bytes(0))
    spool.chunks = EmptiedChunks(spool.layout, spool.node)
    repair(spool, KERNEL)
    assert not spool.chunks.finished()
