"""rclone as a child process: an S3 server on a local folder, if `[s3] s3_bucket_name` is empty."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path

from edge.core.errors import ImHearingError
from edge.embedded.child import ProcessSpec
from edge.embedded.ports import LOOPBACK

BUCKET = "imhearing"


def find_rclone() -> str:
    """The path of rclone: in our Python environment (it is among the requirements), else in $PATH. ImHearingError."""
    environment = str(Path(sys.executable).parent)
    found = shutil.which("rclone", path=os.pathsep.join([environment, os.environ.get("PATH", os.defpath)]))
    if found is None:
        raise ImHearingError(
            "the local S3 server rclone is not installed; run scripts/setup, or set a bucket with"
            " --set s3.s3_bucket_name=BUCKET"
        )
    return found


def store_process(port: int, folder: Path, key_id: str, secret: str, log: Path) -> ProcessSpec:
    """An S3 server on loopback `port`, serving `folder` with one bucket, `imhearing`."""
    bucket = folder / BUCKET
    bucket.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_abandoned_parts(bucket)
    options = ("--addr", f"{LOOPBACK}:{port}", "--config", "", "--dir-cache-time", "5s", "--log-level", "NOTICE")
    return ProcessSpec(
        "store",
        (find_rclone(), "serve", "s3", *options, str(folder)),
        log,
        # not an argument, which every user could read; quoted, as rclone parses it as CSV
        environ={"RCLONE_AUTH_KEY": f'"{key_id},{secret}"', "GOMEMLIMIT": "64MiB"},
        port=port,
    )


def _remove_abandoned_parts(bucket: Path) -> None:
    """When it stops, rclone forgets unfinished uploads but leaves their data; clients start them again."""
    for abandoned in bucket.rglob(".rclone_temp_multipart_*"):
        if abandoned.is_dir() and not abandoned.is_symlink():
            shutil.rmtree(abandoned, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                abandoned.unlink()
