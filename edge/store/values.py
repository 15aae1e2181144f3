"""Values and errors of any object store."""

from __future__ import annotations

from msgspec import Struct

from edge.core.errors import StoreError

NO_BUCKET = "no bucket is named, so chunks stay on this node; set [s3] s3_bucket_name"


class UploadNotFound(StoreError):
    """The store does not know this multipart upload: it was completed, aborted, or lost in a restart."""


class ObjectExists(StoreError):
    """The store has an object with this key and was told not to overwrite it."""


class StoredObject(Struct, frozen=True):
    """An object's size and its `etag` without quotes: an MD5, a composite one, or anything else."""

    size: int
    etag: str


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
