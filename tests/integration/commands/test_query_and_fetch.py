"""What `query` and `fetch` say of time without sound, and of a node that cannot see all of it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from edge.core.errors import SpoolError
from imhearing import main
from tests.support.nodes.query_node import QueryNode

FROM_BEFORE = ("--from", "2026-03-03T21:59:50Z", "--to", "2026-03-03T22:00:07Z", "--utc")


@pytest.fixture
def node(tmp_path: Path) -> list[str]:
    """The options for a node that recorded the five seconds from 22:00:00 on, and nothing before or after."""
    QueryNode(tmp_path, chunks=5)
    return ["--data", str(tmp_path), "--set", "node.name=porch"]


@pytest.mark.parametrize("target", [("-o", "night.wav"), ("--export", ".")])
def test_fetch_does_not_call_the_time_before_the_first_recording_a_gap(
    node: list[str], target: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    option, name = target
    assert main(["fetch", *node, *FROM_BEFORE, option, str(tmp_path / name)]) == 0
    first, last = [line for line in capsys.readouterr().err.splitlines() if "no sound" in line]
    assert "before the node's first recording" in first
    assert "gap, unknown" in last


def test_query_says_that_an_answer_without_the_spool_is_incomplete(
    node: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.spool.chunks.SpoolChunks.finished", _unreadable)
    assert main(["query", *node, *FROM_BEFORE]) == 0
    assert "incomplete: the node cannot read its spool" in capsys.readouterr().out


def _unreadable(*_: object) -> None:
    raise SpoolError("spool: the spool cannot be listed (Permission denied)", errno.EACCES)
