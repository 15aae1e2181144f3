"""Objects in one S3 bucket, whole, in parts, and by byte range.

Raises what every request does: see `s3_connection`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TypeVar

from edge.configuration.settings import S3
from edge.core.errors import StoreBlocked, StoreError
from edge.core.instant import Instant
from edge.store.capabilities import Capabilities, Operation
from edge.store.interface import ObjectExists, StoredObject, StoredPart, UploadNotFound
from edge.store.links import Links
from edge.store.paced_body import Pace
from edge.store.ranges import is_whole_object, requested_bytes
from edge.store.refusals import NOT_A_STORE
from edge.store.request_options import condition, content_md5, put_options, tags_of
from edge.store.s3_connection import NotFound, S3Connection, Unexplained

log = logging.getLogger(__name__)

T = TypeVar("T")

_PIECE = 262_144
_MAX_LISTED = 10_000  # parts, as many as S3 permits; or open uploads
_MAX_PAGES = 10_000  # of 1,000 objects each, far more than a node ever makes
_TAGS: set[Operation] = {"tags", "multipart_tags"}


class S3Store:
    """The bucket that `settings` names. Connects at the first call; its methods may be called from several threads."""

    def __init__(
        self,
        settings: S3,
        *,
        connect_timeout: float = 10,
        read_timeout: float = 60,
        pace: Pace | None = None,
        now: Callable[[], Instant] | None = None,
    ) -> None:
        """`pace` limits how fast bodies are sent and objects are read."""
        self.bucket = settings.s3_bucket_name
        self._settings = settings
        self._pace = pace
        self.connection = S3Connection(settings, (connect_timeout, read_timeout), pace, now)
        self.capabilities = Capabilities(self.connection.place)
        self._links = Links(settings)

    @property
    def clock_ahead(self) -> float | None:
        """Seconds, at the last answer; None before there is one."""
        return self.connection.clock_ahead

    def head(self, key: str) -> StoredObject | None:
        """What the store has under `key`; None where it has nothing."""
        what = f"look for {key}"
        try:
            with self.connection.request(what) as s3:
                found = s3.head_object(Bucket=self.bucket, Key=key)
        except NotFound:
            return None
        except Unexplained:
            with contextlib.suppress(NotFound), self.connection.request(what) as s3:
                s3.get_object(Bucket=self.bucket, Key=key, Range="bytes=0-0")["Body"].close()
            raise
        modified = found.get("LastModified")
        stored_at = None if modified is None else Instant.from_seconds(modified.timestamp())
        return StoredObject(found.get("ContentLength", -1), self._etag(found), stored_at)

    def put(
        self,
        key: str,
        body: bytes | bytearray | BinaryIO,
        md5: str,
        *,
        overwrite: bool = False,
        media_type: str = "application/zip",
    ) -> str:
        """Stores `body`, which may be an open file, and gives its ETag; the store checks its MD5, in hex.

        Raises ObjectExists, where the store supports that.
        """
        start = None if isinstance(body, bytes | bytearray) else body.tell()

        def send(options: Any) -> Any:
            if start is not None:
                body.seek(start)  # type: ignore[union-attr]
            with self.connection.request(f"store {key}") as s3:
                return s3.put_object(
                    Bucket=self.bucket,
                    Key=key,
                    Body=body,  # type: ignore[arg-type]  # a bytearray will do, and spares a copy
                    ContentMD5=content_md5(md5),
                    ContentType=media_type,
                    **options,
                )

        options = {**put_options(self._settings), **condition(overwrite)}
        done = self.capabilities.write(options, send, lambda: self._refuse_existing(key))
        return str(done.get("ETag", "")).strip('"')

    def start_parts(self, key: str) -> str:
        """Opens a multipart upload; gives its id."""

        def send(options: Any) -> str:
            with self.connection.request(f"begin {key}") as s3:
                begun = s3.create_multipart_upload(
                    Bucket=self.bucket, Key=key, ContentType="application/zip", **options
                )
                return begun["UploadId"]

        return self.capabilities.write(put_options(self._settings), send, lambda: None)

    def put_part(self, key: str, upload_id: str, number: int, body: bytes | bytearray, md5: str) -> str:
        """Stores part `number` (from 1), whose MD5 in hex the store checks; gives its ETag."""
        with self.connection.request(f"store part {number} of {key}") as s3:
            done = s3.upload_part(
                Bucket=self.bucket,
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                Body=body,  # type: ignore[arg-type]  # a bytearray will do, and spares a copy
                ContentMD5=content_md5(md5),
            )
        return self._etag(done)

    def parts(self, key: str, upload_id: str) -> dict[int, StoredPart]:
        """The parts that the store already has; raises UploadNotFound."""
        with self.capabilities.optional("list_parts"), self.connection.request(f"list the parts of {key}") as s3:
            pages = s3.get_paginator("list_parts").paginate(
                Bucket=self.bucket, Key=key, UploadId=upload_id, PaginationConfig={"MaxItems": _MAX_LISTED}
            )
            found = [part for page in pages for part in page.get("Parts", [])]
            return {p["PartNumber"]: StoredPart(p["PartNumber"], p["Size"], p["ETag"].strip('"')) for p in found}

    def complete(self, key: str, upload_id: str, etags: list[str], *, overwrite: bool = False) -> str:
        """Makes the parts one object and gives its ETag; raises UploadNotFound, ObjectExists."""
        parts = [{"PartNumber": number, "ETag": f'"{etag}"'} for number, etag in enumerate(etags, 1)]

        def send(options: Any) -> Any:
            with self.connection.request(f"complete {key}") as s3:
                return s3.complete_multipart_upload(
                    Bucket=self.bucket,
                    Key=key,
                    UploadId=upload_id,
                    MultipartUpload={"Parts": parts},  # type: ignore[typeddict-item]
                    **options,
                )

        done = self.capabilities.write(condition(overwrite), send, lambda: self._refuse_existing(key))
        self._check_tags(key)
        return str(done.get("ETag", "")).strip('"')

    def _refuse_existing(self, key: str) -> None:
        """For stores without conditional writes. Where a HEAD is not possible, the object is overwritten."""
        try:
            found = self.head(key)
        except StoreBlocked as problem:
            if problem.reason not in ("denied", "unsupported"):
                raise
            return
        if found is not None:
            raise ObjectExists(f"{self.connection.place}: {key} exists")

    def _check_tags(self, key: str) -> None:
        """Once: whether an object uploaded in parts has its tags. Ceph's gateway drops them, and reports no error."""
        if not self._settings.tags or self.capabilities.has_multipart_tags or self.capabilities.missing & _TAGS:
            return
        try:
            with self.connection.request(f"read the tags of {key}") as s3:
                found = s3.get_object_tagging(Bucket=self.bucket, Key=key)["TagSet"]
        except StoreError as problem:
            log.debug("%s", problem)
            return
        if {(tag["Key"], tag["Value"]) for tag in found} >= set(tags_of(self._settings)):
            self.capabilities.has_multipart_tags = True
        else:
            self.capabilities.note_missing("multipart_tags")

    def abort(self, key: str, upload_id: str) -> None:
        """Drops a multipart upload and its parts; one that is already gone is no fault."""
        with contextlib.suppress(UploadNotFound), self.connection.request(f"abort {key}") as s3:
            s3.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload_id)

    def open_uploads(self, prefix: str) -> list[tuple[str, str]]:
        """(key, upload id) of every multipart upload below `prefix` that was begun and not ended, oldest first: of
        the first 10,000, for whoever aborts them."""
        try:
            with self.capabilities.optional("list_uploads"), self.connection.request("list open uploads") as s3:
                pages = s3.get_paginator("list_multipart_uploads").paginate(
                    Bucket=self.bucket, Prefix=prefix, PaginationConfig={"MaxItems": _MAX_LISTED}
                )
                found = [upload for page in pages for upload in page.get("Uploads", [])]
                # some stores treat the prefix as a whole key, and some ignore it
                mine = [upload for upload in found if upload["Key"].startswith(prefix)]
                mine.sort(key=lambda upload: str(upload.get("Initiated", "")))
                return [(upload["Key"], upload["UploadId"]) for upload in mine]
        except UploadNotFound:  # how rclone answers when there are none
            return []

    def read(self, key: str, offset: int, length: int) -> Iterator[bytes]:
        """The bytes [offset, offset + length) in pieces; StoreError when there are fewer, or more."""
        left = length
        with self.connection.request(f"read {key}") as s3:
            found = s3.get_object(Bucket=self.bucket, Key=key, Range=f"bytes={offset}-{offset + length - 1}")
            if offset and is_whole_object(found):
                self.capabilities.note_missing("ranges")
            for piece in requested_bytes(found, offset, length, _PIECE):
                left -= len(piece)
                if left < 0:
                    raise StoreError(f"{self.connection.place}: sent more than the requested {length} bytes of {key}")
                self._wait_for_pace(len(piece))
                yield piece
        if left:
            raise StoreError(f"{self.connection.place}: {key} ended {left} bytes too early")

    def _wait_for_pace(self, size: int) -> None:
        while self._pace is not None and size > 0:
            self._pace.wait(min(size, self._pace.step))
            size -= self._pace.step

    def keys(self, prefix: str, after: str = "") -> Iterator[tuple[str, int]]:
        """(key, bytes) of every object below `prefix`, in the order of keys, from the one after `after` on."""
        return self._listed(prefix, lambda item: (item["Key"], item["Size"]), after)

    def sizes_since(self, prefix: str, moment: Instant) -> Iterator[int]:
        """The sizes of the objects below `prefix` that were stored at `moment` or later."""
        first = moment.datetime()
        found = self._listed(prefix, lambda item: item["Size"] if item["LastModified"] >= first else None)
        return (size for size in found if size is not None)

    def _listed(self, prefix: str, wanted: Callable[[Any], T], after: str = "") -> Iterator[T]:
        """What `wanted` takes from each object of a listing."""
        options: Any = {"StartAfter": after} if after else {}
        with self.connection.request(f"list {prefix}") as s3:
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix, **options)
            for number, page in enumerate(pages):
                if number == _MAX_PAGES:
                    raise StoreError(f"{self.connection.place}: lists more than {_MAX_PAGES} pages of {prefix}")
                yield from map(wanted, page.get("Contents", []))

    def delete(self, key: str) -> None:
        """Deletes an object; one that is not there is no fault."""
        with self.connection.request(f"delete {key}") as s3:
            s3.delete_object(Bucket=self.bucket, Key=key)

    def presigned_url(self, bucket: str, key: str, seconds: int) -> str:
        """A link that lets anyone who has it read one object for `seconds`; made here, without a request."""
        return self._links.sign(bucket, key, seconds, self.connection.clients.region)

    def _etag(self, answer: Any) -> str:
        """Every store gives one, in some form."""
        if "ETag" not in answer:
            raise self.connection.blocked(f"{self.connection.place}: the answer has no ETag", NOT_A_STORE)
        return str(answer["ETag"]).strip('"')
