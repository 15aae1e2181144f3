"""Schemathesis against the HTTP door: does it do what its OpenAPI document says, for any request?

`python -m tests.fuzz.http_api [--examples N] [--seed N]` runs a real query service, with sound on the node and in an
S3 server, first without a token, then with one. A short run is in the suite: `tests/integration/doors/test_openapi.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from msgspec.structs import replace

from edge.catalog.budget import Budget
from edge.configuration.settings import S3, Http
from edge.embedded import ports
from query_service import api
from tests.support.messaging.http_door import TOKEN
from tests.support.nodes.query_node import QueryNode, running_service
from tests.support.store.s3 import running_store
from tests.support.wait import DEADLINE

_ROOT = Path(__file__).parents[2]
_HOOKS = "tests.fuzz.http_api_hooks"


class Outcome(NamedTuple):
    """Of one run: whether every check passed, how many requests were sent, and the report."""

    passed: bool
    requests: int
    report: str


@contextlib.contextmanager
def serving_node(folder: Path, s3: S3, http: Http) -> Iterator[str]:
    """A node with ten seconds of sound, six of them archived; yields the address of its HTTP door.

    Its questions are never out of time: `busy` because of a busy machine would count as a fault of the server.
    """
    node = QueryNode(folder, chunks=10)
    node.archive(s3, sorted(node.audio)[:6])
    settings = replace(node.with_doors(s3=s3), http=replace(http, port=ports.choose(None)))
    with (
        mock.patch.object(Budget, "should_stop", False),
        mock.patch.object(Budget, "is_out_of_time", False),
        running_service(settings),
    ):
        api.query(settings, "http", type="status")
        yield f"http://127.0.0.1:{settings.http.port}"


def run(url: str, http: Http, examples: int, seed: int) -> Outcome:
    """All checks on all operations: the examples, boundary values, and `examples` random requests of each."""
    command = [
        sys.executable, "-m", "schemathesis.cli", "--no-color", "run", f"{url}/openapi.json",
        "--mode", "all", "--max-examples", str(examples), "--seed", str(seed),
        "--continue-on-failure", "--generation-database", "none", "--output-truncate", "false",
        "--suppress-health-check", "all", "--request-timeout", str(DEADLINE),
    ]  # fmt: skip
    token = http.token.reveal()
    if token:
        command += ["--header", f"Authorization: Bearer {token}"]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": _HOOKS, "PYTHONPATH": str(_ROOT)}
    with tempfile.TemporaryDirectory(prefix="imhearing-fuzz-") as folder:  # for its caches
        done = subprocess.run(
            command, cwd=folder, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
    generated = re.search(r"(\d+) generated", done.stdout)
    return Outcome(done.returncode == 0, int(generated[1]) if generated else 0, done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.http_api", description=__doc__)
    parser.add_argument("--examples", type=int, default=1_000, help="random requests per operation (default: 1000)")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    passed = True
    for http in (Http(), Http(token=TOKEN)):
        with (
            running_store() as store,
            tempfile.TemporaryDirectory(prefix="imhearing-fuzz-") as folder,
            serving_node(Path(folder), store.settings, http) as url,
        ):
            outcome = run(url, http, args.examples, args.seed)
        sys.stdout.write(f"{outcome.report}\n")
        passed = passed and outcome.passed
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
