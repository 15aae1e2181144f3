"""Encryption at rest: unencrypted sound never reaches the spool, and the right key decrypts all of it."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pyrage
import pytest
import soundfile

from edge.catalog import Catalog, CatalogReader
from edge.configuration.settings import Recorder
from edge.core.errors import ConfigError, SpoolError
from edge.core.instant import Instant
from edge.core.values import Chunk, SpoolState
from edge.recorder.durable.chunk_writer import ChunkWriter, digest
from edge.recorder.durable.repair import repair
from edge.recorder.durable.sealing import Seal, checked_recipients, file_system, make_own, open_seal, volatile_folder
from edge.spool.spool import Spool
from query_service.answer.facts import FactReader
from query_service.answer.node_answers import Responder
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.protocol import Request
from tests.support.budgets import untimed
from tests.support.kernel_clock import ManualClock
from tests.support.recording.recorder_process import running_recorder
from tests.support.recording.rig import Rig
from tests.support.spool.chunks import RATE, START, STREAM, make_chunk, make_stream, set_mtime
from tests.support.spool.recorded import holes_of, streams_of
from tests.support.wait import wait_until

KEY = pyrage.x25519.Identity.generate()
PUBLIC = str(KEY.to_public())

pytestmark = pytest.mark.skipif(file_system(Path("/dev/shm")) != "tmpfs", reason="there is no tmpfs at /dev/shm")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "spool", "porch")
    spool.create()
    return spool


def opened(spool: Spool, chunk: Chunk) -> np.ndarray:
    """The samples of an encrypted chunk, whose manifest must tell the truth."""
    path = spool.layout.audio_path(chunk)
    assert path.name.endswith(".flac.age")
    assert chunk.encryption is not None
    assert chunk.encryption.recipients == (PUBLIC,)
    assert (chunk.bytes, chunk.sha256, chunk.crc32) == digest(path)
    plain = pyrage.decrypt(path.read_bytes(), [KEY])
    samples: np.ndarray = soundfile.read(io.BytesIO(plain), dtype="int16", always_2d=True)[0]
    assert len(samples) == chunk.frames
    return samples


def is_clear(path: Path) -> bool:
    return path.read_bytes()[:4] in (b"fLaC", b"RIFF")


def test_recorded_sound_is_encrypted_and_decrypts_to_the_same_samples(tmp_path: Path, shared_memory: Path) -> None:
    rig = Rig(tmp_path)
    rig.configure(recipients=PUBLIC, part_path=str(shared_memory))
    seen: list[Path] = []

    def look() -> None:
        seen.extend(part.path for part in rig.spool.chunks.parts())
        assert not any(is_clear(path) for path in rig.spool.path.iterdir() if path.is_file())

    rig.run(1.5, look, 1)
    assert seen
    assert all(path.is_relative_to(shared_memory) for path in seen)
    sound = np.concatenate([opened(rig.spool, chunk) for chunk in rig.manifests()])
    assert np.array_equal(sound, np.concatenate(rig.played))
    assert not rig.spool.chunks.parts()
    assert not list(shared_memory.glob("*/*.part"))
    [folder] = shared_memory.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_sound_left_on_tmpfs_by_a_killed_recorder_is_encrypted(tmp_path: Path, shared_memory: Path) -> None:
    options = [
        "recorder.source=synthetic", "recorder.record_period=60", "mqtt.host=127.0.0.1", "mqtt.port=1",
        f"recorder.recipients={PUBLIC}", f"recorder.part_path={shared_memory}",
    ]  # fmt: skip
    with running_recorder(tmp_path, *options) as recorder:
        recorder.wait_until_recording(40_000)
        recorder.kill()
    spool = recorder.spool
    assert [part.is_in(spool.path) for part in spool.chunks.parts()] == [False]
    with running_recorder(tmp_path, *options) as recorder:
        recorder.wait_until_recording()
        recorder.end(signal.SIGTERM)
    first, _ = streams_of(spool)
    chunks = {name: spool.chunks.manifest(name) for name in spool.chunks.finished()}
    [recovered] = [chunk for chunk in chunks.values() if chunk.recovered]
    assert recovered.stream_id == first.stream_id
    assert len(opened(spool, recovered)) >= 40_000 // 2
    assert [hole.cause for hole in holes_of(spool)] == ["crash"]
    assert not any(is_clear(path) for path in spool.path.iterdir() if path.is_file())
    assert not list(shared_memory.glob("*/*.part*"))


def part_on_tmpfs(spool: Spool, shared_memory: Path) -> tuple[Path, np.ndarray, Seal]:
    """A whole chunk that waits to be encrypted, and the state that tells of its stream."""
    seal = open_seal(Recorder(recipients=PUBLIC, part_path=str(shared_memory)), spool)
    assert seal is not None
    stream = make_stream()
    spool.streams.write(stream)
    knot = stream.knots[0]
    spool.state.write(
        SpoolState(state="recording", since=knot[1], boot_id="boot-1", ordinal=1, stream_id=STREAM, knot=knot)
    )
    part = seal.folder / f"{make_chunk(0).chunk_id}.flac.part"
    samples = np.random.default_rng(5).integers(-9_000, 9_000, (RATE, 1), dtype=np.int16)
    writer = ChunkWriter(part, RATE, 1, 16, "flac")
    writer.write(samples)
    writer.close()
    return part, samples, seal


def test_a_crash_between_manifest_and_rename_is_repaired(spool: Spool, shared_memory: Path) -> None:
    part, samples, seal = part_on_tmpfs(spool, shared_memory)
    kept = part.with_name("kept")
    shutil.copy(part, kept)
    chunk = seal.finish(spool, part, make_chunk(0))
    spool.layout.audio_path(chunk).rename(spool.layout.sealing_path(chunk))
    kept.rename(part)
    repair(spool, ManualClock())
    assert not spool.chunks.leftovers()
    assert not spool.chunks.parts()
    assert np.array_equal(opened(spool, spool.chunks.manifest(chunk.chunk_id)), samples)
    assert not spool.chunks.manifest(chunk.chunk_id).recovered


def test_a_crash_before_the_part_was_removed_duplicates_nothing(spool: Spool, shared_memory: Path) -> None:
    part, samples, seal = part_on_tmpfs(spool, shared_memory)
    kept = part.with_name("kept")
    shutil.copy(part, kept)
    chunk = seal.finish(spool, part, make_chunk(0))
    kept.rename(part)
    repair(spool, ManualClock())
    assert not spool.chunks.parts()
    assert np.array_equal(opened(spool, chunk), samples)


def test_recovered_sound_is_encrypted_to_the_recipients_it_was_recorded_for(spool: Spool, shared_memory: Path) -> None:
    _, samples, _ = part_on_tmpfs(spool, shared_memory)
    assert open_seal(Recorder(), spool) is None  # encryption was switched off since
    _, [chunk] = repair(spool, ManualClock())
    assert np.array_equal(opened(spool, chunk), samples)


def test_a_part_without_known_recipients_is_left_in_place(spool: Spool, shared_memory: Path) -> None:
    part, _, _ = part_on_tmpfs(spool, shared_memory)
    (part.parent / "recipients").unlink()
    _, recovered = repair(spool, ManualClock())
    assert not recovered
    assert part.exists()
    assert not spool.chunks.finished()


def test_a_power_cut_that_cleared_tmpfs_is_repaired_as_a_gap(spool: Spool, shared_memory: Path) -> None:
    part, _, _ = part_on_tmpfs(spool, shared_memory)
    shutil.rmtree(part.parent)
    state, recovered = repair(spool, ManualClock())
    assert not recovered
    assert state.open_hole is not None


def test_a_part_path_that_is_not_on_tmpfs_is_refused(spool: Spool) -> None:
    if file_system(spool.path) == "tmpfs":
        pytest.skip("temporary files lie on tmpfs here")
    with pytest.raises(ConfigError, match="no folder on tmpfs"):
        open_seal(Recorder(recipients=PUBLIC, part_path=str(spool.path)), spool)


def test_a_runtime_folder_that_is_not_on_tmpfs_is_skipped(spool: Spool, tmp_path: Path) -> None:
    seal = open_seal(Recorder(recipients=PUBLIC), spool, {"XDG_RUNTIME_DIR": str(tmp_path)})
    assert seal is not None
    try:
        assert seal.folder.is_relative_to("/dev/shm")
    finally:
        shutil.rmtree(seal.folder)


def test_the_services_own_runtime_folder_is_preferred_to_those_that_others_can_write_to(
    spool: Spool, shared_memory: Path
) -> None:
    environ = {"RUNTIME_DIRECTORY": str(shared_memory), "XDG_RUNTIME_DIR": "/dev/shm"}
    assert volatile_folder(Recorder(recipients=PUBLIC), spool, environ).parent == shared_memory


def test_a_part_folder_accessible_to_others_is_refused(spool: Spool, shared_memory: Path) -> None:
    settings = Recorder(recipients=PUBLIC, part_path=str(shared_memory))
    seal = open_seal(settings, spool)
    assert seal is not None
    for mode in (0o755, 0o750):
        seal.folder.chmod(mode)
        with pytest.raises(SpoolError, match="not a private folder"):
            open_seal(settings, spool)


def test_in_the_services_runtime_folder_its_group_may_list_the_parts_and_read_none(shared_memory: Path) -> None:
    environ = {"RUNTIME_DIRECTORY": str(shared_memory)}
    folder = make_own(shared_memory / "imhearing-1", environ)
    assert folder.stat().st_mode & 0o777 == 0o750
    assert make_own(folder, environ) == folder
    folder.chmod(0o770)
    with pytest.raises(SpoolError, match="not a private folder"):
        make_own(folder, environ)


@pytest.mark.parametrize(
    ("text", "message"),
    [(" , ", "contains no key"), (f"{PUBLIC},age1x", "key 2"), (str(KEY), "private key")],
    ids=["none", "one is none", "private"],  # the keys are new in every process
)
def test_invalid_recipients_are_reported_without_showing_a_private_key(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        checked_recipients(text)
    assert str(KEY)[:30] not in str(caught.value)


def test_each_of_several_recipients_can_decrypt(spool: Spool, shared_memory: Path, tmp_path: Path) -> None:
    others = [pyrage.x25519.Identity.generate() for _ in range(2)]
    rig = Rig(tmp_path / "rig")
    rig.configure(recipients=",".join(str(one.to_public()) for one in others), part_path=str(shared_memory))
    rig.run(1)
    [chunk] = rig.manifests()
    for one in others:
        assert pyrage.decrypt(rig.spool.layout.audio_path(chunk).read_bytes(), [one])[:4] == b"fLaC"
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(rig.spool.layout.audio_path(chunk).read_bytes(), [KEY])


def test_readers_see_a_part_that_is_recorded_on_tmpfs(tmp_path: Path, shared_memory: Path) -> None:
    rig = Rig(tmp_path)
    rig.configure(recipients=PUBLIC, part_path=str(shared_memory))
    alive: list[int] = []
    rig.run(0.9, lambda: alive.append(wait_until(lambda: len(Spool(rig.spool.path, "porch").chunks.parts()), "a part")))
    assert alive == [1]


def test_one_failed_write_while_encrypting_raises_the_disks_error(
    spool: Spool, shared_memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a bad card does: the next write, of the closing flush, succeeds."""
    part, samples, seal = part_on_tmpfs(spool, shared_memory)
    write = os.write
    failed: list[int] = []

    def fail_once(descriptor: int, data: bytes) -> int:
        if not failed and Path(f"/proc/self/fd/{descriptor}").readlink().name.endswith(".age.tmp"):
            failed.append(descriptor)
            raise OSError(errno.EIO, "Input/output error")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", fail_once)
    with pytest.raises(OSError, match="Input/output error") as caught:
        seal.finish(spool, part, make_chunk(0))
    assert caught.value.errno == errno.EIO
    assert part.exists()
    assert not spool.chunks.finished()
    assert not spool.chunks.leftovers()  # half a file would keep the room that is missed
    _, [chunk] = repair(spool, ManualClock())
    assert np.array_equal(opened(spool, chunk), samples)


