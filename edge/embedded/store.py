"""rclone as a child: an S3 server over a local folder, where `[s3] s3_bucket_name` names no bucket."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path

from edge.core.errors import ImHearingError
from edge.embedded.child import Part
from edge.embedded.ports import LOOPBACK

BUCKET = "imhearing"


def find_rclone() -> str:
    """Where rclone is installed: beside our Python (it comes with the requirements), else in $PATH."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which("rclone", path=os.pathsep.join([beside, os.environ.get("PATH", os.defpath)]))
    if found is None:
        raise ImHearingError(
            "rclone, the local S3 server, is not installed; run scripts/setup, or name a bucket with"
            " --set s3.s3_bucket_name=BUCKET"
        )
    return found


def store_part(port: int, folder: Path, key_id: str, secret: str, log: Path) -> Part:
    """An S3 server on loopback `port` over `folder`, which gets one bucket, `imhearing`."""
    bucket = folder / BUCKET
    bucket.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_abandoned_parts(bucket)
    options = ("--addr", f"{LOOPBACK}:{port}", "--config", "", "--dir-cache-time", "5s", "--log-level", "NOTICE")
    return Part(
        "store",
        (find_rclone(), "serve", "s3", *options, str(folder)),
        log,
        # not as an argument, which everybody on the machine could read; quoted, as rclone reads it as CSV
        environ={"RCLONE_AUTH_KEY": f'"{key_id},{secret}"', "GOMEMLIMIT": "64MiB"},
        port=port,
    )


def _remove_abandoned_parts(bucket: Path) -> None:
    """The server forgets open uploads when it ends and leaves their bytes; whoever uploads starts again."""
    for left in bucket.rglob(".rclone_temp_multipart_*"):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                left.unlink()
