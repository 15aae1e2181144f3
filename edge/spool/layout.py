"""Where everything in the spool lies, and what it is called. Reads and writes no file but the link to tmpfs."""

from __future__ import annotations

import os
from pathlib import Path

from edge.core.errors import SpoolError
from edge.core.files import is_denied, sync_folder, temporary_beside
from edge.core.ids import is_chunk_id
from edge.core.values import Chunk
from edge.spool.files import raises_spool_error

_AUDIO_SUFFIXES = (".flac", ".wav", ".flac.age", ".wav.age")


@raises_spool_error
class SpoolLayout:
    """Paths in the spool folder `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock_path = path / ".recorder.lock"
        self.state_path = path / "state.json"
        self.pause_path = path / "pause.json"
        self.sounds_path = path / "sounds.json"
        self._parts_link = path / "parts"

    def unavailable_error(self, problem: OSError) -> SpoolError:
        """The folder itself can no longer be used."""
        remedy = "fix its permissions" if is_denied(problem) else "mount or create the folder again"
        return SpoolError(f"{self.path}: the spool is not available ({problem.strerror}); {remedy}", problem.errno)

    def audio_path(self, chunk: Chunk) -> Path:
        return self.path / chunk.member

    def possible_audio_paths(self, chunk_id: str) -> list[Path]:
        """A chunk's audio has one of these names. SpoolError for anything but a chunk ID."""
        if not is_chunk_id(chunk_id):
            raise SpoolError(f"{chunk_id[:80]!r} is not a chunk ID")
        return [self.path / f"{chunk_id}{suffix}" for suffix in _AUDIO_SUFFIXES]

    def part_path(self, chunk_id: str, audio_format: str) -> Path:
        return self.path / f"{chunk_id}.{audio_format}.part"

    def sealing_path(self, chunk: Chunk) -> Path:
        """Where a chunk's encrypted audio is written before it gets its final name."""
        return self.path / f"{chunk.chunk_id}.{chunk.format}.age.tmp"

    def manifest_path(self, chunk_id: str) -> Path:
        return self.path / f"{chunk_id}.json"

    def retained_path(self, chunk_id: str) -> Path:
        """The mark of a copy that stays although the store has the chunk."""
        return self.path / f"{chunk_id}.retained"

    def stream_path(self, stream_id: str) -> Path:
        return self.path / f"{stream_id}.stream.json"

    def folders(self) -> list[Path]:
        """The spool and, where parts are written to tmpfs and we may list it, that folder."""
        link = self._parts_link
        try:
            if link.is_symlink() and os.access(link, os.R_OK | os.X_OK):
                return [self.path, link.readlink()]
        except OSError as problem:
            raise self.unavailable_error(problem) from None
        return [self.path]

    def set_parts_folder(self, folder: Path) -> None:
        """From now on the chunk being written lies in `folder`; a link in the spool points there."""
        if self._parts_link.is_symlink() and self._parts_link.readlink() == folder:
            return
        with temporary_beside(self._parts_link) as temporary:
            temporary.symlink_to(folder, target_is_directory=True)
            temporary.replace(self._parts_link)
        sync_folder(self.path)
