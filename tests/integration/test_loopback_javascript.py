"""The official JavaScript SDK in Node.js against the local realtime server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from query_service.tokens import client_token, node_token
from tests.support.realtime import now, server_in_thread

FOLDER = Path(__file__).parents[1] / "javascript"
CHECKS = 7


@pytest.fixture(scope="module")
def node_js() -> str:
    """Node.js, with the SDK installed beside the test; without Node.js the test is skipped, except in CI."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        if os.environ.get("CI"):
            pytest.fail("node and npm must be there in CI")
        pytest.skip("node and npm are not installed: apt-get install nodejs npm")
    wanted = json.loads((FOLDER / "package.json").read_text())["dependencies"]["ably"]
    installed = FOLDER / "node_modules" / "ably" / "package.json"
    if not installed.exists() or json.loads(installed.read_text())["version"] != wanted:
        install = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(install, cwd=FOLDER, check=True, timeout=300, stdout=subprocess.DEVNULL)
    return node


@pytest.mark.slow
@pytest.mark.parametrize("binary", [True, False], ids=["msgpack", "json"])
def test_the_javascript_sdk_is_served(node_js: str, binary: bool) -> None:
    with server_in_thread() as server:
        tokens = {
            "ann": client_token(server.api_key, "ann", 3_600, now()),
            "porch": node_token(server.api_key, "porch", 3_600, now()),
        }
        setup = json.dumps({"port": server.port, "binary": binary, "tokens": tokens})
        result = subprocess.run(
            [node_js, "realtime.test.js"],
            cwd=FOLDER,
            input=setup,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("ok ") == CHECKS
