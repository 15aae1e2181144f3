"""The Python program in docs/query.md: what it prints, also of a node that is stopped."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edge.catalog import Catalog
from edge.embedded import ports
from tests.support.spool.chunks import START, fill_spool
from tests.support.wait import DEADLINE

DOCS = Path(__file__).parents[2] / "docs" / "query.md"


def example(folder: Path, via: str) -> str:
    """The program, for the node in `folder` and the time of its chunks."""
    found = re.search(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    program = found[1]
    for documented, ours in {
        "load(default_data_dir())": f"load(Path({str(folder)!r}))",
        '"local"': repr(via),
        'Instant.parse("2026-03-03T22:00:00Z")': f"Instant({int(START)})",
        'Instant.parse("2026-03-03T22:10:00Z")': f"Instant({int(START) + 2_000_000})",
        "heard.flac": f"{folder}/heard.flac",
    }.items():
        assert documented in program
        program = program.replace(documented, ours)
    return program


def run(folder: Path, via: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", example(folder, via)], capture_output=True, text=True, timeout=DEADLINE, check=False
    )


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """The folder of a node that is stopped, with its servers."""
    fill_spool(tmp_path / "spool", 3)
    with contextlib.closing(Catalog(tmp_path / "catalog.db")) as catalog:
        catalog.open()
    closed = ports.choose(None)
    (tmp_path / "config.ini").write_text(
        f"[node]\nname = porch\n[mqtt]\nhost = 127.0.0.1\nport = {closed}\n[http]\nport = {closed}\n"
        f"[ably]\napi_key = a.b:{'c' * 40}\nendpoint = 127.0.0.1:{closed}\n"
        f"[s3]\ns3_bucket_name = sounds\nendpoint_url = http://127.0.0.1:{closed}\naccess_key_id = a\n"
        "secret_access_key = b\n"
    )
    (tmp_path / "config.ini").chmod(0o600)
    return tmp_path


def test_of_a_stopped_node_the_example_shows_what_its_folder_holds(stopped: Path) -> None:
    done = run(stopped, "local")
    assert "Pending" in done.stdout
    assert "Traceback" not in done.stderr
    assert (stopped / "heard.flac").exists() or done.stderr.startswith("ask.py: ")


@pytest.mark.parametrize("via", ["ably", "mqtt", "http"])
def test_of_a_stopped_node_the_example_says_why_it_does_not_answer(stopped: Path, via: str) -> None:
    done = run(stopped, via)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("ask.py: "), done.stderr


def test_without_a_node_the_example_says_so(tmp_path: Path) -> None:
    done = run(tmp_path / "none", "local")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("ask.py: "), done.stderr
