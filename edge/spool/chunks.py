"""Chunks in the spool: the finished ones, the one being written, and what a crash left behind.

A chunk exists once its audio has its final name; its manifest is there before. Unknown names are never touched.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from edge.core import wire
from edge.core.files import remove_abandoned, sync_folder, write_atomically
from edge.core.instant import Instant
from edge.core.values import Chunk
from edge.spool.files import check_owner, modified_at, raises_spool_error, read_document, scan
from edge.spool.layout import SpoolLayout

_FINISHED = re.compile(r"(\d{8}T\d{6}Z-[a-z2-7]{4}-\d{6})\.(?:(?:flac|wav)(?:\.age)?|(retained))", re.ASCII)
_PART = re.compile(r"(\d{8}T\d{6}Z-[a-z2-7]{4}-\d{6})\.(flac|wav)\.part", re.ASCII)
_MANIFEST = re.compile(r"(\d{8}T\d{6}Z-[a-z2-7]{4}-\d{6})\.json", re.ASCII)
_DAMAGED = re.compile(r"\d{8}T\d{6}Z-[a-z2-7]{4}-\d{6}\.(?:flac|wav)\.part\.damaged", re.ASCII)
_TEMPORARY = r"(?:\.[0-9a-f]{8})?\.tmp"  # of edge.core.files; without a number: written by versions before 0.2
_LEFTOVER = re.compile(
    rf"\.probe(?:-\d+)?|recipients{_TEMPORARY}|(?:state|sounds)\.json{_TEMPORARY}"
    r"|\d{8}T\d{6}Z-[a-z2-7]{4}"
    rf"(?:-\d{{6}}\.(?:json{_TEMPORARY}|(?:flac|wav)\.(?:part\.repair|age\.tmp))|\.stream\.json{_TEMPORARY})",
    re.ASCII,
)


class SpoolFile(NamedTuple):
    """A finished chunk's audio as the folder lists it; its manifest has not been read."""

    chunk_id: str
    name: str  # with its folder; a Path for each of many thousand would take ten times the memory
    bytes: int
    is_retained: bool = False  # a local copy of what the store has: it waits for nothing

    @property
    def path(self) -> Path:
        return Path(self.name)


class PartFile(NamedTuple):
    """A chunk being written, or left so by a crash. `modified_at` is the time of its last flush."""

    chunk_id: str
    format: str
    path: Path
    bytes: int
    modified_at: Instant

    def is_in(self, spool: Path) -> bool:
        """Whether it lies in the spool itself. Otherwise it is on tmpfs and must be encrypted before it goes there."""
        return self.path.parent == spool


@raises_spool_error
class SpoolChunks:
    """The chunks in the spool of a node with these `names`."""

    def __init__(
        self, layout: SpoolLayout, names: Collection[str], check_disk: Callable[[], None] = lambda: None
    ) -> None:
        self._layout = layout
        self._names = names
        self._check_disk = check_disk

    def finished(self, known: Iterable[SpoolFile] = ()) -> dict[str, SpoolFile]:
        """Every finished chunk by its ID, from one listing of the folder. SpoolMissing without its disk.

        `known`: an earlier listing. Its files are not examined again if they are still there, as they never change.
        """
        self._check_disk()
        spool = self._layout.path
        files: dict[str, SpoolFile] = {}
        marks: list[str] = []
        made: dict[str, SpoolFile | str] = {
            file.name: file._replace(is_retained=False) if file.is_retained else file for file in known
        }
        for found in scan(spool, _FINISHED, _spool_file, spool, made):
            if isinstance(found, SpoolFile):
                files[found.chunk_id] = found
            else:
                marks.append(found)
        for chunk_id in marks:
            if chunk_id in files:
                files[chunk_id] = files[chunk_id]._replace(is_retained=True)
        return files

    def parts(self) -> list[PartFile]:
        """The chunk being written, and what a crash left unfinished. SpoolMissing without its disk."""
        self._check_disk()
        return [part for folder in self._layout.folders() for part in self.parts_in(folder)]

    def parts_in(self, folder: Path) -> list[PartFile]:
        return list(scan(folder, _PART, _part_file, self._layout.path))

    def damaged_parts(self) -> list[Path]:
        """Parts that could not be repaired, kept for somebody to examine."""
        return self._paths(_DAMAGED)

    def manifest_ids(self) -> set[str]:
        """The chunk IDs of all manifests, including those without audio."""
        spool = self._layout.path
        return set(scan(spool, _MANIFEST, lambda match, _entry: match[1], spool))

    def leftovers(self) -> list[Path]:
        """Temporary files of a recorder that died."""
        return self._paths(_LEFTOVER)

    def remove_abandoned(self) -> None:
        """Removes temporary files of others that died, of files that several processes may write."""
        remove_abandoned(self._layout.path, r"(?:pause|settings|exceeded)\.json|parts")

    def _paths(self, pattern: re.Pattern[str]) -> list[Path]:
        return [
            path
            for folder in self._layout.folders()
            for path in scan(folder, pattern, lambda _match, entry: Path(entry.path), self._layout.path)
        ]

    def manifest(self, chunk_id: str) -> Chunk:
        """The manifest of one chunk; SpoolError when it is missing, damaged or another's."""
        path = self._layout.manifest_path(chunk_id)
        chunk = read_document(path, Chunk)
        check_owner(path, f"chunk {chunk.chunk_id}", chunk.chunk_id == chunk_id, chunk.node, self._names)
        return chunk

    def has_audio(self, chunk: Chunk) -> bool:
        """Whether the file of a finished chunk is there."""
        return self._layout.audio_path(chunk).exists()

    def finish(self, part: Path, chunk: Chunk) -> Path:
        """Turns `part`, already fsynced, into the finished `chunk`; gives its path."""
        write_atomically(self._layout.manifest_path(chunk.chunk_id), wire.encode(chunk), sync_name=False)
        return self.finish_described(part, chunk)

    def finish_described(self, part: Path, chunk: Chunk) -> Path:
        """The last step of `finish`, for a part that already has its manifest."""
        audio = self._layout.audio_path(chunk)
        part.replace(audio)
        sync_folder(self._layout.path)
        return audio

    def mark_retained(self, chunk_id: str) -> None:
        """Puts a mark beside a chunk's audio: the store has it too, and this copy stays for a while.

        That is how the recorder, which does not read the catalog, knows which chunks still wait. A file, as the audio
        is the recorder's. If it cannot be made, the chunk counts as waiting.
        """
        with contextlib.suppress(OSError):
            self._layout.retained_path(chunk_id).touch(0o640)

    def remove(self, chunk_id: str) -> None:
        """Removes a finished chunk, audio first: a manifest alone counts for nothing."""
        for audio in self._layout.possible_audio_paths(chunk_id):
            audio.unlink(missing_ok=True)
        self._layout.retained_path(chunk_id).unlink(missing_ok=True)
        self._layout.manifest_path(chunk_id).unlink(missing_ok=True)


def _spool_file(match: re.Match[str], entry: os.DirEntry[str]) -> SpoolFile | str:
    """For the mark of a retained copy, the chunk's ID."""
    return match[1] if match[2] else SpoolFile(match[1], entry.path, entry.stat(follow_symlinks=False).st_size)


def _part_file(match: re.Match[str], entry: os.DirEntry[str]) -> PartFile:
    stat = entry.stat(follow_symlinks=False)
    return PartFile(match[1], match[2], Path(entry.path), stat.st_size, modified_at(stat))
