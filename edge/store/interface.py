"""What its users need of an object store, with its values and errors. `S3Store` implements all of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from msgspec import Struct

from edge.core.errors import StoreError
from edge.core.instant import Instant

NO_BUCKET = "no bucket is named, so chunks stay on this node; set [s3] s3_bucket_name"


class UploadNotFound(StoreError):
    """The store does not know this multipart upload: it was completed, aborted, or lost in a restart."""


class ObjectExists(StoreError):
    """The store has an object with this key and must not overwrite it."""


class StoredObject(Struct, frozen=True):
    """An object's size and its `etag` without quotes: an MD5, a composite one, or anything else.

    `stored_at`: since when, by the store's clock.
    """

    size: int
    etag: str
    stored_at: Instant | None = None


class StoredPart(Struct, frozen=True):
    """One part of an open multipart upload; parts are numbered from 1."""

    number: int
    size: int
    etag: str


class LifecycleRule(Struct, frozen=True):
    """An enabled rule of the bucket for all objects below `prefix`: what it does after how many days."""

    prefix: str
    expire_days: int | None = None  # deletes objects
    abort_days: int | None = None  # ends multipart uploads that nobody finished


class RangeReader(Protocol):
    """Its methods raise StoreUnreachable, StoreBlocked or StoreError."""

    def read(self, key: str, offset: int, length: int) -> Iterator[bytes]: ...


class BucketReader(RangeReader, Protocol):
    bucket: str

    def keys(self, prefix: str, after: str = "") -> Iterator[tuple[str, int]]: ...


class UploadTarget(RangeReader, Protocol):
    """Raises UploadNotFound and ObjectExists besides."""

    def head(self, key: str) -> StoredObject | None: ...
    def put(
        self,
        key: str,
        body: bytes | bytearray,
        md5: str,
        *,
        overwrite: bool = False,
        media_type: str = "application/zip",
    ) -> str: ...
    def start_parts(self, key: str) -> str: ...
    def put_part(self, key: str, upload_id: str, number: int, body: bytes | bytearray, md5: str) -> str: ...
    def parts(self, key: str, upload_id: str) -> dict[int, StoredPart]: ...
    def complete(self, key: str, upload_id: str, etags: list[str], *, overwrite: bool = False) -> str: ...
    def abort(self, key: str, upload_id: str) -> None: ...
    def open_uploads(self, prefix: str) -> list[tuple[str, str]]: ...


class ObjectStore(BucketReader, UploadTarget, Protocol):
    """All that the archiver does with its bucket.

    `clock_ahead`: seconds by which our clock was ahead of the store's at its last answer; None before there is one.
    """

    @property
    def clock_ahead(self) -> float | None: ...
    def delete(self, key: str) -> None: ...
