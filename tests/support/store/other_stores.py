"""S3 servers of other makers, each as it installs here."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from edge.configuration.loader import load
from edge.configuration.settings import S3, Secret
from edge.embedded import ports
from edge.embedded.child import Child, ProcessSpec
from edge.embedded.servers import BUCKET
from edge.store.bucket import create_bucket
from edge.store.s3 import S3Store
from tests.support.node_packages import MISSING, node_with_packages
from tests.support.store.s3 import running_store
from tests.support.wait import wait_until

S3RVER = Path(__file__).parents[2] / "s3rver"
OWN_BUCKET = "IMHEARING_TEST_BUCKET"  # a file of settings, whose `[s3]` names a real bucket
NAMES = ("rclone", "moto", "s3rver", "your bucket")


@contextlib.contextmanager
def running_store_of(name: str) -> Iterator[S3]:
    """Settings for an empty bucket of that store. One that cannot run here is reported."""
    with contextlib.ExitStack() as stack:
        if name == "rclone":
            yield stack.enter_context(running_store()).settings
        elif name == "your bucket":
            yield _own_bucket()
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imhearing-store-")))
            port = ports.choose(None)
            command = _moto(port) if name == "moto" else _s3rver(port, folder / "data")
            child = Child(ProcessSpec(name, command, folder / "store.log", port=port))
            stack.callback(child.end, 5)
            stack.callback(child.terminate)
            wait_until(lambda: ports.answers(port) or child.exit_code() is not None, f"{name} answers")
            assert child.exit_code() is None, child.last_lines()
            settings = S3(
                s3_bucket_name=BUCKET,
                endpoint_url=f"http://{ports.LOOPBACK}:{port}",
                access_key_id=Secret("S3RVER"),
                secret_access_key=Secret("S3RVER"),
            )
            create_bucket(S3Store(settings).connection)
            yield settings


def _moto(port: int) -> tuple[str, ...]:
    print(f"moto {version('moto')}")  # noqa: T201
    return sys.executable, "-m", "moto.server", "-H", ports.LOOPBACK, "-p", str(port)


def _s3rver(port: int, data: Path) -> tuple[str, ...]:
    node = node_with_packages(S3RVER)
    if node is None:
        _skip(f"s3rver was not tested: {MISSING}")
    assert node
    program = S3RVER / "node_modules" / "s3rver" / "bin" / "s3rver.js"
    data.mkdir()
    return node, str(program), "-d", str(data), "-a", ports.LOOPBACK, "-p", str(port), "--no-vhost-buckets"


def _own_bucket() -> S3:
    file = os.environ.get(OWN_BUCKET)
    if not file:
        _skip(f"no real bucket was tested: {OWN_BUCKET} names no file of settings")
    assert file
    return load(Path(file).parent, Path(file), (), {}).s3


def _skip(reason: str) -> None:
    warnings.warn(reason, stacklevel=2)
    pytest.skip(reason)
