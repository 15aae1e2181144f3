"""`imhearing token`: the token on standard output, and beside it whether the node can answer with it."""

from __future__ import annotations

from pathlib import Path

import pytest

import imhearing
from edge.embedded import ports
from edge.spool.spool import Spool
from tests.support.messaging.realtime import server_in_thread
from tests.support.spool.chunks import fill_spool

KEY = f"app.key:{'secret' * 8}"
NOT_RUNNING = "porch is not running, so it does not answer; start it with `imhearing up`"


def issue(data: Path, capsys: pytest.CaptureFixture[str], *settings: str) -> str:
    """What it says beside the token."""
    sets = [part for setting in ("node.name=porch", *settings) for part in ("--set", setting)]
    assert imhearing.main(["token", "--client", "ann", "--data", str(data), *sets]) == 0
    said = capsys.readouterr()
    assert said.out.count(".") == 2
    return said.err


@pytest.fixture
def node(tmp_path: Path) -> Path:
    fill_spool(tmp_path / "spool", 1)
    return tmp_path


def test_a_node_of_up_that_does_not_run_is_named(node: Path, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint = f"ably.endpoint=127.0.0.1:{ports.choose(None)}"
    assert NOT_RUNNING in issue(node, capsys, f"ably.api_key={KEY}", endpoint)


def test_a_running_node_of_up_is_not_complained_about(node: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with server_in_thread() as server:
        settings = f"ably.api_key={server.api_key.reveal()}", f"ably.endpoint={server.endpoint}"
        said = issue(node, capsys, *settings)
    assert "is not running" not in said
    assert "only valid on this machine" in said


def test_a_node_behind_ably_is_running_while_it_records(node: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert NOT_RUNNING in issue(node, capsys, f"ably.api_key={KEY}")
    spool = Spool(node / "spool", "porch")
    (spool.path / "state.json").touch()
    with spool.recorder_lock.hold():
        assert "is not running" not in issue(node, capsys, f"ably.api_key={KEY}")


def test_of_nodes_elsewhere_nothing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is not running" not in issue(tmp_path, capsys, f"ably.api_key={KEY}")
