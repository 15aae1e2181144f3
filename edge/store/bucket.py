"""A bucket as a whole, for setting it up and checking it. Raises what every request does: see `s3_connection`."""

from __future__ import annotations

import contextlib
from typing import Any

from edge.core.errors import StoreError
from edge.store.interface import LifecycleRule, ObjectExists
from edge.store.replies import lifecycle_rules
from edge.store.s3_connection import NotFound, S3Connection


def create_bucket(connection: S3Connection) -> None:
    """Makes the bucket where it is missing."""
    region = connection.settings.s3_region
    extra: dict[str, Any] = {}
    if not connection.settings.endpoint_url and region != "us-east-1":  # only AWS needs it, and not for this region
        extra["CreateBucketConfiguration"] = {"LocationConstraint": region}
    with contextlib.suppress(ObjectExists), connection.request("make the bucket") as s3:
        s3.create_bucket(Bucket=connection.bucket, **extra)


def check_bucket(connection: S3Connection) -> None:
    """One cheap request; raises what would prevent uploading, as far as it can tell."""
    with connection.request("look at the bucket") as s3:
        s3.list_objects_v2(Bucket=connection.bucket, MaxKeys=1)


def read_lifecycle_rules(connection: S3Connection) -> list[LifecycleRule]:
    """The bucket's enabled rules, except those for certain tags or sizes. StoreError where it has no such rules."""
    try:
        with connection.request("see the lifecycle rules") as s3:
            found: Any = s3.get_bucket_lifecycle_configuration(Bucket=connection.bucket)
    except NotFound:
        return []
    if not found.get("Rules"):  # rclone mistakes the request for another one and lists the bucket
        raise StoreError(f"{connection.place}: the store does not support lifecycle rules")
    return lifecycle_rules(found["Rules"])
