"""What requests that store an object carry besides it. Pure."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import parse_qsl, urlencode

from edge.configuration.settings import S3


def put_options(settings: S3) -> dict[str, Any]:
    """How the store should keep the object."""
    options = {
        "StorageClass": settings.storage_class,
        "ServerSideEncryption": settings.encryption,
        "SSEKMSKeyId": settings.kms_key if settings.encryption == "aws:kms" else "",
        "Tagging": urlencode(tags_of(settings)),
    }
    return {name: value for name, value in options.items() if value}


def tags_of(settings: S3) -> list[tuple[str, str]]:
    """(name, value) of each of `[s3] tags`."""
    return parse_qsl(settings.tags, keep_blank_values=True)


def condition(overwrite: bool) -> dict[str, Any]:
    """Unless it may overwrite, the store refuses where it has an object (RFC 9110)."""
    return {} if overwrite else {"IfNoneMatch": "*"}


def content_md5(md5: str) -> str:
    """The header of RFC 1864 from the digest as hex."""
    return base64.b64encode(bytes.fromhex(md5)).decode()
