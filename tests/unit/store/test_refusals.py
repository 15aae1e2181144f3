"""Every refusal that a person must end has a reason, a fix in words and, where settings fix it, valid settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.configuration.loader import load
from edge.configuration.settings import S3
from edge.store import refusals
from edge.store.refusals import StoreRefusal, cause_of, named_region, tls_cause_of

DETAILS = {"bucket": "garden", "settings": S3(), "skew": "an hour behind", "message": "so there"}


def reason(refusal: StoreRefusal, settings: S3 = S3()) -> str | None:  # noqa: B008 - frozen
    cause = cause_of(refusal, settings)
    return None if cause is None else cause.reason


@pytest.mark.parametrize("code", ["InternalError", "SlowDown", "InvalidRequest", "503", "400"])
def test_what_may_pass_has_no_cause(code: str) -> None:
    assert reason(StoreRefusal(503, code, "Please try again.")) is None


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("NoSuchBucket", "no_bucket"),
        ("InvalidBucketName", "bad_settings"),
        ("ExpiredToken", "expired"),
        ("InvalidAccessKeyId", "credentials"),
        ("SignatureDoesNotMatch", "credentials"),
        ("RequestTimeTooSkewed", "clock_skew"),
        ("AccessDenied", "denied"),
        ("AllAccessDisabled", "account"),
        ("PaymentRequired", "account"),
        ("402", "account"),
        ("SecondLevelDomainForbidden", "addressing"),
        ("AuthorizationHeaderMalformed", "region"),
        ("403", "denied"),
        ("NotImplemented", "unsupported"),
        ("501", "unsupported"),
    ],
)
def test_a_code_says_why(code: str, expected: str) -> None:
    assert reason(StoreRefusal(403, code)) == expected


@pytest.mark.parametrize(("offset", "expected"), [(None, "denied"), (899.0, "denied"), (-901.0, "clock_skew")])
def test_a_key_is_not_blamed_for_the_clock(offset: float | None, expected: str) -> None:
    assert reason(StoreRefusal(403, "AccessDenied", "", offset)) == expected


def test_only_a_setting_that_is_set_is_blamed() -> None:
    refused = StoreRefusal(400, "InvalidArgument", "The storage class is unknown; server-side encryption is off")
    assert reason(refused) is None
    assert reason(refused, S3(storage_class="GLACIER")) == "storage_class"
    assert reason(refused, S3(encryption="AES256")) == "encryption"


def test_a_missing_right_is_no_fault_of_the_encryption() -> None:
    refused = StoreRefusal(403, "AccessDenied", "not authorized to perform: kms:GenerateDataKey")
    assert reason(refused, S3(encryption="aws:kms")) == "denied"


@pytest.mark.parametrize(
    ("region", "message", "expected"),
    [
        ("eu-central-1", "", "eu-central-1"),
        (None, "the region 'us-east-1' is wrong; expecting 'eu-central-1'", "eu-central-1"),
        (
            None,
            "unexpected scope: 20261122/us-east-1/s3/aws4_request, expected: 20261122/garage/s3/aws4_request",
            "garage",
        ),
        (None, "the region is wrong", None),
        ("evil.example.com/", "", None),
    ],
)
def test_the_region_that_the_store_names_is_found(region: str | None, message: str, expected: str | None) -> None:
    assert named_region(region, message) == expected


@pytest.mark.parametrize(
    ("problem", "changes"),
    [
        ("certificate verify failed: self-signed certificate in certificate chain", ("s3.ca_file=PATH/TO/ca.crt",)),
        ("certificate verify failed: unable to get local issuer certificate", ("s3.ca_file=PATH/TO/ca.crt",)),
        ("certificate verify failed: Hostname mismatch, certificate is not valid", ("s3.endpoint_url=https://HOST",)),
        ("certificate verify failed: certificate has expired", ()),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", ("s3.endpoint_url=http://HOST",)),
        ("something new", ()),
    ],
)
def test_a_failed_handshake_says_what_to_change(problem: str, changes: tuple[str, ...]) -> None:
    assert tls_cause_of(problem).changes == changes


CAUSES = (*refusals._CAUSES, *refusals._TLS_CAUSES, refusals.NOT_A_STORE)


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: f"{cause.reason} {cause.changes}")
def test_the_fix_can_be_read_and_done(cause: refusals.Cause, tmp_path: Path) -> None:
    assert cause.fix.format(**DETAILS)
    load(tmp_path, None, cause.changes, {})
