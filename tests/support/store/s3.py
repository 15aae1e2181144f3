"""A real S3 server on a free loopback port: rclone over a temporary folder, with random keys."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edge.configuration.settings import S3, Secret
from edge.embedded import ports
from edge.embedded.child import Child
from edge.embedded.servers import BUCKET, store_process
from tests.support.wait import wait_until


class RunningStore(NamedTuple):
    """`settings` to reach it; `folder` holds the bucket's objects as files."""

    settings: S3
    folder: Path
    child: Child


@contextlib.contextmanager
def running_store(folder: Path | None = None, port: int | None = None, key: str = "") -> Iterator[RunningStore]:
    """Yields a server with one empty bucket; with the same `folder`, `port` and `key`, restarts an earlier one."""
    chosen = ports.choose(port, timeout=5)
    key = key or f"{secrets.token_hex(8)},{secrets.token_hex(16)}"
    key_id, secret = key.split(",")
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imhearing-store-")))
        child = Child(store_process(chosen, folder / "data", key_id, secret, folder / "store.log"))
        stack.callback(child.end, 5)
        stack.callback(child.terminate)
        wait_until(lambda: ports.answers(chosen) or child.exit_code() is not None, "the store answers")
        assert child.exit_code() is None, child.last_lines()
        settings = S3(
            s3_bucket_name=BUCKET,
            endpoint_url=f"http://{ports.LOOPBACK}:{chosen}",
            access_key_id=Secret(key_id),
            secret_access_key=Secret(secret),
        )
        yield RunningStore(settings, folder / "data" / BUCKET, child)
