"""A connection to an S3 store, which makes every failure one of ours.

Every failure becomes StoreUnreachable (the link), StoreBlocked (a person must act, as `refusals` says) or StoreError
(try again). Nothing is retried here: the caller knows what may be repeated.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import botocore.exceptions as faults
from botocore.parsers import ResponseParserError

from edge.configuration.settings import S3
from edge.core.errors import StoreBlocked, StoreError, StoreUnreachable
from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock
from edge.store.bounded_session import AnswerTooLong
from edge.store.clients import Clients
from edge.store.interface import NO_BUCKET, ObjectExists, UploadNotFound
from edge.store.paced_body import Pace
from edge.store.refusals import ANOTHER_REGION, NOT_A_STORE, Cause, StoreRefusal, cause_of, named_region, tls_cause_of
from edge.store.replies import brief, clock_offset, is_page, seconds_ahead, skew
from edge.store.settings_fault import settings_fault

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)


class NotFound(StoreError):
    """No such object."""


class Unexplained(StoreError):
    """A HEAD was refused, whose answer has no body that could say why."""


_SIGNALS: dict[tuple[str, ...], type[StoreError]] = {
    ("NoSuchUpload", "InvalidUploadID"): UploadNotFound,
    ("NoSuchKey", "404", "NoSuchLifecycleConfiguration"): NotFound,
    ("PreconditionFailed", "412", "BucketAlreadyOwnedByYou", "BucketAlreadyExists"): ObjectExists,
}


class S3Connection:
    """To the bucket that `settings` names. Connects at the first request; may be used from several threads."""

    def __init__(
        self,
        settings: S3,
        timeouts: tuple[float, float],
        pace: Pace | None = None,
        now: Callable[[], Instant] | None = None,
    ) -> None:
        """`timeouts`: of connecting and of reading, in seconds. `pace` limits how fast bodies are sent."""
        self.settings, self.bucket = settings, settings.s3_bucket_name
        self._now = now or KernelClock().now
        self.clock_ahead: float | None = None  # seconds, at the last answer
        self.clients = Clients(settings, timeouts, pace, self._on_response)

    @property
    def place(self) -> str:
        return self.settings.endpoint_url or f"s3://{self.bucket}"

    @contextlib.contextmanager
    def request(self, what: str) -> Iterator[S3Client]:
        """The client, for requests that do `what`: their failures become ours."""
        if not self.bucket:
            raise StoreBlocked(NO_BUCKET, "no_bucket")
        region = self.clients.region
        try:
            yield self.clients.get(self.settings.endpoint_url)
        except faults.ClientError as problem:
            refused = self._refused(what, problem)
            if isinstance(refused, StoreBlocked) and refused.reason == "region" and region != self.clients.region:
                now = self.clients.region
                refused = StoreError(f"{self.place}: could not {what} in region {region}; trying {now}")
            raise refused from None
        except AnswerTooLong as problem:
            raise StoreError(f"{self.place}: could not {what}: {problem}") from None
        except KeyError as problem:  # botocore leaves out what it does not find
            raise StoreError(f"{self.place}: could not {what}: the answer has no {problem}") from None
        except ResponseParserError:
            raise StoreError(f"{self.place}: could not {what}: the answer is cut short, or not XML") from None
        except (faults.BotoCoreError, ValueError, OSError) as problem:
            raise self._fault(what, problem) from None

    def blocked(self, text: str, cause: Cause, **details: str) -> StoreBlocked:
        fix = cause.fix.format(bucket=self.bucket, settings=self.settings, **details)
        return StoreBlocked(f"{text}; {fix}", cause.reason, cause.changes)

    def _fault(self, what: str, problem: Exception) -> StoreError:
        """The store did not answer."""
        text = f"{self.place}: could not {what} ({brief(problem)})"
        if (blocked := settings_fault(text, problem)) is not None:
            return blocked
        match problem:
            case faults.SSLError():
                return self.blocked(text, tls_cause_of(str(problem)))
            case faults.HTTPClientError() | faults.ConnectionError() | OSError():
                return StoreUnreachable(f"{text}; trying again")
        return StoreError(text)

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
                raise self.blocked(f"{self.place}: a web page came instead of an answer", NOT_A_STORE)
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
            raise self.blocked(f"{self.place}: it refers to another address", cause, message=f"HTTP {status}")

    def _use_region(self, region: str) -> None:
        if region != self.clients.region:
            log.warning("%s: the bucket is in region %s, which is used now; set [s3] s3_region", self.place, region)
            self.clients.use_region(region)

    def _refused(self, what: str, problem: faults.ClientError) -> StoreError:
        response: Any = problem.response
        status, error = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0), response.get("Error", {})
        offset = clock_offset(response, self._now())
        refusal = StoreRefusal(status, str(error.get("Code", status)), brief(error.get("Message", "")), offset)
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        text, is_head = f"{self.place}: could not {what}: {refusal.code}", problem.operation_name == "HeadObject"
        for codes, kind in _SIGNALS.items():
            if refusal.code in codes and (is_head or not is_page(headers)):
                return kind(text)
        if is_head and refusal.is_bare and status < 500 and status not in (401, 403, 405, 429):
            return Unexplained(f"{text}; trying again")
        cause = cause_of(refusal, self.settings)
        is_foreign = refusal.is_bare and not is_head and status < 500 and is_page(headers)
        if is_foreign and (cause is None or cause.reason in ("denied", "unsupported")):
            cause = NOT_A_STORE  # a store says why in XML
        if cause is None:
            return StoreError(f"{text} ({refusal.message})" if refusal.message else text)
        return self.blocked(text, cause, message=refusal.message, skew=skew(offset))
