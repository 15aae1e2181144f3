"""The official JavaScript SDK in Node.js against the local realtime server, and asking a real node through it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from edge.core import wire
from edge.core.instant import Instant
from query_service import api
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.protocol import GoodAnswer, read_answer
from query_service.queries.values import Recorded
from query_service.realtime.tokens import client_token, node_token
from tests.support.messaging.realtime import now, server_in_thread
from tests.support.node_packages import MISSING, node_with_packages
from tests.support.nodes.all_doors import END
from tests.support.nodes.query_node import QueryNode, running_service
from tests.support.spool.chunks import START
from tests.support.store.s3 import RunningStore

# one process for all of this file: `npm ci` is not for two at once
pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "javascript"
DOCS = Path(__file__).parents[3] / "docs" / "query.md"
CHECKS = 7


@pytest.fixture(scope="module")
def node_js() -> str:
    """Node.js, with the SDK installed beside the test; without Node.js the test is skipped, except in CI."""
    node = node_with_packages(FOLDER)
    if node is None:
        pytest.skip(MISSING)
    return node


@pytest.mark.parametrize("binary", [True, False], ids=["msgpack", "json"])
def test_the_javascript_sdk_works_with_the_realtime_server(node_js: str, binary: bool) -> None:
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


@pytest.mark.parametrize("binary", [True, False], ids=["msgpack", "json"])
def test_the_javascript_sdk_gets_the_same_answers_as_the_python_client(
    node_js: str, binary: bool, tmp_path: Path
) -> None:
    end = Instant(START + 6_000_000)
    span = {"from": str(START), "to": str(end)}
    questions = [
        {"v": 1, "id": "coverage-question", "urls": False, **span},
        {"v": 1, "id": "levels-question", "type": "levels", "step": 2, **span},
        {"v": 1, "id": "sounds-question", "type": "sounds", **span},
    ]
    with server_in_thread() as server:
        settings = QueryNode(tmp_path).with_doors(server)
        with running_service(settings):
            api.query(settings, "ably", type="status")
            setup = {
                "port": server.port, "binary": binary, "node": "porch", "questions": questions,
                "token": client_token(server.api_key, "ann", 3_600, now()),
            }  # fmt: skip
            result = subprocess.run(
                [node_js, "node.test.js"],
                cwd=FOLDER,
                input=json.dumps(setup),
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert result.returncode == 0, result.stderr
            output = [read_answer(json.dumps(answer)) for answer in json.loads(result.stdout)]
            expected: list[GoodAnswer] = [
                api.query(settings, "ably", start=START, end=end),
                api.query(settings, "ably", type="levels", step=2, start=START, end=end),
                api.query(settings, "ably", type="sounds", start=START, end=end),
            ]
    for answer, same in zip(output, expected, strict=True):
        assert {**wire.to_plain(answer), "id": ""} == {**wire.to_plain(same), "id": ""}


def documented_program(folder: Path) -> Path:
    """`ask.js` of docs/query.md, as printed."""
    [program] = re.findall(r"```js\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    file = folder / "ask.js"
    file.write_text(program)
    return file


def run_program(node_js: str, program: Path, token: str, endpoint: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "NODE_PATH": str(FOLDER / "node_modules"), "PATH": os.environ["PATH"],
        "IMHEARING_ABLY_TOKEN": token, "IMHEARING_ABLY_ENDPOINT": endpoint,
    }  # fmt: skip
    return subprocess.run(
        [node_js, program.name, "porch", str(START), str(END)],
        cwd=program.parent, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_documented_program_prints_what_was_recorded_and_where_it_is(
    node_js: str, store: RunningStore, tmp_path: Path
) -> None:
    program = documented_program(tmp_path)
    with server_in_thread() as server:
        node = QueryNode(tmp_path / "node")
        key = node.archive(store.settings, sorted(node.audio)[:3])
        settings = node.with_doors(server, s3=store.settings)
        with running_service(settings):
            api.query(settings, "ably", type="status")
            token = client_token(server.api_key, "ann", 3_600, now())
            done = run_program(node_js, program, token, server.endpoint)
            refused = run_program(node_js, program, "no token", server.endpoint)
            answer = api.query(settings, "ably", start=START, end=END)
    assert (done.returncode, done.stderr) == (0, "")
    assert isinstance(answer, CoverageAnswer)
    place = f"s3://{store.settings.s3_bucket_name}/{key}"
    expected = [
        f"{part.from_} {part.to} recorded {place} {part.where.offset} {part.where.length}"
        if isinstance(part, Recorded)
        else f"{part.from_} {part.to} pending "
        for part in answer.intervals
    ]
    assert done.stdout.splitlines() == expected
    assert [line.split()[2] for line in expected] == ["recorded"] * 3 + ["pending"] * 2
    assert (refused.returncode, refused.stdout) == (1, "")
    # The line before is the SDK's own log of the failed connection.
    assert refused.stderr.splitlines()[-1] == "ask.js: invalid credentials: the token is not a JWT"
