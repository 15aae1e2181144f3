"""Which of botocore's errors say that the settings are at fault, and what to set."""

from __future__ import annotations

import botocore.exceptions as faults

from edge.core.errors import StoreBlocked


def settings_fault(text: str, problem: Exception) -> StoreBlocked | None:
    """`text`: what failed, and botocore's words for why."""
    match problem:
        case faults.NoCredentialsError() | faults.PartialCredentialsError() | faults.ConfigParseError():
            fix = "set [s3] access_key_id and secret_access_key"
            changes = ("s3.access_key_id=-", "s3.secret_access_key=-")
            return StoreBlocked(f"{text}; {fix}", "no_credentials", changes)
        case faults.ParamValidationError() | faults.InvalidRegionError() | ValueError():
            fix = "check [s3] s3_bucket_name, s3_region and endpoint_url"
            changes = ("s3.s3_bucket_name=BUCKET", "s3.endpoint_url=https://HOST")
            return StoreBlocked(f"{text}; {fix}", "bad_settings", changes)
    return None
