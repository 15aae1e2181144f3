"""What its users need of an object store. `S3Store` implements all of it; tests implement what they make fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from edge.store.values import StoredObject, StoredPart


class RangeReader(Protocol):
    """Its methods raise StoreUnreachable, StoreBlocked or StoreError."""

    def read(self, key: str, offset: int, length: int) -> Iterator[bytes]: ...


class BucketReader(RangeReader, Protocol):
    bucket: str

    def keys(self, prefix: str) -> Iterator[tuple[str, int]]: ...


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
    """All that the archiver does with its bucket."""

    def delete(self, key: str) -> None: ...
