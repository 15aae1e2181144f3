"""The jobs that the worker carries out in the store, and their results."""

from __future__ import annotations

from msgspec import Struct

from edge.archiver.plan.plan import ArchivePlan, Manifest
from edge.archiver.plan.stored_members import SourceArchive
from edge.core.errors import ChunkDamaged, ImHearingError
from edge.core.instant import Instant
from edge.core.values import Archive, Stream


class _PlannedJob(Struct, frozen=True):
    plan: ArchivePlan

    @property
    def key(self) -> str:
        return self.plan.key


class Upload(_PlannedJob, frozen=True):
    """Upload a new archive. First, open uploads of this node are dropped, except those to the keys in `keep`."""

    keep: frozenset[str]


class Rewrite(_PlannedJob, frozen=True):
    """Upload an archive whose chunks are already in the store, in the archive that it replaces."""

    source: SourceArchive


class Delete(Struct, frozen=True):
    """Delete an archive. `erased`: when the sound was that it alone has, for the last look at what is on hold."""

    archive: Archive
    erased: tuple[tuple[Instant, Instant], ...] = ()

    @property
    def key(self) -> str:
        return self.archive.key


class DeleteClips(Struct, frozen=True):
    """Delete the clips below `key` with sound in [start, end)."""

    key: str
    start: Instant
    end: Instant


class ListArchives(Struct, frozen=True):
    """List archives below `key`, from the one after `after` on."""

    key: str
    after: str = ""


class ReadManifest(Struct, frozen=True):
    """Read the manifest of an archive of `node`, of `size` bytes, that the catalog does not have."""

    key: str
    size: int
    prefix: str
    node: str


class Correction(Struct, frozen=True):
    """Upload a stream's record with corrected times."""

    key: str
    stream_id: str
    record: bytes


class FoundArchive(Struct, frozen=True):
    """An archive in the store: what its manifest says, and the records that correct the times in it."""

    key: str
    size: int
    manifest: Manifest
    corrections: tuple[Stream, ...] = ()


Job = Upload | Rewrite | Delete | DeleteClips | ListArchives | ReadManifest | Correction


class JobResult(Struct, frozen=True):
    """`sha256` of what is verified in the store, or the `problem`. `damaged`: chunk ID -> what is wrong with it.

    `listed` are keys of archives and their bytes; `found` is an archive as the store has it, None if it cannot be read.
    """

    job: Job
    seconds: float = 0.0
    sha256: str | None = None
    problem: ImHearingError | None = None
    damaged: dict[str, ChunkDamaged] = {}
    listed: tuple[tuple[str, int], ...] = ()
    found: FoundArchive | None = None
