"""Searches the bucket for archives that the catalog does not have, so that nothing there outlives an order to erase.

The catalog may have been lost since they were uploaded, or the store may have finished a request after all.
"""

from __future__ import annotations

import logging

from edge.archiver.jobs import JobResult, ListArchives, ReadManifest
from edge.archiver.plan.plan import Destination
from edge.archiver.rebuild import take_archive
from edge.archiver.retention.deletions import LISTED_AT_ONCE, Deletions
from edge.catalog import Catalog
from edge.catalog.erasures import Erasure
from edge.core.kernel_clock import KernelClock

log = logging.getLogger(__name__)


class BucketSurvey:
    """For one order: lists the archives under each name of the node, and adds to the catalog those that it lacks.

    Repeated until nothing more is found.
    """

    def __init__(
        self, order: Erasure, catalog: Catalog, deletions: Deletions, destination: Destination, clock: KernelClock
    ) -> None:
        self.order, self._catalog, self._deletions = order, catalog, deletions
        self._destination, self._clock = destination, clock
        self._unknown: list[ReadManifest] = []
        self._read: set[str] = set()  # keys
        self.unreadable: set[str] = set()  # keys of what is no archive of this node, or damaged
        self._start()

    def _start(self) -> None:
        names = (self._destination.node, *self._destination.former_names) if self._destination.bucket else ()
        self._lists = [(name, ListArchives(f"{self._destination.prefix}{name}/")) for name in names]
        self._has_found = False

    def next_job(self) -> ListArchives | ReadManifest | None:
        """None once the catalog has every archive that can be read."""
        if not self._unknown and not self._lists and self._has_found:
            self._start()
        if self._unknown:
            return self._unknown[0]
        return self._lists[0][1] if self._lists else None

    def on_result(self, result: JobResult) -> None:
        match result.job:
            case ListArchives():
                self._on_listed(result.listed)
            case ReadManifest():
                del self._unknown[0]
                self._read.add(result.job.key)
                self._has_found = True
                if result.found is not None:
                    log.warning("%s: is not in the catalog; adding it", result.job.key)
                    take_archive(self._catalog, result.found, self._destination.bucket, self._clock.now())

    def _on_listed(self, listed: tuple[tuple[str, int], ...]) -> None:
        name, _ = self._lists.pop(0)
        if len(listed) == LISTED_AT_ONCE:
            self._lists.insert(0, (name, ListArchives(f"{self._destination.prefix}{name}/", listed[-1][0])))
        known = self._catalog.archives(_archive_id(key) for key, _ in listed)
        for key, size in listed:
            archive = known.get(_archive_id(key))
            if archive is None or (archive.bucket, archive.key) != (self._destination.bucket, key):
                if key in self._read:
                    self.unreadable.add(key)
                else:
                    self._unknown.append(ReadManifest(key, size, self._destination.prefix, name))
            elif archive.deleted_at is not None and self.order.touches(archive.started_at, archive.ended_at):
                log.warning("%s: the store still has it; deleting it again", key)
                self._deletions.delete_again(archive.archive_id)
                self._has_found = True


def _archive_id(key: str) -> str:
    return key.rsplit("/", 1)[-1].removesuffix(".zip")
