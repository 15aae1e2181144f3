"""What uploading needs of an object store: `storage.Storage`, or in tests one that goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from edge.store.s3 import StoredObject, StoredPart


class Store(Protocol):
    """Its methods raise StoreUnreachable, StoreBlocked, StoreError; UploadGone and AlreadyThere where they say so."""

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
    def read(self, key: str, offset: int, length: int) -> Iterator[bytes]: ...
