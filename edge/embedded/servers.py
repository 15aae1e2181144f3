"""The servers that `imhearing up` starts as child processes, for this machine only, where none is configured."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import sys
from pathlib import Path

from edge.core.errors import ImHearingError
from edge.core.files import remove_abandoned, write_atomically
from edge.embedded.child import ProcessSpec
from edge.embedded.ports import LOOPBACK

BUCKET = "imhearing"
# Debian installs servers outside an ordinary user's PATH
_SERVER_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")


def find_mosquitto(path: str | None = None) -> str:
    """The path of Mosquitto; searches `path` instead of $PATH if given. ImHearingError."""
    if path is None:
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_SERVER_FOLDERS])
    remedy = "set another broker with --set mqtt.host=HOST"
    return _find("mosquitto", path, "the MQTT broker Mosquitto", remedy)


def find_rclone() -> str:
    """The path of rclone: in our Python environment (requirements-up.txt), else in $PATH. ImHearingError."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    remedy = "set a bucket with --set s3.s3_bucket_name=BUCKET"
    return _find("rclone", path, "the local S3 server rclone", remedy)


def _find(program: str, path: str, description: str, remedy: str) -> str:
    found = shutil.which(program, path=path)
    if found is None:
        raise ImHearingError(f"{description} is not installed; run scripts/setup, or {remedy}")
    return found


def broker_process(folder: Path, configuration: str, socket: Path, log: Path) -> ProcessSpec:
    """Mosquitto on a Unix socket; writes its configuration to `folder`, where it stores its retained messages."""
    program = find_mosquitto()
    remove_abandoned(folder, r"mosquitto\.conf")
    if os.geteuid() == 0:
        # Mosquitto would change its user, which clears the parent death signal and denies it its own folder
        configuration += "user root\n"
    file = folder / "mosquitto.conf"
    write_atomically(file, configuration.encode(), 0o600)
    return ProcessSpec("broker", (program, "-c", str(file)), log, socket=socket)


def store_process(port: int, folder: Path, key_id: str, secret: str, log: Path) -> ProcessSpec:
    """rclone as an S3 server on loopback `port`, serving `folder` with one bucket, `imhearing`."""
    bucket = folder / BUCKET
    bucket.mkdir(mode=0o700, parents=True, exist_ok=True)
    options = ("--addr", f"{LOOPBACK}:{port}", "--config", "", "--dir-cache-time", "5s", "--log-level", "NOTICE")
    return ProcessSpec(
        "store",
        (find_rclone(), "serve", "s3", *options, str(folder)),
        log,
        # not an argument, which every user could read; quoted, as rclone parses it as CSV
        environ={"RCLONE_AUTH_KEY": f'"{key_id},{secret}"', "GOMEMLIMIT": "64MiB"},
        port=port,
        inherits_port=True,
        prepare=functools.partial(_remove_unfinished_uploads, bucket),
    )


def _remove_unfinished_uploads(bucket: Path) -> None:
    """A rclone that was stopped or killed has forgotten them but leaves their data; clients start them again."""
    with contextlib.suppress(OSError):
        for abandoned in bucket.rglob(".rclone_temp_*"):
            if abandoned.is_dir() and not abandoned.is_symlink():
                shutil.rmtree(abandoned, ignore_errors=True)
            else:
                abandoned.unlink(missing_ok=True)
