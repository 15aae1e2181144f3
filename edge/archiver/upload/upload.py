"""One planned archive -> the object store, verified. Resumes what an earlier attempt left there; uses no disk.

At most two parts are in memory. Returns only when the bytes read back are ours; or the ETag, where `read_back` or the
key's rights leave it at that.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from edge.archiver.plan.bundle import Bundle, OpenMember, check, offsets
from edge.archiver.plan.read_back import ALWAYS, ReadBackPolicy
from edge.archiver.plan.stored_members import SourceArchive, stored_members
from edge.archiver.upload.parts import PART, Digests, Parts, TakenPart, part_size
from edge.archiver.upload.sending import OnProgress, PartSenders, ProgressHeartbeat
from edge.archiver.upload.verification import SentObject, Verification
from edge.core.backoff import Backoff
from edge.core.errors import ChunkDamaged, ImHearingError, StoreBlocked, StoreError, StoreUnreachable
from edge.store.interface import ObjectExists, StoredObject, StoredPart, UploadNotFound, UploadTarget

log = logging.getLogger(__name__)

_TRIES = 4  # of one request, each after twice the time
_UNKNOWN_OBJECT = StoredObject(-1, "")  # under a key that we may not HEAD; S3 answers the same for missing objects
_NOT_OFFERED = ("denied", "unsupported")  # reasons of StoreBlocked that leave us without an optional operation
T = TypeVar("T")


class Stopped(ImHearingError):
    """The process is stopping in the middle of an upload, which is left as it is."""


class _PartStuck(StoreError):
    """The store has a different part from an earlier attempt and does not replace it."""


class Uploader:
    """Uploads archives to `store`, reading members through `open_member`, until `stop`."""

    def __init__(
        self,
        store: UploadTarget,
        open_member: OpenMember,
        stop: threading.Event,
        part: int = PART,
        retry_delay: float = 0.5,
        read_back: ReadBackPolicy = ALWAYS,
    ) -> None:
        self._store = store
        self._open_member = open_member
        self._stop = stop
        self._part = part
        self._retry_delay = retry_delay
        self._verification = Verification(store, read_back, self._retried, self._check_stop)

    def upload(
        self, key: str, bundle: Bundle, on_progress: OnProgress = lambda _: None, source: SourceArchive | None = None
    ) -> str:
        """Stores `bundle` under `key`; gives its SHA-256, as hex. May be repeated after any interruption.

        Its members come from the archive `source`, if given, else from the spool.

        Raises ChunkDamaged, StoreUnreachable, StoreBlocked, StoreError, Stopped.
        """
        members = self._open_member if source is None else stored_members(self._store, source)
        beat = ProgressHeartbeat(on_progress)
        self._verification.check_store()
        found = self._head(key, denied=_UNKNOWN_OBJECT)
        if found is not None and found.size == bundle.size:
            sha256 = self._matching_sha256(key, found.etag, bundle, members, beat)
            if sha256 is not None:
                if bundle.size > self._part:
                    self._abort_leftovers(key)
                beat(bundle.size)
                return sha256
        # a damaged object under our own hash's name can only be replaced, and so can one that we may not HEAD
        overwrite = found is not None
        if bundle.size <= self._part:
            return self._upload_whole(key, bundle, overwrite, beat, members)
        return self._upload_parts(key, bundle, overwrite, beat, members)

    def damaged_chunks(self, bundle: Bundle) -> dict[str, ChunkDamaged]:
        """Every member that is not as planned, by its chunk ID, so that the next plan does not fail at the next one."""
        found = {}
        for member in bundle.members:
            try:
                check(member, self._open_member)
            except ChunkDamaged as problem:
                found[problem.chunk_id] = problem
        return found

    def put_document(self, key: str, body: bytes) -> None:
        """Stores a small JSON document, over an earlier one."""
        md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
        self._retried(lambda: self._store.put(key, body, md5, overwrite=True, media_type="application/json"))

    def sweep(self, prefix: str, keep: frozenset[str]) -> None:
        """Aborts every open upload below `prefix` but those to the keys in `keep`."""
        try:
            for key, upload_id in self._retried(lambda: self._store.open_uploads(prefix)):
                if key not in keep:
                    log.info("aborting an upload to %s that was left open", key)
                    self._abandon(key, upload_id)
        except StoreBlocked as problem:
            if problem.reason not in _NOT_OFFERED:
                raise
            log.debug("open uploads cannot be listed: a lifecycle rule of the bucket should end abandoned ones")

    def _matching_sha256(
        self, key: str, etag: str, bundle: Bundle, members: OpenMember, beat: ProgressHeartbeat
    ) -> str | None:
        """The SHA-256 of an object of our size and this ETag; None where its bytes are not ours.

        Raises StoreError where the store does not show them.
        """
        try:
            digests = self._digest(bundle, members, beat)
        except ChunkDamaged as damage:
            # killed before the commit, and a file damaged since: then the store has the only whole copy
            places = zip(bundle.members, offsets(bundle.members), strict=True)
            there = SourceArchive(key, {member.name: (offset, member.size) for member, offset in places})
            try:
                digests = self._retried(lambda: self._digest(bundle, stored_members(self._store, there), beat))
            except ChunkDamaged:  # anything else that fails leaves open whose bytes they are: for the next attempt
                raise damage from None
            if not self._has_our_bytes(key, etag, digests, bundle.size, beat):
                raise
            log.warning("%s; the store has it already", damage)
            return digests.sha256
        return digests.sha256 if self._has_our_bytes(key, etag, digests, bundle.size, beat) else None

    def _upload_whole(
        self, key: str, bundle: Bundle, overwrite: bool, beat: ProgressHeartbeat, members: OpenMember
    ) -> str:
        parts = Parts(bundle, members, self._part)
        part = parts.take(parts.buffer()) or TakenPart(1, bytearray())
        body, md5 = part.body, parts.md5(part)

        def put() -> str:
            try:
                return self._store.put(key, body, md5, overwrite=overwrite)
            except ObjectExists:
                return ""  # an earlier put whose answer was lost

        etag = self._retried(put)
        self._verify(key, etag, parts.digests(), bundle, members, beat)
        beat(bundle.size)
        return parts.digests().sha256

    def _upload_parts(
        self, key: str, bundle: Bundle, overwrite: bool, beat: ProgressHeartbeat, members: OpenMember
    ) -> str:
        upload_id, have = self._resume(key)
        parts = Parts(bundle, members, part_size(bundle.size, self._part))
        try:
            etags = PartSenders(lambda part, md5: self._send(key, upload_id, have, part, md5), parts, beat).run()
            etag = self._complete(key, upload_id, etags, overwrite)
        except (ChunkDamaged, _PartStuck):
            self._abandon(key, upload_id)
            raise
        # after any other failure, the parts that arrived stay for the next attempt
        self._verify(key, etag, parts.digests(), bundle, members, beat)
        self._abort_leftovers(key)
        return parts.digests().sha256

    def _send(
        self,
        key: str,
        upload_id: str,
        have: dict[int, StoredPart],
        part: TakenPart,
        md5: str,
    ) -> str:
        """Sends a part unless the store has the very same one; gives the store's ETag."""
        there = have.get(part.number)
        if there is not None and (there.size, there.etag) == (len(part.body), md5):
            return there.etag

        def put() -> str:
            try:
                return self._store.put_part(key, upload_id, part.number, part.body, md5)
            except (StoreUnreachable, UploadNotFound):
                raise
            except StoreError as problem:
                # some stores call it unsupported to replace a part
                if isinstance(problem, StoreBlocked) and problem.reason != "unsupported":
                    raise
                return self._part_already_there(key, upload_id, part, md5, problem)

        return self._retried(put)

    def _part_already_there(self, key: str, upload_id: str, part: TakenPart, md5: str, problem: StoreError) -> str:
        """The ETag of a part whose earlier answer was lost, and which the store takes no second time."""
        try:
            there = self._store.parts(key, upload_id).get(part.number)
        except StoreBlocked as refusal:
            raise (problem if refusal.reason in _NOT_OFFERED else refusal) from None
        if there is None:
            raise problem
        if (there.size, there.etag) != (len(part.body), md5):
            raise _PartStuck(f"{key}: the store keeps a different part {part.number}; starting over")
        return there.etag

    def _resume(self, key: str) -> tuple[str, dict[int, StoredPart]]:
        """The newest upload to `key` that the store has open, and its parts; else a new one."""
        try:
            mine = [
                upload_id for found, upload_id in self._retried(lambda: self._store.open_uploads(key)) if found == key
            ]
            for upload_id in mine[:-1]:
                self._store.abort(key, upload_id)
            if mine:
                return mine[-1], self._retried(lambda: self._store.parts(key, mine[-1]))
        except UploadNotFound:
            pass
        except StoreBlocked as problem:
            if problem.reason not in _NOT_OFFERED:  # else start again from part 1
                raise
        return self._retried(lambda: self._store.start_parts(key)), {}

    def _complete(self, key: str, upload_id: str, etags: list[str], overwrite: bool) -> str:
        """The ETag in the answer to Complete; empty when the answer was lost."""
        first = True

        def complete() -> str:
            nonlocal first
            try:
                return self._store.complete(key, upload_id, etags, overwrite=overwrite)
            except ObjectExists:
                return ""
            except UploadNotFound:
                if first:
                    raise
                return ""
            finally:
                first = False

        return self._retried(complete)

    def _verify(
        self, key: str, etag: str, digests: Digests, bundle: Bundle, members: OpenMember, beat: ProgressHeartbeat
    ) -> None:
        """Raises StoreError unless the store has exactly our bytes; `etag` is what it answered to storing them.

        Where that is not conclusive, a HEAD follows: some stores hash the whole object for each one.
        """
        if etag != "" and etag in (digests.md5, digests.composite):
            self._has_our_bytes(key, etag, digests, bundle.size, beat)
            return
        found = self._head(key, denied=StoredObject(bundle.size, etag))
        if found is None:
            raise StoreError(f"{key}: the store accepted it and no longer has it; uploading again")
        if not digests.md5:
            with contextlib.suppress(ChunkDamaged):  # a file damaged since: the bytes that were sent are what counts
                digests = self._digest(bundle, members, beat)
        if found.size != bundle.size or not self._has_our_bytes(key, found.etag, digests, bundle.size, beat):
            if etag:
                raise self._verification.corruption(key)
            raise StoreError(f"{key}: the store has different bytes; uploading again")

    def _has_our_bytes(self, key: str, etag: str, digests: Digests, size: int, beat: ProgressHeartbeat) -> bool:
        return self._verification.has_our_bytes(SentObject(key, size, digests, size > self._part), etag, beat)

    def _head(self, key: str, denied: StoredObject | None = None) -> StoredObject | None:
        """HEAD; `denied` where the key may not do that (S3 answers the same for missing objects)."""
        try:
            return self._retried(lambda: self._store.head(key))
        except StoreBlocked as problem:
            if problem.reason not in _NOT_OFFERED:
                raise
            return denied

    def _abort_leftovers(self, key: str) -> None:
        """Uploads may be left open whose start was answered too late, or that another attempt completed."""
        try:
            self.sweep(key, frozenset())
        except StoreError as problem:
            log.debug("%s", problem)  # the next process sweeps too

    def _digest(self, bundle: Bundle, members: OpenMember, beat: ProgressHeartbeat) -> Digests:
        """Every digest that a store may report, computed from the files again."""
        parts = Parts(bundle, members, part_size(bundle.size, self._part), whole_md5=True)
        buffer = parts.buffer()
        while part := parts.take(buffer):
            self._check_stop()
            beat.again()
            parts.md5(part)
        return parts.digests()

    def _abandon(self, key: str, upload_id: str) -> None:
        try:
            self._store.abort(key, upload_id)
        except StoreError as problem:
            log.warning("%s", problem)

    def _retried(self, call: Callable[[], T]) -> T:
        """Tries a repeatable request a few times; raises the last failure."""
        backoff = Backoff(self._retry_delay, jitter=(0.5, 1.5))
        for attempt in range(_TRIES):
            self._check_stop()
            try:
                return call()
            except (StoreBlocked, UploadNotFound, ObjectExists, _PartStuck):
                raise
            except StoreError as problem:
                if attempt == _TRIES - 1:
                    raise
                log.debug("%s", problem)
                self._stop.wait(backoff.next_delay())
        raise AssertionError("unreachable")

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Stopped("stopping")
