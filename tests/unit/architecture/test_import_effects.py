"""Nothing connects, opens, writes, or starts a thread or a process when a module is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.architecture.source_tree import ROOT, product

PROBE = Path(__file__).with_name("import_probe.py")


def effects(root: Path, *modules: str) -> list[str]:
    """What importing these modules does, in a fresh interpreter."""
    command = [sys.executable, "-B", str(PROBE), str(root), *modules]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_importing_the_product_has_no_side_effects() -> None:
    assert effects(ROOT, *sorted(product())) == []


@pytest.mark.parametrize(
    ("body", "event"),
    [
        ("open('x', 'w').close()", "open"),
        ("open('/etc/hostname').close()", "open"),
        ("from pathlib import Path\nPath('x').touch()", "open"),
        ("import os\nos.mkdir('x')", "os.mkdir"),
        ("import socket\nsocket.socket()", "socket.__new__"),
        ("import subprocess\nsubprocess.run(['true'])", "subprocess.Popen"),
        ("import os\nif os.fork() == 0: os._exit(0)", "os.fork"),
        ("import sqlite3\nsqlite3.connect(':memory:')", "sqlite3.connect"),
        ("import threading\nthreading.Thread(target=int).start()", "starts thread"),
        ("from concurrent.futures import ThreadPoolExecutor\nThreadPoolExecutor().submit(int)", "starts thread"),
        ("def connect():\n    import socket\n    socket.socket()\nclass A:\n    connect()", "socket.__new__"),
    ],
)
def test_a_side_effect_is_found(tmp_path: Path, body: str, event: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outer.py").write_text("import culprit")
    (tmp_path / "culprit.py").write_text(body)
    found = effects(tmp_path, "outer")
    assert any(line.startswith(f"culprit.py {event}") for line in found), found
    assert all(line.startswith("culprit.py ") for line in found), found


def test_a_module_that_only_defines_things_has_no_side_effect(tmp_path: Path) -> None:
    body = "import json, os, socket, sqlite3, threading\nos.environ['A'] = 'b'\ndef f():\n    return open('x')\n"
    (tmp_path / "innocent.py").write_text(body)
    assert effects(tmp_path, "innocent") == []
