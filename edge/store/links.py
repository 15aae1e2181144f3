"""Presigned links, by botocore's signer alone: its client takes 16 MB more, for operations that no link needs.

The addresses are those that botocore's client has for S3 (tests compare): `[s3] public_endpoint_url` or `endpoint_url`,
else Amazon's in the bucket's region.
"""

from __future__ import annotations

import ipaddress
import os
import re
from typing import Literal
from urllib.parse import quote, urlsplit

import botocore.exceptions as faults
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from edge.configuration.settings import S3
from edge.core.errors import StoreError
from edge.store.aws_files import State, state_of_aws_files
from edge.store.replies import brief
from edge.store.settings_fault import settings_fault

# bucket names that can be part of a host name; TLS certificates cover no dots in them
_HOST_PART = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_BUCKET = re.compile(r"[A-Za-z0-9._-]{3,255}")
_OLDEST = "us-east-1"  # whose address has no region
_SUFFIXES = {"cn-": "amazonaws.com.cn", "us-iso-": "c2s.ic.gov", "us-isob-": "sc2s.sgov.gov"}


class Links:
    """Makes links to objects of one store. One thread at a time."""

    def __init__(self, settings: S3) -> None:
        self._settings = settings
        self._found: Credentials | None = None  # by the AWS tools' rules
        self._state: State | None = None

    def sign(self, bucket: str, key: str, seconds: int, region: str = "") -> str:
        """A link that lets anyone who has it read one object for `seconds`; made without a request. `region`: where
        the bucket is, if that is known better than by the settings.

        StoreBlocked when there are no credentials, or the settings name no possible address.
        """
        region = region or self._settings.s3_region or _OLDEST
        try:
            request = AWSRequest("GET", _address(self._settings, region, bucket, key))
            signer = S3SigV4QueryAuth(self._credentials(), "s3", region, expires=seconds)
            signer.add_auth(request)
        except (faults.BotoCoreError, ValueError) as problem:
            place = self._settings.endpoint_url or f"s3://{bucket}"
            text = f"{place}: could not sign a link ({brief(problem)})"
            raise settings_fault(text, problem) or StoreError(text) from None
        return str(request.url)

    def _credentials(self) -> Credentials:
        key, secret = self._settings.access_key_id.reveal(), self._settings.secret_access_key.reveal()
        if key and secret:
            return Credentials(key, secret)
        if key or secret:
            raise faults.PartialCredentialsError(provider="[s3]", cred_var="access_key_id or secret_access_key")
        state = state_of_aws_files()
        if self._found is None or state != self._state:
            import botocore.session  # noqa: PLC0415 - 4 MB, for those whose keys are not in our settings

            self._found, self._state = botocore.session.Session().get_credentials(), state
        if self._found is None:
            raise faults.NoCredentialsError
        return self._found


def style_of(settings: S3, endpoint: str) -> Literal["path", "virtual"]:
    """botocore's own `auto` leads links to AWS's global address, which redirects, and a redirected link is refused."""
    if settings.addressing == "auto":
        return "path" if endpoint else "virtual"
    return settings.addressing


def _address(settings: S3, region: str, bucket: str, key: str) -> str:
    """ValueError when there is none."""
    if not _BUCKET.fullmatch(bucket):
        raise ValueError(f"{bucket[:80]!r} is no name of a bucket")
    endpoint = settings.public_endpoint_url or settings.endpoint_url
    base = urlsplit(endpoint or _aws_tools_endpoint() or _amazon(region))
    if base.scheme not in ("http", "https") or not base.hostname or base.query or base.fragment:
        raise ValueError(f"{endpoint[:80]!r} is no address of a store")
    path, host = quote(key, safe="/~"), base.netloc
    if style_of(settings, endpoint) == "virtual" and _may_be_in_host(bucket, base.scheme, base.hostname):
        host = f"{bucket}.{host}"
    else:
        path = f"{bucket}/{path}"
    return f"{base.scheme}://{host}{base.path.rstrip('/')}/{path}"


def _may_be_in_host(bucket: str, scheme: str, host: str) -> bool:
    name = _HOST_PART if scheme == "https" else rf"{_HOST_PART}(?:\.{_HOST_PART})*"
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return 3 <= len(bucket) <= 63 and bool(re.fullmatch(name, bucket))
    return False


def _amazon(region: str) -> str:
    suffix = next((suffix for start, suffix in _SUFFIXES.items() if region.startswith(start)), "amazonaws.com")
    return f"https://s3.{suffix}" if region == _OLDEST else f"https://s3.{region}.{suffix}"


def _aws_tools_endpoint() -> str:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
