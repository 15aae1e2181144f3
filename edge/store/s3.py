"""Objects in one S3 bucket, whole, in parts, and by byte range.

Every failure becomes StoreUnreachable (the link), StoreBlocked (a person must act, as `refusals` says) or StoreError
(try again). Nothing is retried here: the caller knows what may be repeated.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import botocore.exceptions as faults
from botocore.parsers import ResponseParserError

from edge.configuration.settings import S3
from edge.core.errors import StoreBlocked, StoreError, StoreUnreachable
from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock
from edge.store.capabilities import Capabilities, Operation
from edge.store.clients import Clients
from edge.store.interface import NO_BUCKET, LifecycleRule, ObjectExists, StoredObject, StoredPart, UploadNotFound
from edge.store.paced_body import Pace
from edge.store.ranges import is_whole_object, requested_bytes
from edge.store.refusals import ANOTHER_REGION, NOT_A_STORE, Cause, StoreRefusal, cause_of, named_region, tls_cause_of
from edge.store.replies import brief, clock_offset, is_page, lifecycle_rules, seconds_ahead, skew
from edge.store.request_options import condition, content_md5, put_options, tags_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

_PIECE = 262_144
_TAGS: set[Operation] = {"tags", "multipart_tags"}


class _Missing(StoreError):
    """No such object."""


class _Unexplained(StoreError):
    """A HEAD was refused, whose answer has no body that could say why."""


_SIGNALS: dict[tuple[str, ...], type[StoreError]] = {
    ("NoSuchUpload", "InvalidUploadID"): UploadNotFound,
    ("NoSuchKey", "404", "NoSuchLifecycleConfiguration"): _Missing,
    ("PreconditionFailed", "412", "BucketAlreadyOwnedByYou", "BucketAlreadyExists"): ObjectExists,
}


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
        self._now = now or KernelClock().now
        self.clock_ahead: float | None = None  # seconds, at the last answer
        self._pace = pace
        self.capabilities = Capabilities(self._place)
        self.clients = Clients(settings, (connect_timeout, read_timeout), pace, self._on_response)

    def create_bucket(self) -> None:
        """Makes the bucket where it is missing."""
        region = self._settings.s3_region
        extra: dict[str, Any] = {}
        if not self._settings.endpoint_url and region != "us-east-1":  # only AWS needs it, and not for this region
            extra["CreateBucketConfiguration"] = {"LocationConstraint": region}
        with contextlib.suppress(ObjectExists), self._request("make the bucket") as s3:
            s3.create_bucket(Bucket=self.bucket, **extra)

    def check(self) -> None:
        """One cheap request; raises what would prevent uploading, as far as it can tell."""
        with self._request("look at the bucket") as s3:
            s3.list_objects_v2(Bucket=self.bucket, MaxKeys=1)

    def lifecycle(self) -> list[LifecycleRule]:
        """The bucket's enabled rules, except those for certain tags or sizes. StoreError where it has no such rules."""
        try:
            with self._request("see the lifecycle rules") as s3:
                found: Any = s3.get_bucket_lifecycle_configuration(Bucket=self.bucket)
        except _Missing:
            return []
        if not found.get("Rules"):  # rclone mistakes the request for another one and lists the bucket
            raise StoreError(f"{self._place}: the store does not support lifecycle rules")
        return lifecycle_rules(found["Rules"])

    def head(self, key: str) -> StoredObject | None:
        """What the store has under `key`; None where it has nothing."""
        what = f"look for {key}"
        try:
            with self._request(what) as s3:
                found = s3.head_object(Bucket=self.bucket, Key=key)
        except _Missing:
            return None
        except _Unexplained:
            with contextlib.suppress(_Missing), self._request(what) as s3:
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
            with self._request(f"store {key}") as s3:
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
            with self._request(f"begin {key}") as s3:
                begun = s3.create_multipart_upload(
                    Bucket=self.bucket, Key=key, ContentType="application/zip", **options
                )
            return begun["UploadId"]

        return self.capabilities.write(put_options(self._settings), send, lambda: None)

    def put_part(self, key: str, upload_id: str, number: int, body: bytes | bytearray, md5: str) -> str:
        """Stores part `number` (from 1), whose MD5 in hex the store checks; gives its ETag."""
        with self._request(f"store part {number} of {key}") as s3:
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
        with self.capabilities.optional("list_parts"), self._request(f"list the parts of {key}") as s3:
            pages = s3.get_paginator("list_parts").paginate(Bucket=self.bucket, Key=key, UploadId=upload_id)
            found = [part for page in pages for part in page.get("Parts", [])]
        return {p["PartNumber"]: StoredPart(p["PartNumber"], p["Size"], p["ETag"].strip('"')) for p in found}

    def complete(self, key: str, upload_id: str, etags: list[str], *, overwrite: bool = False) -> str:
        """Makes the parts one object and gives its ETag; raises UploadNotFound, ObjectExists."""
        parts = [{"PartNumber": number, "ETag": f'"{etag}"'} for number, etag in enumerate(etags, 1)]

        def send(options: Any) -> Any:
            with self._request(f"complete {key}") as s3:
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
            raise ObjectExists(f"{self._place}: {key} exists")

    def _check_tags(self, key: str) -> None:
        """Once: whether an object uploaded in parts has its tags. Ceph's gateway drops them, and reports no error."""
        if not self._settings.tags or self.capabilities.has_multipart_tags or self.capabilities.lacking & _TAGS:
            return
        try:
            with self._request(f"read the tags of {key}") as s3:
                found = s3.get_object_tagging(Bucket=self.bucket, Key=key)["TagSet"]
        except StoreError as problem:
            log.debug("%s", problem)
            return
        if {(tag["Key"], tag["Value"]) for tag in found} >= set(tags_of(self._settings)):
            self.capabilities.has_multipart_tags = True
        else:
            self.capabilities.learn_lack("multipart_tags")

    def abort(self, key: str, upload_id: str) -> None:
        """Drops a multipart upload and its parts; one that is already gone is no fault."""
        with contextlib.suppress(UploadNotFound), self._request(f"abort {key}") as s3:
            s3.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload_id)

    def open_uploads(self, prefix: str) -> list[tuple[str, str]]:
        """(key, upload id) of every multipart upload below `prefix` that was begun and not ended, oldest first."""
        try:
            with self.capabilities.optional("list_uploads"), self._request("list open uploads") as s3:
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
        with self._request(f"read {key}") as s3:
            found = s3.get_object(Bucket=self.bucket, Key=key, Range=f"bytes={offset}-{offset + length - 1}")
            if offset and is_whole_object(found):
                self.capabilities.learn_lack("ranges")
            for piece in requested_bytes(found, offset, length, _PIECE):
                left -= len(piece)
                if left < 0:
                    raise StoreError(f"{self._place}: sent more than the requested {length} bytes of {key}")
                self._wait_for_pace(len(piece))
                yield piece
        if left:
            raise StoreError(f"{self._place}: {key} ended {left} bytes too early")

    def _wait_for_pace(self, size: int) -> None:
        while self._pace is not None and size > 0:
            self._pace.wait(min(size, self._pace.step))
            size -= self._pace.step

    def keys(self, prefix: str, after: str = "") -> Iterator[tuple[str, int]]:
        """(key, bytes) of every object below `prefix`, in the order of keys, from the one after `after` on."""
        options: Any = {"StartAfter": after} if after else {}
        with self._request(f"list {prefix}") as s3:
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix, **options):
                for item in page.get("Contents", []):
                    yield item["Key"], item["Size"]

    def sizes_since(self, prefix: str, moment: Instant) -> Iterator[int]:
        """The sizes of the objects below `prefix` that were stored at `moment` or later."""
        with self._request(f"list {prefix}") as s3:
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                items = page.get("Contents", [])
                yield from (item["Size"] for item in items if item["LastModified"] >= moment.datetime())

    def delete(self, key: str) -> None:
        """Deletes an object; one that is not there is no fault."""
        with self._request(f"delete {key}") as s3:
            s3.delete_object(Bucket=self.bucket, Key=key)

    def presigned_url(self, bucket: str, key: str, seconds: int) -> str:
        """A link that lets anyone who has it read one object for `seconds`; made here, without a request."""
        endpoint = self._settings.public_endpoint_url or self._settings.endpoint_url
        try:
            return self.clients.get(endpoint).generate_presigned_url(
                "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=seconds
            )
        except (faults.BotoCoreError, ValueError) as problem:
            raise self._fault("sign a link", problem) from None

    @property
    def _place(self) -> str:
        return self._settings.endpoint_url or f"s3://{self.bucket}"

    def _etag(self, answer: Any) -> str:
        """Every store gives one, in some form."""
        if "ETag" not in answer:
            raise self._blocked(f"{self._place}: the answer has no ETag", NOT_A_STORE)
        return str(answer["ETag"]).strip('"')

    def _on_response(self, response: Any = None, **_rest: Any) -> None:
        """Recognises what is not from a store, and learns the bucket's region.

        `response`: what came, and what botocore read in it, which this completes; None where nothing came.
        """
        if response is None:
            return
        http, parsed = response
        self.clock_ahead = seconds_ahead(http.headers.get("Date", ""), self._now())
        status = http.raw.status  # botocore makes 500 of 200 where it cannot read the answer
        is_ours = any(name.lower().startswith(("x-amz", "etag")) for name in http.headers)
        if status < 300:
            if is_page(http.headers) and not is_ours:
                raise self._blocked(f"{self._place}: a web page came instead of an answer", NOT_A_STORE)
            return
        error = parsed.setdefault("Error", {})
        if "text/" in http.headers.get("Content-Type", "") and str(error.get("Code", "")).isdecimal():
            error["Message"] = http.content.decode(errors="replace")
        field = http.headers.get("x-amz-bucket-region") or error.get("Region")
        if region := named_region(field, str(error.get("Message", ""))):
            error["Region"] = region  # botocore tries there
            self._use_region(region)
        elif status < 400:  # botocore would look for the region for ever
            cause = ANOTHER_REGION if is_ours else NOT_A_STORE
            raise self._blocked(f"{self._place}: it refers to another address", cause, message=f"HTTP {status}")

    def _use_region(self, region: str) -> None:
        if region != self.clients.region:
            log.warning("%s: the bucket is in region %s, which is used now; set [s3] s3_region", self._place, region)
            self.clients.use_region(region)

    @contextlib.contextmanager
    def _request(self, what: str) -> Iterator[S3Client]:
        """The client, for requests that do `what`: their failures become ours."""
        if not self.bucket:
            raise StoreBlocked(NO_BUCKET, "no_bucket")
        region = self.clients.region
        try:
            yield self.clients.get(self._settings.endpoint_url)
        except faults.ClientError as problem:
            refused = self._refused(what, problem)
            if isinstance(refused, StoreBlocked) and refused.reason == "region" and region != self.clients.region:
                now = self.clients.region
                refused = StoreError(f"{self._place}: could not {what} in region {region}; trying {now}")
            raise refused from None
        except ResponseParserError:
            raise StoreError(f"{self._place}: could not {what}: the answer is cut short, or not XML") from None
        except (faults.BotoCoreError, ValueError, OSError) as problem:
            raise self._fault(what, problem) from None

    def _refused(self, what: str, problem: faults.ClientError) -> StoreError:
        response: Any = problem.response
        status, error = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0), response.get("Error", {})
        offset = clock_offset(response, self._now())
        refusal = StoreRefusal(status, str(error.get("Code", status)), brief(error.get("Message", "")), offset)
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        text, is_head = f"{self._place}: could not {what}: {refusal.code}", problem.operation_name == "HeadObject"
        for codes, kind in _SIGNALS.items():
            if refusal.code in codes and (is_head or not is_page(headers)):
                return kind(text)
        if is_head and refusal.is_bare and status < 500 and status not in (401, 403, 405, 429):
            return _Unexplained(f"{text}; trying again")
        cause = cause_of(refusal, self._settings)
        is_foreign = refusal.is_bare and not is_head and status < 500 and is_page(headers)
        if is_foreign and (cause is None or cause.reason in ("denied", "unsupported")):
            cause = NOT_A_STORE  # a store says why in XML
        if cause is None:
            return StoreError(f"{text} ({refusal.message})" if refusal.message else text)
        return self._blocked(text, cause, message=refusal.message, skew=skew(offset))

    def _blocked(self, text: str, cause: Cause, **details: str) -> StoreBlocked:
        fix = cause.fix.format(bucket=self.bucket, settings=self._settings, **details)
        return StoreBlocked(f"{text}; {fix}", cause.reason, cause.changes)

    def _fault(self, what: str, problem: Exception) -> StoreError:
        """The store did not answer."""
        text = f"{self._place}: could not {what} ({brief(problem)})"
        match problem:
            case faults.NoCredentialsError() | faults.PartialCredentialsError() | faults.ConfigParseError():
                fix = "set [s3] access_key_id and secret_access_key"
                changes = ("s3.access_key_id=-", "s3.secret_access_key=-")
                return StoreBlocked(f"{text}; {fix}", "no_credentials", changes)
            case faults.SSLError():
                return self._blocked(text, tls_cause_of(str(problem)))
            case faults.ParamValidationError() | faults.InvalidRegionError() | ValueError():
                fix = "check [s3] s3_bucket_name, s3_region and endpoint_url"
                changes = ("s3.s3_bucket_name=BUCKET", "s3.endpoint_url=https://HOST")
                return StoreBlocked(f"{text}; {fix}", "bad_settings", changes)
            case faults.HTTPClientError() | faults.ConnectionError() | OSError():
                return StoreUnreachable(f"{text}; trying again")
        return StoreError(text)
