"""The jobs that the worker carries out in the store, and their results."""

from __future__ import annotations

from msgspec import Struct

from edge.archiver.plan.plan import ArchivePlan
from edge.archiver.plan.stored_members import SourceArchive
from edge.core.errors import ChunkDamaged, ImHearingError
from edge.core.instant import Instant
from edge.core.values import Archive


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
    """Delete an archive."""

    archive: Archive

    @property
    def key(self) -> str:
        return self.archive.key


class DeleteClips(Struct, frozen=True):
    """Delete the clips below `key` with sound in [start, end)."""

    key: str
    start: Instant
    end: Instant


class Correction(Struct, frozen=True):
    """Upload a stream's record with corrected times."""

    key: str
    stream_id: str
    record: bytes


Job = Upload | Rewrite | Delete | DeleteClips | Correction


class JobResult(Struct, frozen=True):
    """`sha256` of what is verified in the store, or the `problem`. `damaged`: chunk ID -> what is wrong with it."""

    job: Job
    seconds: float = 0.0
    sha256: str | None = None
    problem: ImHearingError | None = None
    damaged: dict[str, ChunkDamaged] = {}
