"""Erases a range from the bucket: replaces archives with a part of it, and deletes what it must not have any more."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from edge.archiver.jobs import Delete, DeleteClips, JobResult, ListArchives, ReadManifest, Rewrite
from edge.archiver.pacing import LogChanges
from edge.archiver.plan.plan import ArchivePlan, Destination, make_plan, plan_of
from edge.archiver.plan.stored_members import SourceArchive
from edge.archiver.retention.age_check import HeldBack
from edge.archiver.retention.deletions import Deletions
from edge.archiver.retention.survey import BucketSurvey
from edge.catalog import Catalog
from edge.catalog.erasures import Erasure
from edge.catalog.holds import read_holds
from edge.catalog.rows import silenced
from edge.core.kernel_clock import KernelClock
from edge.core.values import Archive, DiscardedChunk

log = logging.getLogger(__name__)


class BucketEraser:
    """Makes the jobs, and commits to the catalog what they did."""

    def __init__(self, catalog: Catalog, deletions: Deletions, destination: Destination, clock: KernelClock) -> None:
        self._catalog, self._deletions, self._destination, self._clock = catalog, deletions, destination, clock
        self._survey: BucketSurvey | None = None  # of the order that is being carried out
        self._clips: list[DeleteClips] = []  # still to do for it
        self._log_held = LogChanges(log)

    def has(self, archive: Archive) -> bool:
        """We no longer know how to reach another bucket."""
        return archive.bucket == self._destination.bucket

    def pending_deletion(self) -> list[Archive]:
        return [archive for archive in self._catalog.archive_records.pending_deletion() if self.has(archive)]

    def next_deletion(self) -> Delete | None:
        """Of what is not on hold."""
        for archive in self.pending_deletion():
            erased = self._catalog.deletions.erased_from(archive.archive_id) if archive.gone == "replaced" else ()
            holds = read_holds(self._catalog.path)
            held = [one for one in erased if holds.touch(*one)]
            if not held:
                return Delete(archive, erased)
            self._log_held(HeldBack(f"{archive.archive_id} is not deleted: sound of {held[0][0]} is on hold since"))
        return None

    def pending_elsewhere(self, order: Erasure) -> Archive | None:
        """An archive with sound of the range that was to be deleted when another bucket was configured.

        One that may never have been uploaded only if there is no other.
        """
        found = None
        for archive in self._catalog.archive_records.pending_deletion():
            is_elsewhere = not self.has(archive) and (found is None or found.gone == "unwanted")
            if is_elsewhere and order.touches(archive.started_at, archive.ended_at):
                found = archive
        return found

    def rewrite(self, order: Erasure, old: Archive) -> Rewrite:
        """Replaces an archive by one without what is to be erased."""
        plan = self._plan_rewrite(order, old.archive_id)
        places = {
            row.chunk.member: (row.where.offset, row.where.length)
            for row in self._catalog.archive_records.members(old.archive_id)
            if row.where is not None
        }
        return Rewrite(plan, SourceArchive(old.key, places))

    def survey_for(self, order: Erasure) -> BucketSurvey:
        """The search for what the catalog does not have; begun again when the order is another one."""
        if self._survey is None or self._survey.order.id != order.id:
            self._survey = BucketSurvey(order, self._catalog, self._deletions, self._destination, self._clock)
            prefixes = self._destination.clip_prefixes if self._destination.bucket else ()
            self._clips = [DeleteClips(prefix, order.from_, order.to) for prefix in prefixes]
        return self._survey

    def next_clips(self) -> DeleteClips | None:
        """Clips of the surveyed range; None once they are deleted."""
        return self._clips[0] if self._clips else None

    def on_done(self, result: JobResult) -> None:
        """The worker did a job that came from here, or left it to the bucket."""
        match result.job:
            case Delete(archive):
                self._catalog.deletions.mark_deleted(archive.archive_id, self._clock.now())
                log.info("deleted %s (%s)", archive.key, archive.gone)
            case Rewrite(plan) if result.sha256 is not None:
                self._on_rewritten(plan, result.sha256)
            case DeleteClips():
                del self._clips[0]
            case ListArchives() | ReadManifest() if self._survey is not None:
                self._survey.on_result(result)

    def _open_rewrite(self, archive_id: str) -> ArchivePlan | None:
        for archive in self._catalog.archive_records.open_rewrites():
            if archive.replaces == archive_id:
                return plan_of(self._catalog.plans.manifest(archive.archive_id), archive.bucket, archive.key)
        return None

    def _plan_rewrite(self, order: Erasure, archive_id: str) -> ArchivePlan:
        stays, discarded, described = [], [], self._catalog.archive_records.chunks_for_manifest(archive_id)
        for row in self._catalog.archive_records.members(archive_id):
            chunk = described[row.chunk.chunk_id]
            if row.gone == "erased" or order.touches(row.chunk.started_at, row.chunk.ended_at):
                discarded.append(DiscardedChunk(silenced(chunk), "erased"))
            elif row.gone is not None:
                discarded.append(DiscardedChunk(chunk, row.gone))
            else:
                stays.append(chunk)
        open_plan = self._open_rewrite(archive_id)
        if open_plan is not None:
            if _ids(open_plan.discarded) == _ids(discarded):
                return open_plan
            self._deletions.take_back_plan(open_plan.archive_id)  # of another order: what it erases may be on hold now
        self._deletions.check_holds(_ids(discarded))
        streams = self._catalog.streams({chunk.stream_id for chunk in (*stays, *(one.chunk for one in discarded))})
        plan = make_plan(stays, streams, self._destination, discarded, archive_id)
        self._catalog.plans.commit_rewrite(plan.archive(self._clock.now()), plan.manifest)
        log.info("rewriting %s without %d chunks", archive_id, len(discarded))
        return plan

    def _on_rewritten(self, plan: ArchivePlan, sha256: str) -> None:
        archive = self._catalog.archives([plan.archive_id])[plan.archive_id]
        try:
            self._deletions.check_holds(_ids(plan.discarded))
        except HeldBack as problem:
            log.warning("%s is not rewritten: %s", archive.replaces, problem)
            self._deletions.take_back_plan(plan.archive_id)
            return
        self._catalog.plans.mark_rewritten(archive, sha256, self._clock.now(), plan.members, plan.discarded)
        self._deletions.remove_chunks([one.chunk.chunk_id for one in plan.discarded])


def _ids(discarded: Iterable[DiscardedChunk]) -> set[str]:
    return {one.chunk.chunk_id for one in discarded}
