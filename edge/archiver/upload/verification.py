"""Whether the store has the bytes that were sent: by its ETag, and by reading them back.

Memory stays flat: the object is hashed piece by piece, and after a fault, reading resumes where it stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

from edge.archiver.plan.read_back import ALWAYS, ReadBackPolicy
from edge.archiver.upload.parts import Digests
from edge.archiver.upload.sending import ProgressHeartbeat
from edge.core.errors import StoreBlocked, StoreError, StoreUnreachable
from edge.store.interface import StoredObject, UploadTarget

log = logging.getLogger(__name__)

T = TypeVar("T")


class Retried(Protocol):
    """Tries a repeatable request a few times; raises the last failure, and Stopped while the process is stopping."""

    def __call__(self, call: Callable[[], T]) -> T: ...


class SentObject(NamedTuple):
    """What we sent under `key`. `in_parts`: by a multipart upload, which stores handle by other code."""

    key: str
    size: int
    digests: Digests
    in_parts: bool


class _Corrupted(NamedTuple):
    """An object that the store confirmed and has with other bytes. `found`: as HEAD shows it, None if unknown."""

    key: str
    found: StoredObject | None
    problem: StoreBlocked


class Verification:
    """Remembers, until the process ends or `[s3]` changes, what this store has shown."""

    def __init__(
        self, store: UploadTarget, policy: ReadBackPolicy, retried: Retried, check_stop: Callable[[], None]
    ) -> None:
        self._store, self._policy, self._retried, self._check_stop = store, policy, retried, check_stop
        self._proven: set[bool] = set()  # kinds of upload, `in_parts` or not, of which one has been read back
        self._corrupted: _Corrupted | None = None
        self._warned = False

    def check_store(self) -> None:
        """Raises StoreBlocked while the store still has an object that it corrupted."""
        corrupted = self._corrupted
        if corrupted is None:
            return
        now = self._retried(lambda: self._store.head(corrupted.key))
        if now is not None and corrupted.found in (now, None):
            raise corrupted.problem
        log.info("%s was deleted or replaced; uploading again", corrupted.key)
        self._corrupted, self._policy = None, ALWAYS

    def has_our_bytes(self, sent: SentObject, etag: str, beat: ProgressHeartbeat) -> bool:
        """Whether an object with this ETag has our bytes. Raises StoreBlocked where the ETag is ours and the bytes are
        not: the store corrupts what it stores."""
        matches = etag != "" and etag in (sent.digests.md5, sent.digests.composite)
        if matches and not self._is_due(sent):
            return True
        if not matches:
            # with SSE-KMS and the like an ETag looks like an MD5 but is none: only the bytes are conclusive
            log.info("%s: its ETag is not conclusive; reading it back", sent.key)
        try:
            same = self._hash(sent, beat) == sent.digests.sha256
        except StoreBlocked as problem:
            if not matches or problem.reason != "denied":
                raise
            self._warn_unread(problem)
            return True
        if same:
            self._proven.add(sent.in_parts)
        elif matches:
            raise self.corruption(sent.key)
        return same

    def corruption(self, key: str) -> StoreBlocked:
        """To be raised: what the store confirmed under `key` has different bytes now. Nothing more is uploaded until it
        is deleted or replaced there, or another store is set."""
        problem = StoreBlocked(
            f"{key}: the store has different bytes from those it confirmed; use another store, or repair this one and"
            " delete the object there",
            "corrupts",
            ("s3.endpoint_url=https://HOST",),
        )
        found = None
        with contextlib.suppress(StoreError):
            found = self._retried(lambda: self._store.head(key))
        self._corrupted = _Corrupted(key, found, problem)
        return problem

    def _is_due(self, sent: SentObject) -> bool:
        return self._policy.includes(sent.key) or sent.in_parts not in self._proven

    def _hash(self, sent: SentObject, beat: ProgressHeartbeat) -> str:
        sha256, at = hashlib.sha256(), 0

        def read_on() -> None:
            nonlocal at
            for piece in self._store.read(sent.key, at, sent.size - at):
                self._check_stop()
                beat.again()
                sha256.update(piece)
                at += len(piece)

        while at < sent.size:
            before = at
            try:
                self._retried(read_on)
            except (StoreBlocked, StoreUnreachable):
                raise
            except StoreError:
                if at == before:
                    self._check_size(sent)
                    raise
        return sha256.hexdigest()

    def _check_size(self, sent: SentObject) -> None:
        found = self._retried(lambda: self._store.head(sent.key))
        if found is not None and found.size != sent.size:
            raise self.corruption(sent.key)

    def _warn_unread(self, problem: StoreBlocked) -> None:
        if not self._warned:
            log.warning(
                "the key may not read (s3:GetObject), so archives are verified by the store's answers alone (%s)",
                problem,
            )
        self._warned = True
