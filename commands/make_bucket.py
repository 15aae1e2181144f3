"""`imhearing make-bucket`: creates the configured bucket if it is missing."""

from __future__ import annotations

import argparse

from commands.cli.common import load_settings, print_message
from edge.core.errors import ConfigError


def run(args: argparse.Namespace) -> int:
    """StoreError if the store refuses."""
    from edge.store.bucket import check_bucket, create_bucket  # noqa: PLC0415 -- boto3, 40 MB
    from edge.store.s3 import S3Store  # noqa: PLC0415

    settings = load_settings(args).s3
    if not settings.s3_bucket_name:
        raise ConfigError(["no bucket is configured; set [s3] s3_bucket_name"])
    connection = S3Store(settings).connection
    create_bucket(connection)
    check_bucket(connection)
    print_message(f"bucket {settings.s3_bucket_name} is ready")
    return 0
