"""Puts together what decides about deletions: the policy, orders to erase, and the cleanup of the spool."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from edge.archiver.jobs import Delete, Job, JobResult
from edge.archiver.pacing import LogChanges, RetryTimer, WarnOnce
from edge.archiver.plan.plan import Destination
from edge.archiver.retention.age_check import HeldBack
from edge.archiver.retention.bucket_eraser import BucketEraser
from edge.archiver.retention.deletions import Deletions
from edge.archiver.retention.eraser import Eraser
from edge.archiver.retention.expiry import Expiry
from edge.archiver.retention.policy import RetentionPolicy
from edge.catalog import Catalog
from edge.catalog.holds import HoldsUnreadable
from edge.core.errors import SpoolError
from edge.core.ids import stream_of
from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock
from edge.core.values import SpoolState, Stream
from edge.spool.spool import Spool

log = logging.getLogger(__name__)


class Retention:
    """`rescan` registers what the spool holds."""

    def __init__(
        self,
        spool: Spool,
        catalog: Catalog,
        deletions: Deletions,
        policy: RetentionPolicy,
        expiry: Expiry,
        destination: Destination,
        rescan: Callable[[], object],
        retry: RetryTimer,
        clock: KernelClock,
    ) -> None:
        self.policy, self.expiry, self._deletions, self._clock = policy, expiry, deletions, clock
        self.cleanup = SpoolCleanup(spool, catalog, deletions, policy)
        bucket = BucketEraser(catalog, deletions, destination, clock)
        self.eraser = Eraser(spool, catalog, deletions, bucket, rescan, retry)
        self._log_trouble = LogChanges(log, logging.ERROR)

    def tidy(self) -> None:
        """Deletes what may go now. Problems are logged: nothing else has to wait for them."""
        try:
            self.policy.apply(self._clock.now())
            self._deletions.remove_unfinished_rebuild()
        except (HeldBack, HoldsUnreadable, SpoolError) as problem:
            self._log_trouble(problem)

    def next_job(self) -> Job | None:
        """What is to be deleted or rewritten in the store now."""
        try:
            job = self.eraser.next_job()
            return self.eraser.next_job() if job is None and self.expiry.expire_next() else job
        except HoldsUnreadable as problem:
            self._log_trouble(problem)
            return None

    def on_result(self, result: JobResult) -> None:
        """The worker ended a job that came from here."""
        job = result.job
        if isinstance(job, Delete) and job.archive.gone == "lifecycle" and isinstance(result.problem, HeldBack):
            self.expiry.on_held_back(job.archive, result.problem)
            return
        if isinstance(job, Delete) and job.archive.gone == "lifecycle" and result.problem is None:
            self.expiry.on_deleted()
        self.eraser.on_result(result)


class SpoolCleanup:
    """After each rescan, removes from the spool what is no longer needed there.

    Chunks that the store has, as this node has verified, leftovers of those that were given up, and records of streams
    that ended.
    """

    def __init__(self, spool: Spool, catalog: Catalog, deletions: Deletions, policy: RetentionPolicy) -> None:
        self._spool, self._catalog, self._deletions, self._policy = spool, catalog, deletions, policy
        self._checked: set[str] = set()  # chunks that the store has too, and that stay here nevertheless
        self._warn = WarnOnce(log)
        self._log_trouble = LogChanges(log)

    def on_uploaded(self, chunks: Mapping[str, Instant]) -> None:
        """These chunks have been in the store since then. If they cannot be removed, the next `run` tries again."""
        try:
            self._release(chunks)
        except SpoolError as problem:
            self._log_trouble(problem)

    def run(self, registered: set[str]) -> None:
        """`registered`: the chunks in the spool that the catalog knows. What fails is tried again by the next `run`."""
        self._checked &= registered
        try:
            self._release_uploaded(registered - self._checked)
            self._deletions.remove_given_up()
            self._remove_lone_manifests()
            if removable := self._removable_streams():
                self._deletions.remove_streams(removable)
            self._log_trouble.clear()
        except (HeldBack, HoldsUnreadable, SpoolError) as problem:
            self._log_trouble(problem)

    def _release(self, chunks: Mapping[str, Instant]) -> None:
        self._policy.release(chunks)
        self._checked.update(chunks)

    def _release_uploaded(self, chunk_ids: set[str]) -> None:
        """Chunks that are in the store and still here: copies, or a crash came between the commit and the removal."""
        uploaded = self._catalog.plans.uploaded_chunks(chunk_ids)
        same = {name: what.uploaded_at for name, what in uploaded.items() if self._is_same(name, what.sha256)}
        if same:
            log.info("the store already has %d chunks that are here", len(same))
            self._release(same)

    def _is_same(self, chunk_id: str, sha256: str) -> bool:
        try:
            chunk = self._spool.chunks.manifest(chunk_id)
        except SpoolError as problem:
            self._warn(chunk_id, problem)
            return False
        if chunk.sha256 != sha256:
            self._warn(
                chunk_id, SpoolError(f"{chunk_id}: differs from the chunk of that name in the store; it is left here")
            )
            self._checked.add(chunk_id)
        return chunk.sha256 == sha256

    def _remove_lone_manifests(self) -> None:
        """A crash came between the removal of a chunk's audio and that of its manifest."""
        lone = self._spool.chunks.manifest_ids() - self._spool.chunks.finished().keys()
        if uploaded := self._catalog.plans.uploaded_chunks(lone):
            self._deletions.remove_chunks(uploaded)

    def _removable_streams(self) -> list[str]:
        """Records of ended streams that the catalog has and whose chunks have all left.

        The stream being recorded stays, and so do those of this boot while their times are uncertain: a clock
        correction rewrites them. So does what cannot be read or belongs to another node.
        """
        try:
            state = self._spool.state.read()
        except SpoolError as problem:
            self._warn("state.json", problem)
            return []
        if state is None:
            return []
        ended = [stream_id for stream_id in self._streams_without_chunks() if stream_id != state.stream_id]
        records = self._catalog.streams(ended)
        return [stream_id for stream_id in ended if self._is_removable(stream_id, records.get(stream_id), state)]

    def _streams_without_chunks(self) -> list[str]:
        used = {stream_of(chunk_id) for chunk_id in self._spool.chunks.finished()}
        used |= {stream_of(chunk_id) for chunk_id in self._spool.chunks.manifest_ids()}
        used |= {stream_of(part.chunk_id) for part in self._spool.chunks.parts()}
        return [stream_id for stream_id in self._spool.streams.ids() if stream_id not in used]

    def _is_removable(self, stream_id: str, registered: Stream | None, state: SpoolState) -> bool:
        try:
            record = self._spool.streams.read(stream_id)
        except SpoolError:  # the intake has warned
            return False
        rewritable = record.uncertain and record.boot_id == state.boot_id
        being_opened = record.ordinal > state.ordinal  # its record is written before the state names it
        return registered == record and not rewritable and not being_opened
