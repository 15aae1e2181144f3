"""The spool: a folder of finished chunks with manifests and small state files.

The recorder alone adds to it, the archiver alone removes finished chunks, everybody else reads. A chunk exists when its
audio has its final name; its manifest stands there before. Names that are not ours are left alone and never deleted.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from edge.core import wire
from edge.core.errors import SpoolBusy, SpoolError, WireError
from edge.core.files import sync_folder, temporary_beside, write_atomically, write_durably
from edge.core.ids import is_chunk_id, stream_of
from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock
from edge.core.values import Chunk, PauseOrder, SpoolState, Stream

_AUDIO = re.compile(r"(\d{8}T\d{6}Z-[a-z2-7]{4}-\d{6})\.(?:flac|wav)(?:\.age)?", re.ASCII)
_PART = re.compile(r"(\d{8}T\d{6}Z-[a-z2-7]{4}-\d{6})\.(flac|wav)\.part", re.ASCII)
_DAMAGED = re.compile(r"\d{8}T\d{6}Z-[a-z2-7]{4}-\d{6}\.(?:flac|wav)\.part\.damaged", re.ASCII)
_MANIFEST = re.compile(r"(\d{8}T\d{6}Z-[a-z2-7]{4}-\d{6})\.json", re.ASCII)
_STREAM = re.compile(r"(\d{8}T\d{6}Z-[a-z2-7]{4})\.stream\.json", re.ASCII)
_TEMPORARY = r"(?:\.[0-9a-f]{8})?\.tmp"  # of edge.core.files; without a number: written by versions before 0.2
_LEFTOVER = re.compile(
    rf"\.probe|recipients{_TEMPORARY}|state\.json{_TEMPORARY}"
    r"|\d{8}T\d{6}Z-[a-z2-7]{4}"
    rf"(?:-\d{{6}}\.(?:json{_TEMPORARY}|(?:flac|wav)\.(?:part\.repair|age\.tmp))|\.stream\.json{_TEMPORARY})",
    re.ASCII,
)
_WRITABLE = 0o222  # the mode bits of which a copy of what the store has is without
_RESERVE_BYTES = 20_000_000  # left free on the disk, to finish the current chunk and for everybody else's logs
_RESERVE_PART = 20  # but no more than this part of a small disk
_MAX_MANIFEST = 1_000_000  # bytes; an hour's manifest with its per-second levels takes 30 kB

T = TypeVar("T")


class SpoolFile(NamedTuple):
    """A finished chunk's audio as the folder lists it, without a look at its manifest."""

    chunk_id: str
    name: str  # with its folder; a path for each of many thousand would take ten times as much
    bytes: int
    stored: bool = False  # a copy of what the store has: it waits for nothing

    @property
    def path(self) -> Path:
        return Path(self.name)


class PartFile(NamedTuple):
    """A chunk being written, or one that a crash left so. `modified_at` is of its last flush."""

    chunk_id: str
    format: str
    path: Path
    bytes: int
    modified_at: Instant

    def is_in(self, spool: Spool) -> bool:
        """Whether it lies in the spool itself; else it lies on tmpfs and must be encrypted before it goes there."""
        return self.path.parent == spool.path


