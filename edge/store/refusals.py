"""Why a store refuses a request, and what fixes it: one table for every store. Pure.

Codes are Amazon's (S3 API reference, "List of error codes") unless a line names the store that sends them.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from edge.configuration.settings import S3

_KEY = ("s3.access_key_id=-", "s3.secret_access_key=-")
_CA = ("s3.ca_file=PATH/TO/ca.crt",)
_ENDPOINT = ("s3.endpoint_url=https://HOST",)
_DENIED = "the key may not do this; docs/storage.md lists the permissions that it needs"
_ABOUT_THE_KEY = {"denied", "credentials", "expired"}
_MAX_OFFSET = 900.0  # seconds between signing and arrival, at S3
_REGION = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_EXPECTED = re.compile(r"expecting '([^']+)'|expected: \d+/([^/]+)/s3|expects? region '?([a-z0-9-]+)", re.IGNORECASE)


class Cause(NamedTuple):
    """A class of refusals, which only a person can end.

    It applies to a refusal with one of `codes` (or HTTP statuses), or whose message matches `words`; if `setting` of
    `[s3]` is given, only while that is set. `fix` says how to end it, `changes` with which settings, each
    `section.key=value`.
    """

    reason: str  # of StoreBlocked
    fix: str
    codes: tuple[str, ...] = ()
    words: str = ""
    setting: str = ""
    changes: tuple[str, ...] = ()


class StoreRefusal(NamedTuple):
    """What a store answered: `code` is its own, or the HTTP status where it gives none (to HEAD it never does).

    `offset`: of our clock from the store's, in seconds; None where it does not tell the time.
    """

    status: int
    code: str
    message: str = ""
    offset: float | None = None

    @property
    def is_bare(self) -> bool:
        """Without a code of S3."""
        return self.code.isdecimal()


ANOTHER_REGION = Cause(
    "region", "the bucket is in another region; set [s3] s3_region ({message})",
    (
        *("AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect"),
        *("IllegalLocationConstraintException", "InvalidRegionName", "IncorrectEndpoint"),
    ),
    changes=("s3.s3_region=REGION",),
)  # fmt: skip

_CLOCK = Cause(
    "clock_skew", "{skew}; set the clock", ("RequestTimeTooSkewed", "RequestExpired"),
    "request has expired|request time and the",
)  # fmt: skip

_CAUSES = (  # the first that applies counts: what a setting explains comes before codes that say little
    Cause("no_bucket", "there is no bucket {bucket!r}; make it, or set [s3] s3_bucket_name", ("NoSuchBucket",)),
    Cause(
        "bad_settings", "{bucket!r} cannot be a bucket's name; set [s3] s3_bucket_name", ("InvalidBucketName",),
        changes=("s3.s3_bucket_name=BUCKET",),
    ),
    _CLOCK,
    Cause("store_full", "the store is full; make room there", ("QuotaExceeded", "InsufficientStorage", "507")),
    Cause("store_full", "the store is full; make room there", ("XMinioStorageFull", "EntityTooLarge")),
    Cause(
        "expired", "the session token has expired; renew the credentials, whose file is read again when it changes",
        ("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "ExpiredTokenException"), "token.{0,20} expired",
    ),
    Cause(
        "credentials", "the store does not know the key; check [s3] access_key_id",
        ("InvalidAccessKeyId",), changes=_KEY,
    ),
    Cause(
        "credentials", "the secret does not match the key; check [s3] secret_access_key",
        ("SignatureDoesNotMatch",), changes=_KEY,
    ),
    ANOTHER_REGION,
    Cause(
        "addressing", "the store wants the bucket in the host name; set [s3] addressing = virtual",
        ("SecondLevelDomainForbidden", "PathStyleDomainForbidden", "InvalidPathAccess"),  # Alibaba, Tencent, Volcengine
        r"virtual[- ]host", changes=("s3.addressing=virtual",),
    ),
    Cause("denied", _DENIED, ("AccessDenied",)),
    Cause(
        "storage_class", "the store has no storage class {settings.storage_class!r}; set [s3] storage_class",
        ("InvalidStorageClass",), r"storage.?class", "storage_class", ("s3.storage_class=",),
    ),
    Cause(
        "encryption",
        "the store cannot encrypt with [s3] encryption = {settings.encryption}, or only over https; change that, or set"
        " an endpoint_url with https ({message})",
        ("InvalidEncryptionAlgorithmError",), r"encrypt|\bSSE\b|\bKMS|secure connection", "encryption",
        ("s3.encryption=",),
    ),
    Cause(
        "tls", "it speaks TLS; set [s3] endpoint_url to its https:// address", words="https server|to https port",
        changes=_ENDPOINT,
    ),
    Cause(
        "account", "the store has suspended the account; contact its provider",
        ("AllAccessDisabled", "AccountProblem", "PaymentRequired", "402"),
    ),
    Cause(
        "unsupported", "the store does not support this; docs/storage.md lists what a store must support",
        ("NotImplemented", "MethodNotAllowed", "501", "405"),
    ),
    Cause("denied", _DENIED, ("401", "403")),
)  # fmt: skip

NOT_A_STORE = Cause(
    "not_a_store",
    "another web server answered, such as the login page of a guest network; sign in there, or set [s3] endpoint_url",
    changes=_ENDPOINT,
)

_TLS_CAUSES = (  # by the words of OpenSSL
    Cause(
        "tls", "its certificate is from an unknown CA; set [s3] ca_file to that CA's certificate",
        words="self.signed|issuer certificate", changes=_CA,
    ),
    Cause(
        "tls", "its certificate is for another name; set [s3] endpoint_url to that name",
        words="hostname mismatch|ip address mismatch|doesn't match", changes=_ENDPOINT,
    ),
    Cause("tls", "its certificate is not valid now; check the clock, or renew it there", words="expired|not yet"),
    Cause(
        "tls", "it does not speak TLS; set [s3] endpoint_url to its http:// address, or to its TLS port",
        words="wrong.version.number|record layer|http.request|unknown.protocol", changes=("s3.endpoint_url=http://HOST",),
    ),
    Cause("tls", "check the store's certificate and the clock"),
)  # fmt: skip


def cause_of(refusal: StoreRefusal, settings: S3) -> Cause | None:
    """Why a store with these settings refuses; None where trying again may help."""
    for cause in _CAUSES:
        by_code = refusal.code in cause.codes or str(refusal.status) in cause.codes
        applies = by_code or bool(cause.words and re.search(cause.words, refusal.message, re.IGNORECASE))
        if applies and (not cause.setting or getattr(settings, cause.setting)):
            # rclone denies access to a clock that is behind; others find the signature wrong
            by_clock = cause.reason in _ABOUT_THE_KEY and abs(refusal.offset or 0) > _MAX_OFFSET
            return _CLOCK if by_clock else cause
    return None


def tls_cause_of(problem: str) -> Cause:
    """Why no secure connection could be made, from the text of the failure."""
    return next(cause for cause in _TLS_CAUSES if re.search(cause.words, problem, re.IGNORECASE))


def named_region(region: str | None, message: str) -> str | None:
    """The region that a refusal names, in a field of its own or within its message."""
    match = _EXPECTED.search(message)
    found = region or (next(filter(None, match.groups())) if match else "")
    return found if _REGION.fullmatch(found) else None