def test_without_free_space_the_sound_waits_unencrypted_on_tmpfs(
    spool: Spool, shared_memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, _, seal = part_on_tmpfs(spool, shared_memory)
    size = part.stat().st_size
    monkeypatch.setattr(spool.disk, "total_bytes", lambda: 10**10)
    monkeypatch.setattr(spool.disk, "free_bytes", lambda: size + 9_999_999)
    before = sorted(spool.path.iterdir())
    with pytest.raises(SpoolError, match="is full; recording resumes once 40 MB are free"):
        seal.finish(spool, part, make_chunk(0))
    assert sorted(spool.path.iterdir()) == before
    monkeypatch.setattr(spool.disk, "free_bytes", lambda: size + 10_000_000)
    seal.finish(spool, part, make_chunk(0))
    assert not part.exists()


def test_bytes_still_to_be_written_to_disk_are_counted_once(spool: Spool, shared_memory: Path) -> None:
    assert spool.disk.pending_tmpfs_bytes() == []
    part, _, seal = part_on_tmpfs(spool, shared_memory)
    size = part.stat().st_size
    assert spool.disk.pending_tmpfs_bytes() == [size]
    spool.layout.sealing_path(make_chunk(0)).write_bytes(bytes(1_000))
    assert spool.disk.pending_tmpfs_bytes() == [size - 1_000]
    kept = part.with_name("kept")
    shutil.copy(part, kept)
    seal.finish(spool, part, make_chunk(0))
    assert spool.disk.pending_tmpfs_bytes() == []
    kept.rename(part)  # as while it is being removed
    assert spool.disk.pending_tmpfs_bytes() == [0]


def test_a_recovery_without_free_space_waits_without_rewriting_files(
    tmp_path: Path, shared_memory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(tmp_path)
    rig.configure(recipients=PUBLIC, part_path=str(shared_memory))
    part, samples, _ = part_on_tmpfs(rig.spool, shared_memory)
    seen: list[tuple[object, ...]] = []

    def free() -> int:
        if len(seen) >= 30:
            return 10**9
        state = rig.spool.state.read()
        assert state is not None
        inodes = sorted((path.name, path.stat().st_ino) for path in rig.spool.path.iterdir())
        seen.append((state.state, state.stream_id, inodes, sorted(part.parent.iterdir())))
        return 1_000_000

    monkeypatch.setattr(rig.spool.disk, "free_bytes", free)
    monkeypatch.setattr(rig.spool.disk, "total_bytes", lambda: 10**10)
    rig.run(1)
    assert seen[10][:2] == ("disk_full", STREAM)
    assert all(one == seen[10] for one in seen[10:])
    assert rig.facts.modes == ["disk_full", "recording", "stopped"]
    assert caplog.text.count("recording resumes once 40") == 1
    assert np.array_equal(opened(rig.spool, rig.spool.chunks.manifest(make_chunk(0).chunk_id)), samples)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_recovery_waiting_for_free_space_is_reported_accurately(
    tmp_path: Path, shared_memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sound is there and not finished, and after it nothing is recorded because the disk is full."""
    rig = Rig(tmp_path)
    rig.configure(recipients=PUBLIC, part_path=str(shared_memory))
    part, _, _ = part_on_tmpfs(rig.spool, shared_memory)
    flushed = Instant(START + 1_000_000)
    set_mtime(part, flushed)
    looks: list[int] = []

    def free() -> int:
        looks.append(1)
        if len(looks) > 20:
            rig.stop()
        return 1_000_000

    with monkeypatch.context() as patch:
        patch.setattr(rig.spool.disk, "free_bytes", free)
        patch.setattr(rig.spool.disk, "total_bytes", lambda: 10**10)
        rig.run(1)
    with contextlib.closing(Catalog(tmp_path / "catalog.db")) as catalog:
        catalog.open()
        now = Instant(flushed + 1_000_000)
        reader = FactReader(rig.spool, CatalogReader(catalog.path))
        node = Responder("porch", reader, lambda _: None, clock=lambda: now, make_budget=untimed)
        answer = node.answer(Request(id="a", from_=START, to=now))
    assert isinstance(answer, CoverageAnswer)
    states = [(one.__struct_config__.tag, one.to, getattr(one, "cause", None)) for one in answer.intervals]
    assert states == [("recording", flushed, None), ("gap", now, "disk_full")]
    rig.run(1)
    assert [hole.cause for hole in rig.holes()] == ["disk_full"]


def test_a_full_disk_while_encrypting_raises_no_space_left(spool: Spool, shared_memory: Path, tmp_path: Path) -> None:
    seal = open_seal(Recorder(recipients=PUBLIC, part_path=str(shared_memory)), spool)
    assert seal is not None
    plain = tmp_path / "plain"
    plain.write_bytes(bytes(300_000))
    with pytest.raises(OSError, match="No space left") as caught:
        seal.encrypt(plain, Path("/dev/full"))
    assert caught.value.errno == errno.ENOSPC