class Spool:
    """The folder `path` of the node `node`. Opens nothing before it is asked; raises SpoolError."""

    def __init__(self, path: Path, node: str) -> None:
        self.path = path
        self.node = node

    def create(self) -> None:
        """Makes the folder, readable by owner and group only, and tries whether it can be written."""
        try:
            self.path.mkdir(mode=0o750, parents=True, exist_ok=True)
            probe = self.path / f".probe-{os.getpid()}"  # recorder and archiver may look at once
            try:
                write_durably(probe, b"")
            finally:
                probe.unlink(missing_ok=True)
        except OSError as problem:
            raise SpoolError(
                f"{self.path}: the spool cannot be written ({problem.strerror});"
                " mend its rights or set [recorder] record_path"
            ) from None

    @contextlib.contextmanager
    def locked_for_recording(self) -> Iterator[None]:
        """Only one recorder may add to a spool: the second one gets a SpoolBusy."""
        try:
            lock = (self.path / ".recorder.lock").open("a")
        except OSError as problem:
            raise self.gone(problem) from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SpoolBusy(f"{self.path}: another recorder is writing here; stop it first") from None
            yield

    def has_recorder(self) -> bool:
        """Whether a recorder holds the spool now, recording or paused. Raises OSError."""
        try:
            lock = (self.path / ".recorder.lock").open("rb")
        except FileNotFoundError:
            return False
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two who ask do not disturb each other
            except BlockingIOError:
                return True
        return False

    # names

    def audio_path(self, chunk: Chunk) -> Path:
        return self.path / chunk.member

    def part_path(self, chunk_id: str, audio_format: str) -> Path:
        return self.path / f"{chunk_id}.{audio_format}.part"

    def sealing_path(self, chunk: Chunk) -> Path:
        """Where a chunk is encrypted to, before it gets its name."""
        return self.path / f"{chunk.chunk_id}.{chunk.format}.age.tmp"

    def keep_parts_in(self, folder: Path) -> None:
        """From now on the chunk being written lies in `folder`; a link tells everybody. Raises OSError."""
        if self._parts_link.is_symlink() and self._parts_link.readlink() == folder:
            return
        with temporary_beside(self._parts_link) as temporary:
            temporary.symlink_to(folder, target_is_directory=True)
            temporary.replace(self._parts_link)
        sync_folder(self.path)

    @property
    def _parts_link(self) -> Path:
        return self.path / "parts"

    def manifest_path(self, chunk_id: str) -> Path:
        return self.path / f"{chunk_id}.json"

    def stream_path(self, stream_id: str) -> Path:
        return self.path / f"{stream_id}.stream.json"

    # chunks

    def finish(self, part: Path, chunk: Chunk) -> Path:
        """Turns `part`, already fsynced, into the finished `chunk`; gives its path. Raises OSError on a bad disk."""
        write_atomically(self.manifest_path(chunk.chunk_id), wire.encode(chunk), sync_name=False)
        return self.finish_described(part, chunk)

    def finish_described(self, part: Path, chunk: Chunk) -> Path:
        """The last step of `finish`, where the manifest stands already."""
        audio = self.audio_path(chunk)
        part.replace(audio)
        sync_folder(self.path)
        return audio

    def chunks(self) -> dict[str, SpoolFile]:
        """Every finished chunk by its id, from one listing of the folder."""
        return {file.chunk_id: file for file in self._files(_AUDIO, _spool_file)}

    def parts(self) -> list[PartFile]:
        """The chunk being written, and what a crash left unfinished."""
        return [part for folder in self.folders() for part in self._files(_PART, _part_file, folder)]

    def damaged_parts(self) -> list[Path]:
        """Parts that could not be repaired, kept for somebody to examine."""
        return [
            path
            for folder in self.folders()
            for path in self._files(_DAMAGED, lambda _match, entry: Path(entry.path), folder)
        ]

    def manifests(self) -> set[str]:
        """Ids of all manifests, also of those without audio."""
        return set(self._files(_MANIFEST, lambda match, _entry: match[1]))

    def leftovers(self) -> list[Path]:
        """Temporary files of a recorder that died; nobody needs them."""
        return [
            path
            for folder in self.folders()
            for path in self._files(_LEFTOVER, lambda _match, entry: Path(entry.path), folder)
        ]

    def manifest(self, chunk_id: str) -> Chunk:
        """The manifest of one chunk; SpoolError when it is missing, damaged or another's."""
        chunk = self._read(self.manifest_path(chunk_id), Chunk)
        if chunk.chunk_id != chunk_id or chunk.node != self.node:
            raise SpoolError(
                f"{self.manifest_path(chunk_id)}: belongs to chunk {chunk.chunk_id} of node {chunk.node};"
                " move it out of the spool"
            )
        return chunk

    def mark_stored(self, chunk_id: str) -> None:
        """The store has this chunk too, and its file here stays for a while: as one that nobody may write any more.

        So the recorder, which sees no catalog, can tell what waits. Without rights to do so it counts as waiting.
        """
        for audio in self._audio_paths(chunk_id):
            with contextlib.suppress(OSError):
                audio.chmod(audio.stat().st_mode & ~_WRITABLE)

    def remove(self, chunk_id: str) -> None:
        """Removes a finished chunk, audio first: a manifest alone is nothing."""
        for audio in self._audio_paths(chunk_id):
            audio.unlink(missing_ok=True)
        self.manifest_path(chunk_id).unlink(missing_ok=True)

    def _audio_paths(self, chunk_id: str) -> list[Path]:
        """Where a chunk's audio may lie."""
        if not is_chunk_id(chunk_id):
            raise SpoolError(f"{chunk_id[:80]!r} is no chunk id")
        return [self.path / f"{chunk_id}{ending}" for ending in (".flac", ".wav", ".flac.age", ".wav.age")]

    # streams and state

    def write_stream(self, stream: Stream) -> None:
        write_atomically(self.stream_path(stream.stream_id), wire.encode(stream))

    def stream(self, stream_id: str) -> Stream:
        """The record of one stream; SpoolError when it is missing, damaged or another's."""
        stream = self._read(self.stream_path(stream_id), Stream)
        if stream.stream_id != stream_id or stream.node != self.node:
            raise SpoolError(
                f"{self.stream_path(stream_id)}: belongs to stream {stream.stream_id} of node {stream.node};"
                " move it out of the spool"
            )
        return stream

    def streams(self) -> list[str]:
        """Ids of all streams with a record here."""
        return sorted(self._files(_STREAM, lambda match, _entry: match[1]))

    def remove_stream(self, stream_id: str) -> None:
        self.stream_path(stream_id).unlink(missing_ok=True)

    def write_state(self, state: SpoolState) -> None:
        write_atomically(self.path / "state.json", wire.encode(state))

    def state(self) -> SpoolState | None:
        """What the recorder noted last; None where it never ran. SpoolError when the file is damaged."""
        return self._read_if_there(self.path / "state.json", SpoolState)

    def recorder_seen_at(
        self, state: SpoolState, parts: Sequence[PartFile], chunks: Mapping[str, SpoolFile]
    ) -> Instant | None:
        """When the recorder in this state last wrote here, state or sound; None where nothing tells.

        `parts` and `chunks` were listed just before, in this order: what was finished meanwhile is in both, not in
        neither. Between two files there is no part, and the archiver may already have taken the chunk: then the state
        tells, which is noted with each chunk.
        """
        paths = [self.path / "state.json"]
        times = [part.modified_at for part in parts if stream_of(part.chunk_id) == state.stream_id]
        if not times:
            newest = max((name for name in chunks if stream_of(name) == state.stream_id), default=None)
            paths += [chunks[newest].path] if newest else []
        for path in paths:
            with contextlib.suppress(OSError):
                times.append(_modified_at(path.stat()))
        return max(times, default=None)

    def pause_order(self) -> PauseOrder | None:
        """The pause that is asked for, also one whose end has passed; None without one."""
        return self._read_if_there(self.path / "pause.json", PauseOrder)

    def write_pause_order(self, order: PauseOrder) -> None:
        write_atomically(self.path / "pause.json", wire.encode(order))

    def order_pause(self, until: Instant | None, kernel: KernelClock) -> None:
        """A pause from now on. With it stands which clock its end is told by. Raises OSError."""
        uncertain = not kernel.synchronised()
        self.write_pause_order(PauseOrder(until, kernel.boot_id, kernel.utc_offset(), uncertain))

    def remove_pause_order(self) -> None:
        (self.path / "pause.json").unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Room left on the spool's disk for those who are not root."""
        stat = self._disk()
        return stat.f_bavail * stat.f_frsize

    def awaited(self) -> list[int]:
        """Bytes that still have to come onto this disk, for each part on tmpfs, in the order of their names."""
        parts = [part for folder in self.folders()[1:] for part in self._files(_PART, _part_file, folder)]
        return [self._still_to_come(part) for part in sorted(parts)]

    def _still_to_come(self, part: PartFile) -> int:
        encrypted = f"{part.chunk_id}.{part.format}.age"
        try:
            return max(0, part.bytes - (self.path / f"{encrypted}.tmp").stat().st_size)
        except FileNotFoundError:  # not begun, or done: asked in this order, as it gets its name meanwhile
            return 0 if (self.path / encrypted).exists() else part.bytes
        except OSError as problem:
            raise self.gone(problem) from None

    def reserve_bytes(self) -> int:
        """What the recorder leaves free."""
        return min(_RESERVE_BYTES, self.disk_bytes() // _RESERVE_PART)

    def make_sure_of_room(self, size: int) -> None:
        """SpoolError unless `size` more bytes leave half the reserve: what is finished when it is touched may use some.

        Asked before they are written: a disk without room must not be written full, again and again.
        """
        if self.free_bytes() < size + self.reserve_bytes() // 2:
            raise self.full(size)

    def full(self, size: int = 0) -> SpoolError:
        """Says what is needed, for `size` bytes and then to record, and not what is free: that changes all the time,
        and each change would be told."""
        needed = (2 * self.reserve_bytes() + size) / 1_000_000
        return SpoolError(
            f"the disk of {self.path} is full; recording goes on once {needed:.3g} MB are free:"
            " make room, or let it be archived"
        )

    def gone(self, problem: OSError) -> SpoolError:
        """What to say when the folder itself cannot be used any more."""
        return SpoolError(f"{self.path}: the spool is gone ({problem.strerror}); mount or make the folder again")

    def disk_bytes(self) -> int:
        """The size of the spool's disk."""
        stat = self._disk()
        return stat.f_blocks * stat.f_frsize

    def _disk(self) -> os.statvfs_result:
        try:
            return os.statvfs(self.path)
        except OSError as problem:
            raise self.gone(problem) from None

    def _read_if_there(self, path: Path, wanted: type[T]) -> T | None:
        data = _content(path)
        return None if data is None else _decoded(path, data, wanted)

    def _read(self, path: Path, wanted: type[T]) -> T:
        data = _content(path)
        if data is None:
            raise SpoolError(f"{path}: cannot be read ({os.strerror(errno.ENOENT)})")
        return _decoded(path, data, wanted)

    def folders(self) -> list[Path]:
        """The spool, and the folder on tmpfs that `keep_parts_in` named, where there is one that we may look into."""
        link = self._parts_link
        if not link.is_symlink() or not os.access(link, os.R_OK | os.X_OK):
            return [self.path]
        return [self.path, link.readlink()]

    def _files(
        self,
        pattern: re.Pattern[str],
        make: Callable[[re.Match[str], os.DirEntry[str]], T],
        folder: Path | None = None,
    ) -> Iterator[T]:
        try:
            with os.scandir(folder or self.path) as entries:
                for entry in entries:
                    match = pattern.fullmatch(entry.name)
                    if not match:
                        continue
                    # a file may be renamed or removed between listing and stat
                    with contextlib.suppress(FileNotFoundError):
                        if entry.is_file(follow_symlinks=False):
                            yield make(match, entry)
        except OSError as problem:
            raise SpoolError(f"{self.path}: the spool cannot be listed ({problem.strerror})") from None


def _content(path: Path) -> bytes | None:
    """None where there is no such file."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_MANIFEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as problem:
        raise SpoolError(f"{path}: cannot be read ({problem.strerror})") from None


def _decoded(path: Path, data: bytes, wanted: type[T]) -> T:
    try:
        if len(data) > _MAX_MANIFEST:
            raise WireError("too large")
        return wire.decode(data, wanted)
    except WireError as problem:
        raise SpoolError(f"{path}: is damaged ({problem}); move it away") from None


def _spool_file(match: re.Match[str], entry: os.DirEntry[str]) -> SpoolFile:
    stat = entry.stat(follow_symlinks=False)
    return SpoolFile(match[1], entry.path, stat.st_size, stored=not stat.st_mode & _WRITABLE)


def _part_file(match: re.Match[str], entry: os.DirEntry[str]) -> PartFile:
    stat = entry.stat(follow_symlinks=False)
    return PartFile(match[1], match[2], Path(entry.path), stat.st_size, _modified_at(stat))


def _modified_at(stat: os.stat_result) -> Instant:
    return Instant(stat.st_mtime_ns // 1000)
