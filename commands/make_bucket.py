"""`imhearing make-bucket`: makes the bucket that the settings name, where it is missing."""

from __future__ import annotations

import argparse

from commands.cli import logs
from commands.cli.common import say, settings
from edge.core.errors import ConfigError


def run(args: argparse.Namespace) -> int:
    """StoreError says why the store does not do it."""
    from edge.store.s3 import S3Store  # noqa: PLC0415 -- boto3, 40 MB

    logs.set_up_for_people()
    chosen = settings(args).s3
    if not chosen.s3_bucket_name:
        raise ConfigError(["no bucket is named; set [s3] s3_bucket_name"])
    storage = S3Store(chosen)
    storage.create_bucket()
    storage.check()
    say(f"the bucket {chosen.s3_bucket_name} is there")
    return 0
