"""`imhearing doctor` on a node, and what its findings should be."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from commands.doctor.node_under_test import Finding
from tests.support.nodes.breakable_node import BreakableNode
from tests.support.wait import DEADLINE


def assert_fault(finding: Finding, *fragments: str) -> None:
    assert finding.state == "fault", finding
    assert finding.remedy
    for fragment in fragments:
        assert fragment in finding.message


def assert_ok(finding: Finding) -> None:
    assert finding.state == "ok", finding


def run_doctor(node: BreakableNode, *arguments: str, **environ: str) -> tuple[int, dict[str, dict[str, str]]]:
    done = subprocess.run(
        [sys.executable, "-m", "imhearing", "doctor", "--data", str(node.data), "--json", *arguments],
        capture_output=True, text=True, timeout=DEADLINE, check=False, env={**os.environ, **environ},
    )  # fmt: skip
    assert not done.stderr
    found = json.loads(done.stdout)
    return done.returncode, {finding["check"]: finding for finding in found["findings"]}
