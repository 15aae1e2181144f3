"""Chunks that need no download, because their files are on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable


class LocalFile(NamedTuple):
    """A finished chunk's file on this machine, and the SHA-256 that its bytes must have."""

    path: Path
    sha256: str


@runtime_checkable
class LocalFiles(Protocol):
    """A client with direct access to the node's own files."""

    def local_file(self, chunk_id: str) -> LocalFile | None: ...
