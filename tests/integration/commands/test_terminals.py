"""Commands on terminals and outputs of other kinds than 80 x 24 in UTF-8."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.nodes.query_node import QueryNode
from tests.support.terminal import Terminal, plain
from tests.support.wait import DEADLINE

DAY = ("--from", "2026-03-03T22:00:00Z", "--to", "2026-03-03T22:00:10Z")
TWO_DAYS = ("--from", "2026-03-03T12:00:00Z", "--to", "2026-03-04T12:00:00Z")
TIME = r"~?(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d\.\d{3}"


@pytest.fixture
def query(tmp_path: Path) -> list[str]:
    """The command line of a query of a node with five chunks, and with nothing before and after."""
    QueryNode(tmp_path, chunks=5)
    sets = ["--data", str(tmp_path), "--set", "node.name=porch"]
    return [sys.executable, "-m", "imhearing", "query", "--utc", *sets]


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    """To be closed at the end."""
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


@pytest.mark.parametrize("span", [DAY, TWO_DAYS])
@pytest.mark.parametrize("columns", [60, 80, 132])
def test_a_table_of_coverage_splits_no_time(
    query: list[str], terminals: list[Terminal], span: tuple[str, ...], columns: int
) -> None:
    terminals.append(Terminal([*query, *span], 24, columns))
    lines = plain(terminals[-1].read_until()).splitlines()
    assert all(len(line) <= columns for line in lines), lines
    rows = [line for line in lines if re.match(TIME, line)]
    assert len(rows) == (2 if span is DAY else 3), lines  # the chunks as one row
    assert any("5 chunks" in row for row in rows)


def test_help_uses_the_width_of_the_terminal(terminals: list[Terminal]) -> None:
    terminals.append(Terminal([sys.executable, "-m", "imhearing", "query", "--help"], 24, 132))
    assert max(map(len, plain(terminals[-1].read_until()).splitlines())) > 100


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_states_can_be_told_apart_in_an_output_without_block_characters(query: list[str], encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [*query, *DAY], capture_output=True, env=environment, encoding=encoding, timeout=DEADLINE, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "% pending" in done.stdout
    assert "_ gap" in done.stdout
    assert re.search(r"^%+_+$", done.stdout, re.MULTILINE)
    assert "?" not in done.stdout


def test_the_time_before_the_first_recording_is_no_gap_and_the_time_since_the_last_is(query: list[str]) -> None:
    done = subprocess.run([*query, *TWO_DAYS], capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert re.search(r"^2026-03-03 12:00:00.000  2026-03-03 22:00:00.000 .* - before", done.stdout, re.MULTILINE)
    assert re.search(r"^2026-03-03 22:00:05.000  2026-03-04 12:00:00.000 .* _ gap ", done.stdout, re.MULTILINE)
    nothing = [*query, "--from", "2026-03-01T00:00:00Z", "--to", "2026-03-02T00:00:00Z"]
    done = subprocess.run(nothing, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert "gap" not in done.stdout


def test_a_fetch_that_refuses_gaps_names_the_first_recording(query: list[str], tmp_path: Path) -> None:
    fetch = [{"query": "fetch"}.get(word, word) for word in query]
    asked = [*fetch, *TWO_DAYS, "--gaps", "refuse", "-o", str(tmp_path / "whole.wav")]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert "the node's first recording begins later; use --from 2026-03-03T22:00:00" in done.stderr
    assert not (tmp_path / "whole.wav").exists()
