"""Objects in one S3 bucket, whole, in parts, and by byte range.

Raises what every request does: see `s3_connection`.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, urlencode

from edge.configuration.settings import S3
from edge.core.errors import StoreError
from edge.core.instant import Instant
from edge.store.interface import StoredObject, StoredPart, UploadNotFound
from edge.store.paced_body import Pace
from edge.store.refusals import NOT_A_STORE
from edge.store.s3_connection import NotFound, S3Connection, Unexplained

_PIECE = 262_144


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
        """`pace` limits how fast bodies are sent."""
        self.bucket = settings.s3_bucket_name
        self._settings = settings
        self.connection = S3Connection(settings, (connect_timeout, read_timeout), pace, now)

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
        with self.connection.request(f"store {key}") as s3:
            done = s3.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=body,  # type: ignore[arg-type]  # a bytearray will do, and spares a copy
                ContentMD5=_content_md5(md5),
                ContentType=media_type,
                **self._put_options(),
                **_condition(overwrite),
            )
        return done.get("ETag", "").strip('"')

    def start_parts(self, key: str) -> str:
        """Opens a multipart upload; gives its id."""
        with self.connection.request(f"begin {key}") as s3:
            begun = s3.create_multipart_upload(
                Bucket=self.bucket, Key=key, ContentType="application/zip", **self._put_options()
            )
        return begun["UploadId"]

    def put_part(self, key: str, upload_id: str, number: int, body: bytes | bytearray, md5: str) -> str:
        """Stores part `number` (from 1), whose MD5 in hex the store checks; gives its ETag."""
        with self.connection.request(f"store part {number} of {key}") as s3:
            done = s3.upload_part(
                Bucket=self.bucket,
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                Body=body,  # type: ignore[arg-type]  # a bytearray will do, and spares a copy
                ContentMD5=_content_md5(md5),
            )
        return self._etag(done)

    def parts(self, key: str, upload_id: str) -> dict[int, StoredPart]:
        """The parts that the store already has; raises UploadNotFound."""
        with self.connection.request(f"list the parts of {key}") as s3:
            pages = s3.get_paginator("list_parts").paginate(Bucket=self.bucket, Key=key, UploadId=upload_id)
            found = [part for page in pages for part in page.get("Parts", [])]
        return {p["PartNumber"]: StoredPart(p["PartNumber"], p["Size"], p["ETag"].strip('"')) for p in found}

    def complete(self, key: str, upload_id: str, etags: list[str], *, overwrite: bool = False) -> str:
        """Makes the parts one object and gives its ETag; raises UploadNotFound, ObjectExists."""
        parts = [{"PartNumber": number, "ETag": f'"{etag}"'} for number, etag in enumerate(etags, 1)]
        with self.connection.request(f"complete {key}") as s3:
            done = s3.complete_multipart_upload(
                Bucket=self.bucket,
                Key=key,
                UploadId=upload_id,
                MultipartUpload={"Parts": parts},  # type: ignore[typeddict-item]
                **_condition(overwrite),
            )
        return done.get("ETag", "").strip('"')

    def abort(self, key: str, upload_id: str) -> None:
        """Drops a multipart upload and its parts; one that is already gone is no fault."""
        with contextlib.suppress(UploadNotFound), self.connection.request(f"abort {key}") as s3:
            s3.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload_id)

    def open_uploads(self, prefix: str) -> list[tuple[str, str]]:
        """(key, upload id) of every multipart upload below `prefix` that was begun and not ended, oldest first."""
        try:
            with self.connection.request("list open uploads") as s3:
                pages = s3.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=prefix)
                found = [upload for page in pages for upload in page.get("Uploads", [])]
        except UploadNotFound:  # how rclone answers when there are none
            return []
        # some stores treat the prefix as a whole key, and some ignore it
        mine = [upload for upload in found if upload["Key"].startswith(prefix)]
        mine.sort(key=lambda upload: str(upload.get("Initiated", "")))
        return [(upload["Key"], upload["UploadId"]) for upload in mine]

    def read(self, key: str, offset: int, length: int) -> Iterator[bytes]:
        """The bytes [offset, offset + length) in pieces; StoreError when there are fewer, or more."""
        left = length
        with self.connection.request(f"read {key}") as s3:
            found = s3.get_object(Bucket=self.bucket, Key=key, Range=f"bytes={offset}-{offset + length - 1}")
            for piece in found["Body"].iter_chunks(_PIECE):
                left -= len(piece)
                if left < 0:
                    raise StoreError(f"{self.connection.place}: sent more than the requested {length} bytes of {key}")
                yield piece
        if left:
            raise StoreError(f"{self.connection.place}: {key} ended {left} bytes too early")

    def keys(self, prefix: str, after: str = "") -> Iterator[tuple[str, int]]:
        """(key, bytes) of every object below `prefix`, in the order of keys, from the one after `after` on."""
        options: Any = {"StartAfter": after} if after else {}
        with self.connection.request(f"list {prefix}") as s3:
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix, **options):
                for item in page.get("Contents", []):
                    yield item["Key"], item["Size"]

    def sizes_since(self, prefix: str, moment: Instant) -> Iterator[int]:
        """The sizes of the objects below `prefix` that were stored at `moment` or later."""
        with self.connection.request(f"list {prefix}") as s3:
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                items = page.get("Contents", [])
                yield from (item["Size"] for item in items if item["LastModified"] >= moment.datetime())

    def delete(self, key: str) -> None:
        """Deletes an object; one that is not there is no fault."""
        with self.connection.request(f"delete {key}") as s3:
            s3.delete_object(Bucket=self.bucket, Key=key)

    def presigned_url(self, bucket: str, key: str, seconds: int) -> str:
        """A link that lets anyone who has it read one object for `seconds`; made here, without a request."""
        return self.connection.sign(bucket, key, seconds)

    def _put_options(self) -> Any:
        """How the store should keep the object."""
        settings = self._settings
        options = {
            "StorageClass": settings.storage_class,
            "ServerSideEncryption": settings.encryption,
            "SSEKMSKeyId": settings.kms_key if settings.encryption == "aws:kms" else "",
            "Tagging": urlencode(parse_qsl(settings.tags, keep_blank_values=True)),
        }
        return {name: value for name, value in options.items() if value}

    def _etag(self, answer: Any) -> str:
        """Every store gives one, in some form."""
        if "ETag" not in answer:
            raise self.connection.blocked(f"{self.connection.place}: the answer has no ETag", NOT_A_STORE)
        return str(answer["ETag"]).strip('"')


def _condition(overwrite: bool) -> Any:
    """Unless it may overwrite, the store refuses where it has an object (RFC 9110)."""
    return {} if overwrite else {"IfNoneMatch": "*"}


def _content_md5(md5: str) -> str:
    """The header of RFC 1864 from the digest as hex."""
    return base64.b64encode(bytes.fromhex(md5)).decode()
