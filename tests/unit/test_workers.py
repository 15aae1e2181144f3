"""How tests are shared among workers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.wait import DEADLINE
from tests.support.workers import TOGETHER, group_of

ROOT = Path(__file__).parents[2]


def test_every_file_and_folder_of_a_group_exists() -> None:
    assert [path for paths in TOGETHER.values() for path in paths if not (ROOT / path).exists()] == []


def test_tests_of_a_group_stay_together_and_others_are_on_their_own() -> None:
    page = "tests/integration/page/test_people.py::test_a[1]", "tests/integration/page/test_ranges.py::test_b"
    assert {group_of(node_id) for node_id in page} == {"a browser, and a node to look at"}
    assert group_of("tests/integration/page/test_heard.py::test_a") == "a browser, and nodes that change"
    folder = "tests/unit/architecture/test_layers.py::test_a", "tests/unit/architecture/test_wiring.py::test_b"
    assert len({group_of(node_id) for node_id in folder}) == 1
    units = "tests/unit/test_units.py::test_a", "tests/unit/test_units.py::test_b"
    assert len({group_of(node_id) for node_id in units}) == 2


def test_a_group_runs_in_one_worker(tmp_path: Path) -> None:
    """With the project's own hook, on files named as those of a group."""
    first, *_, last = TOGETHER["a browser, and nodes that change"]
    for path in (first, last):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(
            "import pytest\n\n@pytest.mark.parametrize('n', range(3))\ndef test_it(n, worker_id):\n"
            "    with open('workers.txt', 'a') as file:\n        print(worker_id, file=file)\n"
        )
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_xdist_make_scheduler\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:schemathesis\n")
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "--import-mode=importlib"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    workers = (tmp_path / "workers.txt").read_text().split()
    assert len(workers) == 6
    assert len(set(workers)) == 1
